//! Loads, evictions, faults: one function per recording.

use crate::models;
use crate::replay::{Asked, Replay};
use ollama_sim::Fault;
use serde_json::{Value, json};

pub(crate) fn all() -> Vec<(&'static str, fn(&mut Replay))> {
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
        ("hang", hang),
        ("hang_many_askers", hang_many_askers),
        ("hang_what_answers", hang_what_answers),
        ("hang_with_prompt", hang_with_prompt),
        ("keep_alive", keep_alive),
        ("load_replies", load_replies),
        ("load_timeout", load_timeout),
        ("loading_visibility", loading_visibility),
        ("missing_blob", missing_blob),
        ("own_pin", own_pin),
        ("probe_cost", probe_cost),
        ("queue_full", queue_full),
        ("reload_by_options", reload_by_options),
        ("restart", restart),
        ("runner_seen", runner_seen),
        ("serial_loads", serial_loads),
        ("server_killed", server_killed),
        ("server_stopped", server_stopped),
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

fn hang(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.hang("smol-a");
    r.run(0.5);
    r.ask("runner stopped: listed?");
    let before = r.world.pids();
    let asked = r.begin("empty generate on a hung runner");
    r.run(1.3);
    let ps = r
        .world
        .send("GET", "/api/ps", ollama_sim::Body::Bytes("".into()));
    assert!(r.end(asked) > 20.0);
    r.saw("ps during the ping took 19.51 s");
    assert!(r.world.wait(ps, 1.0));
    let seconds = r.world.got(ps).seconds();
    assert!((18.0..21.0).contains(&seconds), "{seconds}");
    r.ask("after");
    r.saw("runner processes: 1");
    r.saw("the hung runner was killed by the server");
    assert_ne!(before, r.world.pids());
    r.ask("after SIGCONT");
}

fn hang_many_askers(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.hang("smol-a");
    let four: Vec<_> = (0..4)
        .map(|_| r.world.post("/api/generate", &json!({"model": "smol-a"})))
        .collect();
    r.run(12.0);
    let other = r.begin("another model, asked 12 s later");
    let seconds = r.end(other);
    r.saw("another model's load, asked at 12 s");
    assert!((seconds - 39.1).abs() < 1.5, "{seconds}");
    let recorded = r.saw("four askers of the hung model");
    for (id, recorded) in four.into_iter().zip(recorded["done"].as_array().unwrap()) {
        assert!(r.world.wait(id, 10.0));
        let seconds = r.world.got(id).seconds();
        assert!(
            (seconds - recorded.as_f64().unwrap()).abs() < 1.5,
            "{seconds}, recorded {recorded}"
        );
    }
    r.ask("GET /api/ps");
}

fn hang_what_answers(r: &mut Replay) {
    const MEANWHILE: &str = "while the hung model is pinged";
    r.server();
    r.ask("smol-a,keep_alive:-1");
    r.ask("smol-b,keep_alive:-1");
    r.hang("smol-a");
    let hung = r.begin("request for the hung model");
    r.run(0.1);
    for _ in 0..5 {
        let asked = r.begin(MEANWHILE);
        let seconds = r.end(asked);
        assert!(seconds < 3.0, "{seconds}");
    }
    r.saw("answered within 3 s");
    assert!(r.open(hung));
    r.end(hung);
    r.ask("GET /api/ps");
}

fn hang_with_prompt(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.hang("smol-a");
    assert!(r.ask("one-token probe on a hung runner, 25 s limit") > 20.0);
    r.ask("after");
    r.saw("runner processes: 1");
    r.saw("the hung runner was killed by the server");
    assert_eq!(r.world.pids().len(), 1);
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

fn restart(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    let open = r.begin("in flight at SIGTERM");
    r.run(0.7);
    r.world.fault(&Fault::Stop);
    r.end(open);
    r.ask("while down");
    r.saw("server answers GET /");
    r.world.fault(&Fault::Start);
    r.ask("after the restart");
    let id = r.world.post("/api/generate", &json!({"model": "smol-a"}));
    assert!(r.world.wait(id, 5.0));
    r.world.fault(&Fault::Kill);
    let seen = r.saw("after SIGKILL of the server: orphan runners");
    assert_eq!(seen["n"], r.world.rules.orphans());
}

fn server_killed(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.world.fault(&Fault::Kill);
    let seen = r.saw("runners alive 1 s after SIGKILL of the server");
    assert_eq!(seen["n"], r.world.rules.orphans());
    assert!(!r.world.listening);
}

/// The runner's own sockets are not simulated; what Ollama answered meanwhile is.
fn runner_seen(r: &mut Replay) {
    const WHY: &str = "the simulation has no runner processes with sockets of their own";
    r.server();
    r.ask("keep_alive:9000000000");
    let long = r.begin("a client's long generation");
    r.run(1.0);
    assert!(r.open(long));
    r.end(long);
    r.hang("gemma");
    r.ask("Ollama");
    r.thaw("gemma");
    r.crash("gemma");
    r.run(0.04);
    r.ask("Ollama still lists it");
    r.ask("plain ping repairs it");
    for note in ["asked of the runner itself"; 4] {
        r.cannot(note, WHY);
    }
    for note in ["busy", "busy", "runner frozen", "thawed"] {
        r.cannot(&format!("asked of the runner itself: {note}"), WHY);
    }
    for seen in [
        "listening on 127.0.0.1",
        "/health of the runner",
        "listening now",
        "/slots p50",
        "runner killed: its socket is gone",
        "another port",
    ] {
        r.saw(seen);
    }
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

fn server_stopped(r: &mut Replay) {
    r.server();
    r.ask("keep_alive:-1");
    r.world.fault(&Fault::FreezeServer);
    r.ask("server stopped (SIGSTOP), 3 s limit");
    r.ask("server stopped, 3 s limit");
    r.world.fault(&Fault::ThawServer);
    r.ask("after SIGCONT");
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
