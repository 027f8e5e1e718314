//! What other clients and accidents do, and that we do no harm.

use crate::stand::{Stand, quick, requests, simulated, view};
use model_preloader::engine::Snapshot;
use model_preloader::engine::snapshot::{Drift, LossCause, State};
use ollama_sim::{Config, Sim};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn cause(snapshot: &Snapshot, name: &str) -> Option<LossCause> {
    view(snapshot, name)
        .last_loss
        .as_ref()
        .map(|loss| loss.cause)
}

#[tokio::test]
async fn an_unloaded_model_is_back_by_itself() {
    let sim = simulated(&["a"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a"]), &[]).await;
    stand.ready().await;
    sim.unload("a").unwrap();
    stand.closed().await;
    stand.ready().await;
    assert!(sim.is_resident("a"));
}

#[tokio::test]
async fn a_crashed_runner_is_found_repaired_and_warm_again() {
    let sim = simulated(&["a"]).await;
    let models = json!([{"model": "a", "warmup": [{"system": "Be short."}]}]);
    let mut stand = Stand::start(&sim.url(), models, &[]).await;
    stand.ready().await;
    // Ollama needs longer than a ping of a well runner for the repair.
    sim.set_load_time("a", Duration::from_millis(400)).unwrap();
    sim.crash("a").unwrap();
    stand.closed().await;
    let snapshot = stand.ready().await;
    assert_eq!(cause(&snapshot, "a:latest"), Some(LossCause::RunnerCrashed));
    assert_eq!(
        requests(&sim, "/api/chat").len(),
        2,
        "the prompt cache went with the runner"
    );
    let pinned = |snapshot: &Arc<Snapshot>| {
        view(snapshot, "a:latest")
            .residency
            .is_some_and(|seen| seen.pinned)
    };
    stand.until("the pin is set again", pinned).await;
}

#[tokio::test]
async fn a_frozen_runner_is_blamed_and_nobody_else() {
    let mut config = Config::new([quick("a"), quick("b")]);
    config.timing.ping_limit = Duration::from_secs(2);
    let sim = Sim::start(config).await.unwrap();
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &["health.staleAfter=5s"]).await;
    stand.ready().await;
    sim.hang("a").unwrap();
    stand.state("a:latest", State::Unresponsive).await;
    let snapshot = stand.ready().await;
    assert_eq!(cause(&snapshot, "a:latest"), Some(LossCause::RunnerHung));
    assert_eq!(cause(&snapshot, "b:latest"), None);
}

#[tokio::test]
async fn a_restarted_server_has_its_models_back() {
    let sim = simulated(&["a", "b"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a", "b"]), &[]).await;
    stand.ready().await;
    sim.stop().await;
    stand.closed().await;
    let (code, _) = stand.get("/metrics").await;
    assert_eq!(code, 200, "also while Ollama is away");
    sim.resume().await;
    let snapshot = stand.ready().await;
    for name in ["a:latest", "b:latest"] {
        assert_eq!(cause(&snapshot, name), Some(LossCause::ServerRestart));
        assert_eq!(view(&snapshot, name).attempts, 1);
    }
}

#[tokio::test]
async fn a_frozen_server_makes_its_models_unknown() {
    let sim = simulated(&["a"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a"]), &[]).await;
    stand.ready().await;
    sim.freeze_server();
    stand.state("a:latest", State::Unknown).await;
    let (code, body) = stand.get("/-/ready").await;
    assert_eq!(
        (code, body.contains("a:latest is unknown")),
        (503, true),
        "{body}"
    );
    assert_eq!(
        stand.get("/-/healthy").await.0,
        200,
        "our own health is another thing"
    );
    sim.thaw_server();
    let snapshot = stand.ready().await;
    assert_eq!(cause(&snapshot, "a:latest"), None);
}

#[tokio::test]
async fn an_evicted_model_waits_for_an_idle_newcomer() {
    let mut config = Config::new([quick("a"), quick("theirs")]);
    config.environment.max_loaded_models = 1;
    let sim = Sim::start(config).await.unwrap();
    let mut stand = Stand::start(&sim.url(), json!(["a"]), &[]).await;
    stand.ready().await;
    sim.client("/api/generate", &json!({"model": "theirs", "prompt": "Hi"}));
    stand.closed().await;
    let snapshot = stand.ready().await;
    assert_eq!(
        cause(&snapshot, "a:latest"),
        Some(LossCause::MemoryPressure)
    );
    let detail = view(&snapshot, "a:latest")
        .last_loss
        .clone()
        .unwrap()
        .detail;
    assert_eq!(
        &*detail,
        "a:latest was evicted because theirs:latest was loaded by another client"
    );
}

#[tokio::test]
async fn a_clients_context_is_kept_and_reported() {
    let sim = simulated(&["a"]).await;
    let mut stand = Stand::start(&sim.url(), json!(["a"]), &[]).await;
    stand.ready().await;
    sim.client(
        "/api/generate",
        &json!({"model": "a", "prompt": "Hi", "options": {"num_ctx": 2048}}),
    );
    let drifted =
        |snapshot: &Arc<Snapshot>| view(snapshot, "a:latest").drift.contains(&Drift::Context);
    let snapshot = stand.until("the drift is seen", drifted).await;
    assert!(
        view(&snapshot, "a:latest")
            .drift_detail
            .as_ref()
            .unwrap()
            .contains("2048")
    );
    // Two pings later it is still the client's.
    let before = view(&snapshot, "a:latest").last_checked.unwrap();
    let later = |snapshot: &Arc<Snapshot>| {
        view(snapshot, "a:latest")
            .last_checked
            .unwrap()
            .since(before)
            > Duration::from_secs(2)
    };
    let snapshot = stand.until("two pings later", later).await;
    assert_eq!(
        view(&snapshot, "a:latest")
            .residency
            .unwrap()
            .context_length,
        2048
    );
}

#[tokio::test]
async fn more_than_fits_is_quarantined_instead_of_fought_for() {
    let mut config = Config::new([quick("a"), quick("b")]);
    config.environment.max_loaded_models = 1;
    let sim = Sim::start(config).await.unwrap();
    let models = json!([{"model": "a", "priority": 1, "retryDelayMs": 50}, {"model": "b", "retryDelayMs": 50}]);
    let mut stand = Stand::start(&sim.url(), models, &[]).await;
    let out = stand.state("b:latest", State::Quarantined).await;
    let error = out.last_error.clone().unwrap();
    assert!(
        error.message.contains("OLLAMA_MAX_LOADED_MODELS"),
        "{}",
        error.message
    );
    stand.state("a:latest", State::Ready).await;
}

#[tokio::test]
async fn only_loads_and_pins_carry_a_keep_alive_whatever_happens() {
    let sim = simulated(&["a", "b"]).await;
    let models = json!([{"model": "a", "warmup": [{"system": "Be short."}]}, "b"]);
    let mut stand = Stand::start(&sim.url(), models, &["health.interval=1s"]).await;
    stand.ready().await;
    sim.crash("b").unwrap();
    sim.unload("a").unwrap();
    let checked = |snapshot: &Arc<Snapshot>| {
        let done = |name| view(snapshot, name).totals.health_check_seconds.count() > 0;
        snapshot.gate.ready && done("a:latest") && done("b:latest")
    };
    stand.until("both were checked", checked).await;
    let (mut unloads, mut loads) = (0, 0);
    for request in sim.received().iter().filter(|one| one.method == "POST") {
        let body = request.json();
        let empty = body.get("prompt").is_none() && body.get("messages").is_none();
        match body.get("keep_alive").and_then(serde_json::Value::as_i64) {
            None => assert_eq!(body.get("keep_alive"), None, "{request:?}"),
            // The other client's.
            Some(0) => unloads += 1,
            Some(pin) => {
                loads += 1;
                assert!(empty && request.path == "/api/generate", "{request:?}");
                assert_eq!(pin, 9_000_000_000, "{request:?}");
            }
        }
    }
    assert_eq!(unloads, 1);
    assert!(
        (3..=4).contains(&loads),
        "two loads, one again, and the pin of the repaired one: {loads}"
    );
}
