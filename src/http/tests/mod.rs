//! The admin server over real sockets on this runtime, on a paused clock where time matters.

use super::*;
use crate::clock::Clock;
use crate::engine::request::{
    Answer as Said, Installed, ModelInfo, PIN_SECONDS, Request, Resident, Timings,
};
use crate::engine::{Effect, Engine, Event, Mono, OpId, UnixMillis};
use crate::metrics::{ConfigReload, Metrics};
use crate::testing::spec;
use limits::Limits;
use prometheus::Registry;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

mod events;
mod page;

/// 2026-11-24T08:00:00Z.
const WALL: i64 = 1_795_507_200_000;

/// Fewer than in production, so that a test reaches them with few files.
const FEW: Limits = Limits {
    connections: 12,
    subscribers: 8,
};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
    engine: Engine,
    now: Mono,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// What the engine asked at the start; answered before it is told anything.
    asked: Vec<Effect>,
    /// Loads that wait for [`Running::finish_loads`].
    loads: Vec<(OpId, Request)>,
    resident: Vec<Resident>,
}

impl Running {
    /// Tells the engine something later, answers what it asks but for loads, and publishes what comes of it.
    fn tell(&mut self, event: Event) {
        self.now = self.now + Duration::from_millis(1000);
        let mut effects = std::mem::take(&mut self.asked);
        let mut events = vec![event];
        loop {
            for effect in effects {
                let Effect::Send { op, request, .. } = effect else {
                    continue;
                };
                match self.reply(&request) {
                    Some(said) => events.push(Event::Answered {
                        op,
                        result: Ok(said),
                    }),
                    None => self.loads.push((op, request)),
                }
            }
            let Some(event) = events.pop() else {
                break;
            };
            effects = self.engine.handle(self.now, event);
        }
        let snapshot = self.engine.snapshot(self.now);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn reply(&self, request: &Request) -> Option<Said> {
        let installed = |(_, name): (_, &Arc<str>)| Installed {
            name: Arc::clone(name),
            digest: Arc::clone(name),
            size: 1,
            remote: false,
        };
        Some(match request {
            Request::Load(_) => return None,
            Request::Version => Said::Version("0.33.0".into()),
            Request::Ps => Said::Resident(self.resident.clone()),
            Request::Tags => Said::Installed(self.engine.model_ids().map(installed).collect()),
            Request::Show { model } => Said::Info(ModelInfo {
                blob: Some(Arc::clone(model)),
                completion: true,
                ..ModelInfo::default()
            }),
            Request::Ping(_)
            | Request::Pin(_)
            | Request::Probe(_)
            | Request::Warmup { .. }
            | Request::Unload { .. }
            | Request::Pull { .. } => Said::Done(Timings::default()),
        })
    }

    fn finish_loads(&mut self) {
        while let Some((op, request)) = self.loads.pop() {
            let Request::Load(target) = request else {
                continue;
            };
            self.resident.push(Resident {
                name: Arc::clone(&target.model),
                digest: Arc::clone(&target.model),
                size: 100,
                size_vram: 0,
                context_length: 4096,
                expires_at: UnixMillis(WALL + PIN_SECONDS * 1000),
                expires_nanos: 0,
            });
            self.tell(Event::Answered {
                op,
                result: Ok(Said::Done(Timings::default())),
            });
        }
    }
}

async fn start() -> Running {
    start_with(&["tinyllama:latest", "hf.co/me/coder:Q4_K_M"]).await
}

async fn start_with(models: &[&str]) -> Running {
    let mut engine = Engine::new(spec(models), 1);
    let asked = engine.handle(Mono::ZERO, Event::Clock(UnixMillis(WALL)));
    let (sender, snapshots) = watch::channel(Arc::new(engine.snapshot(Mono::ZERO)));
    let metrics = Metrics::new(snapshots.clone(), Arc::new(ConfigReload::default()));
    let exposition = Exposition::new(metrics, Registry::new(), Clock::start()).unwrap();
    let surface = Arc::new(Surface::with_limits(snapshots, exposition, FEW));
    let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = bound.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    let shutdown = async {
        drop(stopped.await);
    };
    tasks.spawn(bound.serve(surface, shutdown, Duration::from_secs(5)));
    Running {
        address,
        stop,
        tasks,
        engine,
        now: Mono::ZERO,
        snapshots: sender,
        asked,
        loads: Vec::new(),
        resident: Vec::new(),
    }
}

/// Sends bytes, closes our side, reads to the end.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is the server's right when it did not want to read all of a request.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn every_path_answers_with_its_type() {
    let server = start().await;
    let table = [
        ("/", 200, "text/html"),
        ("/assets/", 404, "application/json"),
        ("/api/history", 200, "application/json"),
        ("/api/status", 200, "application/json"),
        ("/api/models/status", 200, "application/json"),
        ("/api/models/status/tinyllama", 200, "application/json"),
        (
            "/api/models/status/TinyLlama:latest",
            200,
            "application/json",
        ),
        (
            "/api/models/status/hf.co/me/coder:Q4_K_M",
            200,
            "application/json",
        ),
        (
            "/api/models/status/hf.co%2Fme%2Fcoder%3AQ4_K_M",
            200,
            "application/json",
        ),
        ("/api/models/status/unknown", 404, "application/json"),
        ("/api/models/status/%ff", 400, "application/json"),
        ("/api/models/status/..%2f..%2fetc", 404, "application/json"),
        ("/metrics", 200, "text/plain; version=0.0.4"),
        ("/-/healthy", 200, "text/plain"),
        ("/livez", 200, "text/plain"),
        ("/healthz", 200, "text/plain"),
        ("/-/ready", 503, "application/json"),
        ("/readyz", 503, "application/json"),
        ("/nothing", 404, "application/json"),
        ("/api/status/", 404, "application/json"),
    ];
    for (path, status, kind) in table {
        let (got, head, body) = ask(server.address, "GET", path, "").await;
        assert_eq!(got, status, "{path}");
        assert!(
            head.contains(&format!("content-type: {kind}")),
            "{path}: {head}"
        );
        assert!(!body.is_empty(), "{path}");
        if kind == "application/json" {
            serde_json::from_str::<serde_json::Value>(&body)
                .unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        }
        let (status_of_head, head_of_head, nothing) = ask(server.address, "HEAD", path, "").await;
        assert_eq!(
            (status_of_head, nothing.as_str()),
            (status, ""),
            "HEAD {path}"
        );
        let length = format!("content-length: {}", body.len());
        let exact = !matches!(path, "/metrics");
        assert!(
            !exact || head_of_head.contains(&length),
            "HEAD {path}: {head_of_head} lacks {length}"
        );
    }
}

#[tokio::test]
async fn other_methods_are_refused_with_what_is_allowed() {
    let server = start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let (status, head, body) = ask(
            server.address,
            method,
            "/api/status",
            "Content-Length: 0\r\n",
        )
        .await;
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head"), "{head}");
        assert!(body.contains("method_not_allowed"));
    }
}

#[tokio::test]
async fn large_answers_are_compressed_when_wanted() {
    let server = start_with(&["a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1"]).await;
    for path in ["/metrics", "/api/models/status"] {
        let (_, head, _) = ask(server.address, "GET", path, "Accept-Encoding: gzip\r\n").await;
        assert!(head.contains("content-encoding: gzip"), "{path}: {head}");
        assert!(head.contains("vary: accept-encoding"));
        let (_, head, _) = ask(server.address, "GET", path, "Accept-Encoding: gzip;q=0\r\n").await;
        assert!(!head.contains("content-encoding"), "{path}: {head}");
    }
}

#[tokio::test]
async fn the_status_of_a_model_says_what_is_not_there() {
    let server = start().await;
    let (_, _, body) = ask(server.address, "GET", "/api/models/status", "").await;
    let all: serde_json::Value = serde_json::from_str(&body).unwrap();
    let names: Vec<_> = all.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["tinyllama:latest", "hf.co/me/coder:Q4_K_M"],
        "in the order of the configuration"
    );
    let entry = &all["tinyllama:latest"];
    assert_eq!(entry["status"], "pending");
    assert!(entry["preloadedAt"].is_null() && entry.get("preloadedAt").is_some());
    assert!(entry["lastChecked"].is_null() && entry.get("lastChecked").is_some());
    assert!(entry.get("lastError").is_none());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start().await;
    let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(server.address, two.as_bytes()).await;
    let first = answer.find("healthy\n").expect("the first answer");
    let second = answer.find("\"ready\":false").expect("the second answer");
    assert!(first < second);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_cut_and_the_server_goes_on() {
    let server = start().await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(64 << 10)
    );
    let many = "X: y\r\n".repeat(200);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let path = format!(
        "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "a".repeat(8000)
    );
    let smuggled = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x";
    let doubled = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let raw_bytes: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET \xff HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
        path.as_bytes(),
        smuggled.as_bytes(),
        doubled.as_bytes(),
    ];
    for bytes in raw_bytes {
        let answer = raw(server.address, bytes).await;
        let fine = answer.is_empty()
            || answer.starts_with("HTTP/1.1 4")
            || answer.starts_with("HTTP/1.1 200");
        assert!(fine, "{answer}");
    }
    assert_eq!(ask(server.address, "GET", "/livez", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut answer = Vec::new();
    drop(
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
            .await
            .expect("it is cut"),
    );
}

#[tokio::test]
async fn the_history_tells_what_was_and_when() {
    let mut server = start_with(&["a:latest"]).await;
    server.tell(Event::Tick);
    server.finish_loads();
    let (status, _, body) = ask(server.address, "GET", "/api/history", "").await;
    let history: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "at": "2026-11-24T08:00:02.000Z",
        "started": "2026-11-24T08:00:00.000Z",
        "gate": [
            {"at": "2026-11-24T08:00:00.000Z", "ready": false},
            {"at": "2026-11-24T08:00:02.000Z", "ready": true},
        ],
        "models": [{"model": "a:latest", "servers": [{"server": "ollama", "states": [
            {"at": "2026-11-24T08:00:00.000Z", "status": "pending"},
            {"at": "2026-11-24T08:00:01.000Z", "status": "loading"},
            {"at": "2026-11-24T08:00:02.000Z", "status": "ready"},
        ]}]}],
    });
    assert_eq!((status, history), (200, expected));
    let (_, _, status) = ask(server.address, "GET", "/api/status", "").await;
    assert!(!status.contains("states"), "the history is no part of it");
}

#[tokio::test]
async fn at_the_limit_a_probe_still_gets_in() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..FEW.connections + 50 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert_eq!(ask(server.address, "GET", "/livez", "").await.0, 200);
    drop(idle);
}

#[tokio::test]
async fn shutdown_closes_the_listener_and_idle_connections() {
    let mut server = start().await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).await.unwrap();
    server.stop.send(()).unwrap();
    while server.tasks.join_next().await.is_some() {}
    let mut rest = Vec::new();
    drop(kept.read_to_end(&mut rest).await);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named_with_the_way_out() {
    let first = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Bound::bind(first.address()).await.unwrap_err().to_string();
    assert!(
        error.contains(&first.address().to_string()) && error.contains("--listen"),
        "{error}"
    );
}
