//! Policies and scopes of the gate.

use super::world::*;
use crate::engine::spec::*;
use crate::engine::{FailureKind, Mono};

fn three(policy: ReadinessPolicy) -> World {
    let mut wanted = spec(vec![
        model("a:latest"),
        model("b:latest"),
        model("c:latest"),
    ]);
    wanted.readiness.policy = policy;
    wanted.timing.concurrency = 3;
    World::start(wanted)
}

/// Whether the gate is open after each further load.
fn openings(policy: ReadinessPolicy) -> Vec<bool> {
    let mut world = three(policy);
    let mut seen = vec![world.is_ready()];
    for name in ["a:latest", "b:latest", "c:latest"] {
        world.finish_load(name);
        seen.push(world.is_ready());
    }
    seen
}

#[test]
fn each_policy_opens_when_it_should() {
    assert_eq!(openings(ReadinessPolicy::All), [false, false, false, true]);
    assert_eq!(openings(ReadinessPolicy::Any), [false, true, true, true]);
    assert_eq!(
        openings(ReadinessPolicy::Quorum(2)),
        [false, false, true, true]
    );
    assert_eq!(
        openings(ReadinessPolicy::Quorum(9)),
        [false, false, false, true]
    );
    assert_eq!(openings(ReadinessPolicy::None), [true, true, true, true]);
}

#[test]
fn an_optional_model_degrades_and_never_blocks() {
    let mut wanted = spec(vec![model("a:latest"), model("b:latest")]);
    wanted.models[1].required = false;
    let mut world = World::start(wanted);
    world.fail("load b:latest", FailureKind::UnsupportedModel);
    world.finish_load("a:latest");
    let gate = world.snapshot().gate;
    assert!(gate.ready);
    assert_eq!(gate.reasons.len(), 1);
    assert!(!gate.reasons[0].blocking);
    assert!(
        gate.reasons[0].message.contains("b:latest is failed"),
        "{:?}",
        gate.reasons
    );
}

#[test]
fn a_closed_gate_says_why() {
    let mut world = three(ReadinessPolicy::All);
    world.fail("load a:latest", FailureKind::OutOfMemory);
    let reasons = world.snapshot().gate.reasons;
    assert_eq!(&*reasons[0].message, "a:latest is retrying: scripted");
    assert!(reasons[0].blocking);
    assert_eq!(&*reasons[1].message, "b:latest is loading");
}

#[test]
fn the_startup_scope_holds_an_open_gate_open() {
    let mut wanted = spec(vec![model("a:latest")]);
    wanted.readiness.scope = ReadinessScope::Startup;
    let mut world = World::start(wanted);
    assert!(!world.is_ready());
    world.finish_load("a:latest");
    assert!(world.is_ready());
    world.pass(100);
    world.unlist("a:latest");
    world.pass(2000);
    let gate = world.snapshot().gate;
    assert!(gate.ready);
    assert!(
        gate.reasons
            .iter()
            .any(|reason| reason.message.contains("held open"))
    );
    assert_eq!((gate.opened, gate.closed), (1, 0));
}

#[test]
fn a_model_on_several_servers_needs_its_minimum() {
    let mut wanted = spec(vec![model("a:latest")]);
    wanted.servers.push(ServerSpec {
        name: "second".into(),
        url: "http://127.0.0.1:11435".into(),
    });
    wanted.models[0].min_servers = 2;
    let mut world = World::start(wanted);
    assert_eq!(world.is_open("load"), 2);
    world.finish_load("a:latest");
    assert!(!world.is_ready());
    world.finish_load("a:latest");
    assert!(world.is_ready());
}

#[test]
fn what_was_is_remembered_with_its_times() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    world.pass(1_000);
    world.finish_load("a:latest");
    world.pass(10_000);
    world.unlist("a:latest");
    world.pass(3_000);
    world.finish_load("a:latest");
    let snapshot = world.snapshot();
    let gate: Vec<_> = snapshot.gate.history.changes().collect();
    let states: Vec<_> = world.view("a:latest").history.changes().collect();
    let words: Vec<_> = states.iter().map(|(_, state)| state.as_str()).collect();
    let expected = ["pending", "loading", "ready", "pending", "loading", "ready"];
    assert_eq!(words, expected);
    assert!(
        states.is_sorted_by(|before, after| before.0 <= after.0),
        "{states:?}"
    );
    let (loaded, lost, back) = (states[2].0, states[3].0, states[5].0);
    assert_eq!(
        gate,
        [
            (Mono::ZERO, false),
            (loaded, true),
            (lost, false),
            (back, true)
        ],
        "the gate follows its only model"
    );
    assert_eq!(world.view("a:latest").state_since, back);
}
