//! The wedge: told from a slow load for certain, and ended.

use super::looks::*;
use super::world::*;
use crate::engine::request::Timings;
use crate::engine::sight::{Life, Scene};
use crate::engine::snapshot::{LossCause, State};
use crate::engine::{FailureKind, Notice, Spec};

const A: &str = "a:latest";
const CLIENTS: &str = "client:latest";

/// A client's model is resident and generates; our load of `a` waits for its place.
fn waiting(spec: Spec) -> Looked {
    let mut world = World::new(spec);
    world.install(CLIENTS, "sha256-client:latest");
    world.list(CLIENTS, 300);
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    let mut looked = Looked {
        world,
        scene: Scene::default(),
    };
    looked.start(runner(1, CLIENTS));
    looked.runner(1).clients = 1;
    looked.pass(2);
    assert_eq!(looked.world.is_open("load"), 1);
    looked
}

fn plain() -> Spec {
    spec(vec![model(A)])
}

fn wedged(looked: &mut Looked) -> bool {
    looked.world.snapshot().servers[0].wedged.is_some()
}

#[test]
fn the_idle_model_in_the_way_is_unloaded_after_the_waits_and_once() {
    let mut looked = waiting(plain());
    looked.pass(30);
    looked.runner(1).clients = 0;
    looked.pass(27);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    assert!(!wedged(&mut looked));
    looked.pass(5);
    assert_eq!(looked.world.count_sent("unload client:latest"), 1);
    let snapshot = looked.world.snapshot();
    assert_eq!(snapshot.servers[0].wedges, 1);
    assert_eq!(
        snapshot.servers[0]
            .wedged
            .as_ref()
            .map(|wedge| &*wedge.model),
        Some(CLIENTS)
    );
    let reason = &snapshot.gate.reasons[0].message;
    assert!(reason.contains("loads nothing any more"), "{reason}");
    assert!(reason.contains(CLIENTS), "{reason}");
    let error = snapshot.servers[0].last_error.clone().unwrap();
    assert_eq!(error.kind, FailureKind::LoadStalled);
    let said = looked.world.notices.iter().filter(|notice| {
        matches!(notice, Notice::Advice { text, .. } if text.contains("loads nothing any more"))
    });
    assert_eq!(said.count(), 1);
    // Ollama goes on: the idle model goes, ours is loaded.
    looked.kill(1);
    looked.world.unlist(CLIENTS);
    looked.start(loader(2));
    looked.pass(2);
    assert!(!wedged(&mut looked));
    looked.kill(2);
    looked.scene.runners.push(runner(2, A));
    looked.world.finish_load(A);
    looked.pass(3);
    assert_eq!(looked.state(A), State::Ready);
    assert_eq!(looked.world.count_sent("unload client:latest"), 1);
}

#[test]
fn a_load_that_waits_for_a_generation_is_left_alone() {
    let mut looked = waiting(plain());
    looked.pass(400);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    assert_eq!(looked.world.snapshot().servers[0].wedges, 0);
}

#[test]
fn a_slow_load_is_left_alone_and_not_called_stalled() {
    let mut looked = waiting(plain());
    looked.runner(1).clients = 0;
    looked.start(loader(2));
    looked.pass(400);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    let error = looked.world.view(A).last_error.clone().unwrap();
    assert_eq!(
        error.kind,
        FailureKind::Timeout,
        "the attempt's time-out, nothing else"
    );
}

#[test]
fn a_socket_that_has_not_answered_yet_may_be_the_load() {
    let mut looked = waiting(plain());
    looked.runner(1).clients = 0;
    looked.scene.unclear = 1;
    looked.pass(400);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    looked.scene.unclear = 0;
    looked.pass(3);
    assert_eq!(looked.world.count_sent("unload client:latest"), 1);
}

#[test]
fn a_runner_that_appears_late_starts_the_wait_anew() {
    let mut looked = waiting(plain());
    looked.runner(1).clients = 0;
    looked.pass(50);
    looked.start(loader(2));
    looked.pass(1);
    looked.kill(2);
    looked.pass(58);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    looked.pass(4);
    assert_eq!(looked.world.count_sent("unload client:latest"), 1);
}

#[test]
fn twice_the_expected_time_is_waited_for() {
    let mut looked = waiting(plain());
    looked.runner(1).clients = 0;
    looked
        .world
        .engine
        .recall(&crate::engine::Memory(std::collections::BTreeMap::from([
            (
                ("ollama".into(), A.into()),
                crate::engine::Remembered {
                    load: Some(std::time::Duration::from_secs(100)),
                    ..Default::default()
                },
            ),
        ])));
    looked.pass(195);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    looked.pass(8);
    assert_eq!(looked.world.count_sent("unload client:latest"), 1);
}

#[test]
fn where_a_resident_runner_is_not_seen_there_is_no_certainty() {
    let mut looked = waiting(plain());
    looked.runner(1).clients = 0;
    looked.world.install("mlx:latest", "sha256-mlx");
    looked.world.list("mlx:latest", 300);
    looked.pass(400);
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    looked.scene.runners.push(runner(3, "mlx"));
    looked.runner(3).life = Life::Frozen;
    looked.pass(10);
    assert_eq!(
        looked.world.count_sent("unload client:latest"),
        0,
        "a frozen one is no wedge"
    );
    looked.runner(3).life = Life::Well;
    looked.pass(10);
    assert_eq!(looked.world.snapshot().servers[0].wedges, 1);
}

#[test]
fn switched_off_it_is_reported_with_the_way_out() {
    let mut wanted = plain();
    wanted.timing.unwedge = false;
    let mut looked = waiting(wanted);
    looked.runner(1).clients = 0;
    looked.pass(200);
    assert!(wedged(&mut looked));
    assert_eq!(looked.world.count_sent("unload client:latest"), 0);
    assert_eq!(looked.world.snapshot().servers[0].wedges, 1);
    let reason = looked.world.snapshot().gate.reasons[0].message.clone();
    assert!(
        reason.contains("`ollama stop client:latest` ends this"),
        "{reason}"
    );
}

#[test]
fn a_declared_model_in_the_way_is_lost_with_its_cause_and_loaded_again() {
    let mut looked = Looked::all_ready(spec(vec![model(A), model("b:latest")]));
    looked.pass(10);
    looked.kill(2);
    looked.world.unlist("b:latest");
    looked.pass(2);
    assert_eq!(looked.world.is_open("load"), 1);
    looked.pass_until_sent("unload a:latest", 70);
    assert_eq!(looked.cause(A), Some(LossCause::Unloaded));
    assert_ne!(looked.state(A), State::Ready);
    looked.kill(1);
    looked.world.unlist(A);
    looked.world.answer(
        "unload a:latest",
        Ok(crate::engine::Answer::Done(Timings::default())),
    );
    looked.start(runner(3, "b:latest"));
    looked.world.finish_load("b:latest");
    looked.pass(3);
    looked.world.finish_load(A);
    looked.start(runner(4, A));
    looked.pass(3);
    assert!(looked.world.is_ready());
    assert_eq!(looked.losses(A), 1);
}

#[test]
fn the_model_that_was_busy_last_is_taken_first_and_then_the_next() {
    let mut looked = waiting(plain());
    looked.world.install("other:latest", "sha256-other:latest");
    looked.world.list("other:latest", 300);
    looked.start(runner(2, "other:latest"));
    looked.pass(5);
    looked.runner(1).clients = 0;
    looked.pass_until_sent("unload client:latest", 70);
    looked.world.answer(
        "unload client:latest",
        Ok(crate::engine::Answer::Done(Timings::default())),
    );
    looked.kill(1);
    looked.world.unlist(CLIENTS);
    looked.pass(12);
    assert_eq!(looked.world.count_sent("unload other:latest"), 0);
    looked.pass(5);
    assert_eq!(
        looked.world.count_sent("unload other:latest"),
        1,
        "it was not that one"
    );
}
