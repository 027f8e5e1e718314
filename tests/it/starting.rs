//! From nothing to warm.

use crate::stand::{Stand, client, quick, requests, simulated, view};
use model_preloader::engine::FailureKind;
use model_preloader::engine::snapshot::{LossCause, State};
use ollama_sim::{Config, Kind, ModelSpec, Sim};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn two_models_are_loaded_pinned_and_said_to_be_ready() {
    let sim = simulated(&["a", "b"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &[]).await;
    stand.ready().await;
    let status = stand.json("/api/models/status").await;
    for name in ["a:latest", "b:latest"] {
        assert_eq!(status[name]["status"], "ready", "{status}");
        assert_eq!(status[name]["attempts"], 1);
        assert!(
            status[name]["expiresAt"]
                .as_str()
                .unwrap()
                .starts_with("2312-"),
            "{status}"
        );
        assert!(sim.is_resident(name));
    }
    let (code, body) = stand.get("/-/ready").await;
    assert_eq!((code, body.trim()), (200, r#"{"ready":true,"reasons":[]}"#));
    assert!(stand.stop().await);
    assert!(sim.is_resident("a"), "nothing is unloaded at the end");
}

#[tokio::test]
async fn the_first_client_finds_the_prompt_warm_in_every_slot() {
    let mut config = Config::new([quick("a")]);
    config.environment.num_parallel = 4;
    let sim = Sim::start(config).await.unwrap();
    let system = "Answer shortly, name the file, and never guess. ".repeat(200);
    let conversation = json!({"system": system, "tools": []});
    let models =
        json!([{"model": "a", "warmup": {"parallel": 4, "conversations": [conversation]}}]);
    let mut stand = Stand::start(&sim.url(), models, &[]).await;
    let snapshot = stand.ready().await;
    assert_eq!(requests(&sim, "/api/chat").len(), 4);
    let instance = view(&snapshot, "a:latest");
    assert_eq!(instance.prompt_warm, Some(true));
    assert_eq!(instance.totals.warmup_seconds.count(), 1);
    // What a client asks now is computed from the cache, in each slot.
    let http = client();
    for number in 0..4 {
        let body = json!({
            "model": "a", "stream": false, "options": {"num_predict": 1},
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": format!("Question {number}?")}],
        });
        let sent = http
            .post(format!("{}/api/chat", sim.url()))
            .json(&body)
            .send()
            .await;
        let answer: serde_json::Value = sent.unwrap().json().await.unwrap();
        let nanos = answer["prompt_eval_duration"].as_u64().unwrap();
        assert!(nanos < 20_000_000, "{number} is cold: {answer}");
    }
}

#[tokio::test]
async fn a_server_that_starts_later_costs_no_attempt() {
    let sim = simulated(&["a"]).await;
    sim.stop().await;
    let mut stand = Stand::start(&sim.url(), json!(["a"]), &[]).await;
    let waiting = stand
        .until("it waits", |snapshot| {
            view(snapshot, "a:latest").last_error.is_some()
        })
        .await;
    let instance = view(&waiting, "a:latest");
    assert_eq!((instance.state, instance.attempts), (State::Pending, 0));
    let error = instance.last_error.clone().unwrap();
    assert_eq!(error.kind, FailureKind::Unreachable);
    assert!(
        error.hint.contains("ollama serve") && error.hint.contains(&sim.url()),
        "{}",
        error.hint
    );
    sim.resume().await;
    let snapshot = stand.ready().await;
    assert_eq!(view(&snapshot, "a:latest").attempts, 1);
}

#[tokio::test]
async fn a_missing_model_fails_alone_and_is_loaded_when_it_appears() {
    let sim = simulated(&["a"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &[]).await;
    stand.state("a:latest", State::Ready).await;
    let failed = stand.state("b:latest", State::Failed).await;
    let error = failed.last_error.clone().unwrap();
    assert_eq!(error.kind, FailureKind::ModelNotFound);
    assert!(error.hint.contains("ollama pull b"), "{}", error.hint);
    let (code, body) = stand.get("/-/ready").await;
    assert_eq!(code, 503);
    assert!(body.contains("b:latest is failed"), "{body}");
    sim.install(quick("b")).unwrap();
    stand.ready().await;
}

#[tokio::test]
async fn what_is_missing_is_pulled_where_that_is_allowed() {
    let mut config = Config::new([quick("a")]);
    config.registry = vec![quick("b")];
    config.online = true;
    let sim = Sim::start(config).await.unwrap();
    let models = json!(["a", {"model": "b", "pull": "ifMissing"}]);
    let mut stand = Stand::start(&sim.url(), models, &[]).await;
    let snapshot = stand.ready().await;
    let instance = view(&snapshot, "b:latest");
    assert_eq!((instance.attempts, instance.totals.pulls), (1, 1));
    assert_eq!(requests(&sim, "/api/pull").len(), 1);
}

#[tokio::test]
async fn embedding_models_load_through_embed_and_cloud_models_do_not_count() {
    let embedding = quick("embed").kind(Kind::Embedding);
    let cloud = ModelSpec::new("big:cloud").kind(Kind::Cloud);
    let sim = Sim::start(Config::new([quick("a"), embedding, cloud]))
        .await
        .unwrap();
    let mut stand = Stand::start(&sim.url(), json!(["a", "embed", "big:cloud"]), &[]).await;
    let snapshot = stand.ready().await;
    assert!(sim.is_resident("embed"));
    assert!(snapshot.models[2].excluded);
    let status = stand.json("/api/models/status/big:cloud").await;
    assert_eq!(
        (&status["excluded"], &status["status"]),
        (&json!(true), &json!("pending"))
    );
    assert!(
        status["lastError"]["message"]
            .as_str()
            .unwrap()
            .contains("cloud model"),
        "{status}"
    );
}

#[tokio::test]
async fn a_slow_load_times_out_as_an_attempt_and_still_succeeds() {
    let slow = quick("a").load(Duration::from_millis(900));
    let sim = Sim::start(Config::new([slow])).await.unwrap();
    let models = json!([{"model": "a", "maxRetries": 1, "retryDelayMs": 50}]);
    let mut stand = Stand::start(&sim.url(), models, &["preload.timeout=200ms"]).await;
    let retrying = stand.state("a:latest", State::Retrying).await;
    assert_eq!(
        &*retrying.last_error.clone().unwrap().message,
        "Preload timeout after 200ms"
    );
    let snapshot = stand.ready().await;
    let loads = requests(&sim, "/api/generate")
        .iter()
        .filter(|one| one.body.contains("keep_alive"))
        .count();
    assert_eq!(
        loads, 1,
        "the request belongs to the model, not to the attempt"
    );
    assert_eq!(view(&snapshot, "a:latest").totals.preload_retries, 1);
}

#[tokio::test]
async fn two_hundred_models_are_loaded_and_served() {
    let names: Vec<_> = (0..200).map(|number| format!("m{number}")).collect();
    let models = names
        .iter()
        .map(|name| quick(name).load(Duration::from_millis(1)));
    let mut config = Config::new(models);
    config.environment.max_loaded_models = 200;
    let sim = Sim::start(config).await.unwrap();
    let mut stand = Stand::start(&sim.url(), json!(names), &["preload.concurrency=8"]).await;
    stand.ready().await;
    let (code, text) = stand.get("/metrics").await;
    assert_eq!(code, 200);
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("preloader_model_ready{"))
            .count(),
        200
    );
    assert_eq!(stand.json("/api/status").await["summary"]["ready"], 200);
}

#[tokio::test]
async fn what_was_learned_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("state.path={}", folder.path().join("state.json").display());
    let sim = simulated(&["a", "b"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &[&path]).await;
    stand.ready().await;
    sim.restart().await;
    let lost = |snapshot: &std::sync::Arc<model_preloader::engine::Snapshot>| {
        view(snapshot, "a:latest").last_loss.is_some()
    };
    stand.until("the loss has a cause", lost).await;
    stand.ready().await;
    assert!(stand.stop().await);

    sim.stop().await;
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &[&path]).await;
    let snapshot = stand.until("it runs", |_| true).await;
    let instance = view(&snapshot, "a:latest");
    assert!(instance.expected_load.is_some() && instance.load_duration.is_none());
    let cause = instance.last_loss.as_ref().unwrap().cause;
    assert!(
        matches!(cause, LossCause::ServerRestart | LossCause::Unknown),
        "{cause:?}"
    );
}
