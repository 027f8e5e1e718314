//! Hung runners, hung and ended servers: one function per recording.

use crate::Case;
use crate::replay::Replay;
use ollama_sim::{Body, Fault};
use serde_json::json;

pub(crate) fn all() -> Vec<Case> {
    vec![
        ("hang", hang),
        ("hang_many_askers", hang_many_askers),
        ("hang_what_answers", hang_what_answers),
        ("hang_with_prompt", hang_with_prompt),
        ("restart", restart),
        ("runner_seen", runner_seen),
        ("server_killed", server_killed),
        ("server_stopped", server_stopped),
    ]
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
    let ps = r.world.send("GET", "/api/ps", Body::Bytes("".into()));
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
        r.cannot_see(seen, WHY);
    }
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
