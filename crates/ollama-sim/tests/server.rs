//! The simulated server over real sockets: what only sockets can show.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod http_client;

use http_client::{ask, get, post, receive, send};
use ollama_sim::{Config, EventKind, Kind, ModelSpec, Sim};
use serde_json::json;
use std::future::Future;
use std::time::Duration;

/// Finds a test that hangs; nothing is measured with it.
const LIMIT: Duration = Duration::from_secs(30);

/// Two models that load in no time, and an embedding model.
async fn sim() -> Sim {
    let quick = Duration::from_millis(50);
    let models = [
        ModelSpec::new("tinyllama").load(quick),
        ModelSpec::new("qwen2.5-coder:3b").load(quick),
        ModelSpec::new("all-minilm")
            .load(quick)
            .kind(Kind::Embedding),
    ];
    Sim::start(Config::new(models)).await.unwrap()
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, wait).await;
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

#[tokio::test]
async fn every_reply_says_that_it_is_simulated() {
    let sim = sim().await;
    for path in ["/", "/api/version", "/api/ps", "/nope", "/sim/state"] {
        let response = get(&sim, path).await;
        assert!(
            response.head.contains("x-ollama-sim: simulated"),
            "{path}: {}",
            response.head
        );
    }
    let head = ask(&sim, "HEAD", "/", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn loads_lists_generates_and_unloads() {
    let sim = sim().await;
    let loaded = post(
        &sim,
        "/api/generate",
        json!({"model": "tinyllama", "keep_alive": -1}),
    )
    .await
    .json();
    assert_eq!(loaded["done_reason"], "load");
    let ps = get(&sim, "/api/ps").await.json();
    assert_eq!(ps["models"][0]["name"], "tinyllama:latest");
    assert!(
        ps["models"][0]["expires_at"]
            .as_str()
            .unwrap()
            .starts_with("23")
    );
    let body = json!({"model": "tinyllama", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 3}});
    let lines = post(&sim, "/api/chat", body).await.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3]["eval_count"], 3);
    let embedding = post(
        &sim,
        "/api/embed",
        json!({"model": "all-minilm", "input": ["a", "b"]}),
    )
    .await
    .json();
    assert_eq!(embedding["embeddings"].as_array().unwrap().len(), 2);
    let gone = post(
        &sim,
        "/api/generate",
        json!({"model": "tinyllama", "keep_alive": 0}),
    )
    .await
    .json();
    assert_eq!(gone["done_reason"], "unload");
    until("it is unloaded", async || !sim.is_resident("tinyllama")).await;
    assert_eq!(sim.received().len(), 5);
}

#[tokio::test]
async fn a_dropped_connection_aborts_the_load() {
    let sim = sim().await;
    sim.set_load_time("tinyllama", Duration::from_secs(3600))
        .unwrap();
    let stream = send(&sim, "POST", "/api/generate", r#"{"model":"tinyllama"}"#)
        .await
        .unwrap();
    let started = async || {
        sim.events()
            .iter()
            .any(|event| event.kind == EventKind::LoadStarted)
    };
    until("the load begins", started).await;
    drop(stream);
    let aborted = async || {
        sim.events()
            .iter()
            .any(|event| event.kind == EventKind::LoadFailed)
    };
    until("the load is aborted", aborted).await;
    let other = within(
        "another load",
        post(&sim, "/api/generate", json!({"model": "qwen2.5-coder:3b"})),
    )
    .await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_restart_cuts_open_requests_and_forgets_what_was_loaded() {
    let sim = sim().await;
    post(&sim, "/api/generate", json!({"model": "tinyllama"})).await;
    sim.set_load_time("qwen2.5-coder:3b", Duration::from_secs(3600))
        .unwrap();
    let waiting = send(
        &sim,
        "POST",
        "/api/generate",
        r#"{"model":"qwen2.5-coder:3b"}"#,
    )
    .await
    .unwrap();
    let started = async || {
        sim.events()
            .iter()
            .filter(|event| event.kind == EventKind::LoadStarted)
            .count()
            == 2
    };
    until("the load begins", started).await;
    within("the stop", sim.stop()).await;
    assert!(
        receive(waiting).await.is_err(),
        "an open request gets no answer"
    );
    assert!(
        send(&sim, "GET", "/api/ps", "").await.is_err(),
        "connections are refused"
    );
    within("the start", sim.resume()).await;
    assert_eq!(get(&sim, "/api/ps").await.json(), json!({"models": []}));
}

#[tokio::test]
async fn a_frozen_server_accepts_and_answers_later() {
    let sim = sim().await;
    sim.freeze_server();
    let stream = send(&sim, "GET", "/api/version", "").await.unwrap();
    until("the request has come", async || sim.received().len() == 1).await;
    sim.thaw_server();
    assert_eq!(receive(stream).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_stream_is_a_line_of_it() {
    let sim = sim().await;
    let stream = send(
        &sim,
        "POST",
        "/api/generate",
        r#"{"model":"tinyllama","prompt":"x","options":{"num_predict":100000}}"#,
    )
    .await
    .unwrap();
    until("it generates", async || sim.is_resident("tinyllama")).await;
    // The first pieces are on their way, or will be in a moment.
    let generating = async || {
        let loaded = sim
            .events()
            .iter()
            .find(|event| event.kind == EventKind::Loaded)
            .map(|event| event.at);
        loaded.is_some_and(|at| sim.now() > at + Duration::from_millis(500))
    };
    until("some tokens are generated", generating).await;
    sim.crash("tinyllama").unwrap();
    let lines = receive(stream).await.unwrap().lines();
    let last = lines.last().unwrap();
    assert_eq!(
        *last,
        json!({"error": "an error was encountered while running the model: unexpected EOF"})
    );
}

#[tokio::test]
async fn control_over_http_does_what_the_handle_does() {
    let sim = sim().await;
    post(&sim, "/api/generate", json!({"model": "tinyllama"})).await;
    assert_eq!(
        get(&sim, "/sim/state").await.json()["loaded"][0]["name"],
        "tinyllama:latest"
    );
    assert_eq!(
        ask(&sim, "POST", "/sim/fault", "unload tinyllama")
            .await
            .status,
        200
    );
    until("it is unloaded", async || !sim.is_resident("tinyllama")).await;
    let refused = ask(&sim, "POST", "/sim/fault", "crash tinyllama").await;
    assert_eq!(
        (
            refused.status,
            refused.json()["error"]
                .as_str()
                .unwrap()
                .contains("no runner")
        ),
        (404, true)
    );
    assert_eq!(ask(&sim, "POST", "/sim/fault", "explode").await.status, 400);
}

#[tokio::test]
async fn foreign_hosts_and_large_bodies_are_refused() {
    use tokio::io::AsyncWriteExt;
    let sim = sim().await;
    let mut stream = tokio::net::TcpStream::connect(sim.address()).await.unwrap();
    let text = "GET /api/ps HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(receive(stream).await.unwrap().status, 403);
    let mut stream = tokio::net::TcpStream::connect(sim.address()).await.unwrap();
    let text = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(receive(stream).await.unwrap().status, 413);
}

/// Paused time: a load of an hour takes no time, and an idle model goes by itself.
#[tokio::test(start_paused = true)]
async fn time_can_be_paused() {
    let sim = sim().await;
    sim.set_load_time("tinyllama", Duration::from_secs(3600))
        .unwrap();
    let loaded = post(
        &sim,
        "/api/generate",
        json!({"model": "tinyllama", "keep_alive": "10m"}),
    )
    .await;
    assert_eq!(loaded.status, 200);
    assert!(sim.now() >= Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(!sim.is_resident("tinyllama"));
}

/// A server that is stopped over HTTP answers that, and comes back by itself.
#[tokio::test(start_paused = true)]
async fn a_server_stopped_over_http_comes_back() {
    let sim = sim().await;
    assert_eq!(ask(&sim, "POST", "/sim/fault", "stop").await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(send(&sim, "GET", "/api/ps", "").await.is_err());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(get(&sim, "/api/ps").await.status, 200);
}
