//! Loads, evictions, faults: one function per recording.

use crate::Case;
use crate::models;
use crate::replay::{Asked, Replay};
use ollama_sim::{EventKind, Fault};
use serde_json::{Value, json};

pub(crate) fn all() -> Vec<Case> {
    vec![
        ("abort_load", abort_load),
        ("abort_load_late", abort_load_late),
        ("basics", sequence),
        ("busy", busy),
        ("crash", crash),
        ("create", create),
        ("deleted_while_resident", sequence),
        ("errors", sequence),
        ("eviction", eviction),
        ("keep_alive", keep_alive),
        ("load_replies", load_replies),
        ("load_timeout", load_timeout),
        ("loading_visibility", loading_visibility),
        ("missing_blob", missing_blob),
        ("own_pin", own_pin),
        ("probe_cost", probe_cost),
        ("queue_full", queue_full),
        ("reload_by_options", reload_by_options),
        ("serial_loads", serial_loads),
        ("shared_blob", shared_blob),
        ("slow_load", slow_load),
    ]
}

/// One request after the other.
fn sequence(r: &mut Replay) {
    r.server();
    r.ask_on();
}

fn aborted(r: &mut Replay, after: f64) {
    let id = r.world.post("/api/generate", &json!({"model": "gemma"}));
    r.run(after);
    assert!(!r.world.answered(id));
    r.world.drop_connection(id);
    r.run(0.06);
    assert_eq!(r.world.pids(), [] as [u64; 0]);
    let last = r.world.rules.events().last().map(|event| event.kind);
    assert_eq!(last, Some(EventKind::LoadFailed), "the child is gone");
}

fn abort_load(r: &mut Replay) {
    r.server();
    r.saw("runner processes while loading");
    aborted(r, 0.15);
    r.saw("connection dropped at 0.15 s");
    r.ask("GET /api/ps");
    assert!(r.ask("loads again") > 2.0, "it starts from zero");
}

fn abort_load_late(r: &mut Replay) {
    r.server();
    r.saw("runner process appears");
    aborted(r, 0.46);
    r.saw("connection dropped 0.2 s later");
    r.ask("GET /api/ps");
}

fn busy(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.ask("idle");
    let long = r.begin("long generation");
    r.run(0.9);
    let probe = r.begin("one-token probe while busy");
    r.run(0.1);
    r.ask("ping while busy");
    r.ask("while busy");
    assert!(r.open(long) && r.open(probe));
    let took = r.end(long);
    assert!(
        r.end(probe) > took - 1.1,
        "the probe waits behind the generation"
    );
    r.ask("after");
}

fn crash(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.crash("smol-a");
    r.run(1.0);
    r.ask("1 s after SIGKILL of the runner: still listed?");
    r.ask("next request");
    r.ask("pin kept after the reload?");
    r.saw("runner processes: 1");
    assert_eq!(r.world.pids().len(), 1);
    let generating = r.begin("killed while generating");
    r.run(1.0);
    r.crash("smol-a");
    r.end(generating);
    r.ask("after");
    r.ask("reload");
    r.server();
    let loading = r.begin("runner killed while loading");
    r.run(0.4);
    r.crash("gemma");
    r.end(loading);
    r.ask("GET /api/ps");
}

fn create(r: &mut Replay) {
    let config = models::empty_with_uploads(&r.uploads());
    r.server_with(config);
    // A digest of a manifest's bytes; those of unchanged models are given to the simulation.
    r.free_digest = Some(models::SMOL_CTX.to_owned());
    r.ask_on();
}

fn eviction(r: &mut Replay) {
    for _ in 0..3 {
        r.server();
        r.ask_on();
        if r.world.pids().len() == 3 {
            r.saw("runner processes: 3");
        }
    }
}

fn keep_alive(r: &mut Replay) {
    r.server();
    r.ask_on();
    let seconds = r.seconds_until_gone("smol-a");
    r.saw("smol-a:latest gone from ps after 2.04 s");
    assert!((1.9..2.2).contains(&seconds), "{seconds}");
}

fn load_replies(r: &mut Replay) {
    r.server();
    r.ask_on();
    let seconds = r.seconds_until_gone("smol-a");
    r.saw("smol-a:latest gone from ps after 0.03 s");
    assert!(seconds < 0.1, "{seconds}");
    r.ask_on();
}

fn load_timeout(r: &mut Replay) {
    r.server();
    let loading = r.begin("runner stopped while loading, OLLAMA_LOAD_TIMEOUT=3s");
    r.run(0.4);
    r.hang("gemma");
    let seconds = r.end(loading);
    assert!((3.0..4.0).contains(&seconds), "{seconds}");
    r.ask("GET /api/ps");
}

fn loading_visibility(r: &mut Replay) {
    r.server();
    let load = r.begin("load");
    let mut polls = 0;
    while r.open(load) {
        let ps = r
            .world
            .send("GET", "/api/ps", ollama_sim::Body::Bytes("".into()));
        assert!(r.world.wait(ps, 0.06), "ps waits");
        if r.open(load) {
            let text = String::from_utf8_lossy(&r.world.got(ps).body).into_owned();
            assert_eq!(text, r#"{"models":[]}"#);
        }
        r.run(0.01);
        polls += 1;
    }
    assert!(polls > 100, "{polls}");
    r.end(load);
    let seen = r.saw("load took 2.52 s");
    assert!(
        seen["observation"]
            .as_str()
            .unwrap()
            .ends_with("listed before the reply: None")
    );
    r.ask("GET /api/ps");
}

fn missing_blob(r: &mut Replay) {
    let fault = |fault: fn(String) -> Fault| fault("smol-d".into());
    r.server();
    r.world.fault(&fault(Fault::LoseWeights));
    r.ask("weights missing, generate");
    r.ask("weights missing, embed");
    r.ask("POST /api/show");
    r.world.fault(&fault(Fault::RestoreWeights));
    r.ask("weights back");
    r.server();
    r.world.fault(&fault(Fault::CutWeights));
    r.ask("weights cut in half");
}

fn own_pin(r: &mut Replay) {
    r.server();
    r.ask("load with our pin");
    r.ask("year 2312");
    r.ask("plain ping");
    r.ask("moved by the ping");
    let long = r.begin("a client's long generation");
    r.run(0.5);
    r.ask("plain ping while busy");
    r.ask("not moved while busy");
    r.end(long);
    r.ask("moved when idle again");
    r.ask("openai client");
    r.ask("our pin stays");
    r.crash("smol-a");
    r.run(0.5);
    r.ask("runner killed: still our pin");
    r.ask("plain ping repairs it");
    r.ask("another expiry: seen");
    r.ask("pinned again");
    r.ask("GET /api/ps");
    r.ask("a client's -1");
    r.ask("year 2319");
    r.server();
    r.ask("load with our pin");
    r.crash("smol-a");
    r.run(0.3);
    r.ask("plain ping repairs it");
    r.ask("server default -1: year 2319, still seen");
    r.server();
    r.ask_on();
}

fn probe_cost(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    let probes: [(&str, &str, Value, f64); 5] = [
        ("GET /api/ps", "GET", Value::Null, 0.005),
        ("GET /api/version", "GET", Value::Null, 0.005),
        ("GET /api/tags", "GET", Value::Null, 0.005),
        (
            "empty generate, resident",
            "POST",
            json!({"model": "smol-a"}),
            0.01,
        ),
        (
            "one token",
            "POST",
            json!({"model": "smol-a", "prompt": "x", "options": {"num_predict": 1}}),
            0.15,
        ),
    ];
    for (seen, method, body, limit) in probes {
        r.saw(seen);
        let path = seen.strip_prefix("GET ").unwrap_or("/api/generate");
        let id = match method {
            "GET" => r
                .world
                .send("GET", path, ollama_sim::Body::Bytes("".into())),
            _ => r.world.post(path, &body),
        };
        assert!(
            r.world.wait(id, limit),
            "{seen} takes longer than {limit} s"
        );
    }
}

fn queue_full(r: &mut Replay) {
    r.server();
    let all: Vec<Asked> = ["smol-b", "smol-c", "smol-a", "smol-d", "gemma"]
        .iter()
        .map(|model| r.begin(&format!("{{model:{model}}}")))
        .collect();
    for asked in all.into_iter().rev() {
        r.end(asked);
    }
}

/// Compares whether the runner is still the same, wherever the recording noted its process.
fn reload_by_options(r: &mut Replay) {
    const CHECKS: [(&str, &str); 7] = [
        ("pin, auto options", ""),
        ("temperature", "same"),
        ("num_ctx 2048", "new"),
        ("plain ping, no options", "new"),
        ("ping with the resident num_ctx", "same"),
        ("num_ctx explicit 2048", "new"),
        ("ping explicit 2048", "same"),
    ];
    r.server();
    let mut recorded = Value::Null;
    let mut before = Vec::new();
    let mut check = |r: &mut Replay, note: &str, expected: &str| {
        let seen = r.saw("runner processes: 1")["pids"].clone();
        let now = r.world.pids();
        if !expected.is_empty() {
            assert_eq!(
                seen == recorded,
                expected == "same",
                "{note}: the recording"
            );
            assert_eq!(now == before, expected == "same", "{note}: the simulation");
        }
        recorded = seen;
        before = now;
    };
    for (note, expected) in CHECKS {
        r.ask(note);
        match note {
            "pin, auto options" | "ping with the resident num_ctx" => {
                r.ask("GET /api/ps");
            }
            "num_ctx 2048" => {
                r.ask("context and pin now?");
            }
            "plain ping, no options" => {
                r.ask("who wins?");
            }
            _ => {}
        }
        check(r, note, expected);
    }
    r.ask("num_thread 1");
    check(r, "num_thread 1", "new");
    r.ask("GET /api/ps");
    r.ask("shift false");
    check(r, "shift false", "new");
    r.ask("bad type");
    r.ask("unknown option");
}

fn serial_loads(r: &mut Replay) {
    r.server();
    let all: Vec<Asked> = ["smol-a", "smol-b", "gemma"]
        .iter()
        .map(|model| r.begin(&format!("{{model:{model}}}")))
        .collect();
    let took: Vec<f64> = all.into_iter().map(|asked| r.end(asked)).collect();
    r.saw("three loads sent at once");
    assert!(
        took[1] > took[0] + 0.4 && took[2] > took[1] + 1.5,
        "one after the other: {took:?}"
    );
    r.ask("GET /api/ps");
}

fn shared_blob(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.ask("GET /api/ps");
    let before = r.world.pids();
    r.ask("alias of the same blob");
    r.ask("which names?");
    r.saw("runner processes: 1");
    assert_eq!(
        before,
        r.world.pids(),
        "the alias is served by the same runner"
    );
    r.ask("variant with PARAMETER num_ctx 1024");
    r.ask("GET /api/ps");
    r.saw("runner processes: 1");
    assert_ne!(before, r.world.pids(), "the variant has another one");
}

fn slow_load(r: &mut Replay) {
    r.server();
    let slow = r.begin("runner stopped for 12 s while loading");
    r.run(0.3);
    r.hang("gemma");
    r.run(0.2);
    let other = r.begin("another model meanwhile");
    r.run(6.0);
    r.ask("while the load stands still");
    r.run(6.0);
    r.saw("second load answered meanwhile: False");
    assert!(r.open(slow) && r.open(other));
    r.thaw("gemma");
    assert!(r.end(slow) > 12.0);
    r.end(other);
    r.ask("GET /api/ps");
}
