//! Runners that are seen themselves: no pings, quick verdicts, exact causes.

use super::looks::*;
use super::world::*;
use crate::engine::request::{Answer, PIN_SECONDS, Timings};
use crate::engine::sight::{Hidden, Life, Scene, WeightsFile};
use crate::engine::snapshot::{LossCause, State};
use crate::engine::spec::*;
use crate::engine::{Event, FailureKind, ServerId};
use std::time::Duration;

const A: &str = "a:latest";

fn one() -> Looked {
    Looked::all_ready(spec(vec![model(A)]))
}

fn warm() -> Looked {
    let mut world = World::start(spec(vec![warmed(A, 1)]));
    world.finish_load(A);
    world.finish("warmup a:latest", 900);
    let mut looked = Looked {
        world,
        scene: Scene {
            runners: vec![runner(1, A)],
            ..Scene::default()
        },
    };
    looked.look();
    looked.pass(1);
    looked
}

#[test]
fn a_seen_runner_is_never_pinged() {
    let mut looked = one();
    let before = looked.pings(A);
    looked.pass(299);
    assert_eq!(looked.pings(A), before);
    assert_eq!(looked.state(A), State::Ready);
    assert!(looked.world.snapshot().servers[0].runners.observed);
}

#[test]
fn without_looks_pings_do_the_work_again() {
    let mut looked = one();
    looked.pass(20);
    let before = looked.pings(A);
    looked.world.pass(60_000);
    assert!(looked.pings(A) >= before + 8, "{}", looked.pings(A));
    let runners = looked.world.snapshot().servers[0].runners.clone();
    assert!(!runners.observed && runners.reason.unwrap().contains("too long ago"));
    looked.look();
    looked.hide(Hidden::NoListener);
    let reason = looked.world.snapshot().servers[0].runners.reason.clone();
    assert_eq!(reason.as_deref(), Some(Hidden::NoListener.sentence()));
}

#[test]
fn a_crash_is_certain_one_poll_after_its_socket_is_gone_and_repaired_by_one_ping() {
    let mut looked = one();
    looked.pass(10);
    let pings = looked.pings(A);
    looked.world.frozen = vec![A.into()];
    looked.kill(1);
    looked.pass(1);
    assert_eq!(looked.state(A), State::Unresponsive);
    assert_eq!(looked.cause(A), Some(LossCause::RunnerCrashed));
    let error = looked.world.view(A).last_error.clone().unwrap();
    assert_eq!(error.kind, FailureKind::RunnerCrashed);
    assert_eq!(
        looked.pings(A),
        pings + 1,
        "the one that makes Ollama repair it"
    );
    looked.pass(15);
    assert_eq!(looked.pings(A), pings + 1, "it is kept open");
    assert_eq!(looked.world.dropped.len(), 0);
    // Ollama loads it with the server's default time to live and answers the ping.
    looked.start(runner(2, A));
    looked.world.frozen.clear();
    looked.world.list(A, 300);
    looked
        .world
        .answer("ping a:latest", Ok(Answer::Done(Timings::default())));
    looked.pass(2);
    assert_eq!(looked.state(A), State::Ready);
    looked.pass(3);
    assert_eq!(looked.world.count_sent("pin a:latest"), 1);
    assert_eq!((looked.losses(A), looked.pings(A)), (1, pings + 1));
}

#[test]
fn a_socket_that_went_because_the_model_was_unloaded_is_no_crash() {
    let mut looked = one();
    looked.kill(1);
    looked.world.unlist(A);
    looked.pass(1);
    assert_eq!(looked.state(A), State::Loading);
    looked.world.finish_load(A);
    assert_eq!(looked.cause(A), Some(LossCause::Unknown));
    looked.start(runner(2, A));
    looked.pass(3);
    assert_eq!((looked.state(A), looked.losses(A)), (State::Ready, 1));
}

#[test]
fn while_somebody_loads_a_crash_needs_a_second_look() {
    let mut looked = one();
    looked.pass(10);
    looked.kill(1);
    looked.start(loader(2));
    looked.pass(1);
    assert_eq!(
        looked.state(A),
        State::Ready,
        "its own reload may have just ended"
    );
    looked.pass(1);
    assert_eq!(looked.cause(A), Some(LossCause::RunnerCrashed));
}

#[test]
fn a_frozen_runner_is_lost_at_once_and_asked_once() {
    let mut looked = one();
    looked.pass(10);
    let pings = looked.pings(A);
    looked.world.frozen = vec![A.into()];
    looked.runner(1).life = Life::Frozen;
    looked.look();
    assert_eq!(looked.state(A), State::Unresponsive);
    assert_eq!(looked.cause(A), Some(LossCause::RunnerHung));
    looked.pass(10);
    assert_eq!(looked.pings(A), pings + 1);
    // It was killed and loaded anew by Ollama.
    looked.kill(1);
    looked.start(runner(2, A));
    looked.world.frozen.clear();
    looked.world.list(A, 300);
    looked.pass(1);
    looked
        .world
        .answer("ping a:latest", Ok(Answer::Done(Timings::default())));
    looked.pass(2);
    assert_eq!(looked.state(A), State::Ready);
    assert_eq!((looked.losses(A), looked.pings(A)), (1, pings + 1));
}

#[test]
fn another_runner_in_its_place_has_an_empty_prompt_cache() {
    let mut looked = warm();
    assert_eq!(looked.state(A), State::Ready);
    let before = looked.world.count_sent("warmup a:latest 0 x1");
    looked.kill(1);
    looked.start(runner(2, A));
    looked.world.list(A, 300);
    looked.pass(1);
    assert_eq!(looked.state(A), State::Verifying);
    assert_eq!(looked.world.count_sent("warmup a:latest 0 x1"), before + 1);
    assert_eq!(looked.cause(A), Some(LossCause::Unknown), "two causes fit");
    looked.world.finish("warmup a:latest", 900);
    looked.pass(2);
    assert_eq!((looked.state(A), looked.losses(A)), (State::Ready, 1));
}

#[test]
fn another_runner_with_another_context_is_another_clients() {
    let mut looked = one();
    looked.kill(1);
    looked.start(runner(2, A));
    looked.world.list(A, 300);
    looked.world.resident[0].context_length = 2048;
    looked.pass(1);
    assert_eq!(looked.cause(A), Some(LossCause::OptionsChanged));
    looked.pass(5);
    assert_eq!((looked.state(A), looked.losses(A)), (State::Ready, 1));
}

#[test]
fn a_clients_reload_in_progress_is_not_turned_back() {
    let mut looked = one();
    looked.kill(1);
    looked.world.unlist(A);
    looked.start(loader(2));
    looked.pass(9);
    assert_eq!(looked.world.is_open("load"), 0, "somebody loads something");
    looked.kill(2);
    looked.scene.runners.push(runner(2, A));
    looked.world.list(A, 300);
    looked.world.resident[0].context_length = 2048;
    looked.pass(3);
    assert_eq!(looked.cause(A), Some(LossCause::OptionsChanged));
    assert_eq!(looked.state(A), State::Ready);
    assert_eq!(looked.world.count_sent("load a:latest"), 1);
}

#[test]
fn a_clients_keep_alive_needs_no_new_warm_up_where_the_runner_is_the_same() {
    let mut looked = warm();
    let before = looked.world.sent.len();
    looked.world.list(A, 300);
    looked.runner(1).clients = 1;
    looked.pass(5);
    assert!(looked.world.sent_since(before).is_empty(), "it is busy");
    looked.runner(1).clients = 0;
    looked.pass(1);
    let sent = looked.world.sent_since(before);
    assert_eq!(
        sent.iter()
            .filter(|words| **words != "tags")
            .collect::<Vec<_>>(),
        [&"pin a:latest"]
    );
    assert_eq!(looked.losses(A), 0);
}

#[test]
fn the_health_check_waits_for_an_idle_look() {
    let mut looked = warm();
    looked.runner(1).clients = 2;
    let before = looked.world.count_sent("warmup a:latest 0 x1");
    looked.pass(400);
    assert_eq!(looked.world.count_sent("warmup a:latest 0 x1"), before);
    looked.runner(1).clients = 0;
    looked.pass(1);
    assert_eq!(looked.world.count_sent("warmup a:latest 0 x1"), before + 1);
}

#[test]
fn a_warm_up_runs_once_in_each_slot_that_is_seen() {
    let wanted = ModelSpec {
        warmup_parallel: 0,
        ..warmed(A, 1)
    };
    let mut looked = Looked {
        world: World::start(spec(vec![wanted.clone()])),
        scene: Scene::default(),
    };
    looked.pass(1);
    looked.world.finish_load(A);
    let mut seen = runner(1, A);
    seen.slots = Some(4);
    looked.start(seen);
    assert_eq!(looked.world.is_open("warmup"), 0, "it waits for the number");
    looked.pass(1);
    assert_eq!(looked.world.count_sent("warmup a:latest 0 x4"), 1);

    let mut unseen = World::start(spec(vec![wanted]));
    unseen.finish_load(A);
    assert_eq!(
        unseen.count_sent("warmup a:latest 0 x1"),
        1,
        "nobody looks: the guess"
    );
}

#[test]
fn a_warm_up_does_not_wait_for_ever_for_a_runner_that_is_not_seen() {
    let wanted = ModelSpec {
        warmup_parallel: 0,
        ..warmed(A, 1)
    };
    let mut guessing = spec(vec![wanted]);
    guessing.timing.slots_guess = 2;
    let mut looked = Looked {
        world: World::start(guessing),
        scene: Scene::default(),
    };
    looked.pass(1);
    looked.world.finish_load(A);
    looked.pass(3);
    assert_eq!(looked.world.count_sent("warmup a:latest 0 x2"), 1);
}

#[test]
fn a_runner_at_work_that_gets_no_further_is_stuck() {
    let mut looked = one();
    looked.runner(1).clients = 1;
    looked.runner(1).slots_busy = 1;
    looked.runner(1).progress = Some(7);
    looked.pass(299);
    assert_eq!(looked.state(A), State::Ready);
    looked.runner(1).progress = Some(8);
    looked.pass(300);
    assert_eq!(looked.state(A), State::Ready, "it got further once");
    let pings = looked.pings(A);
    looked.pass(2);
    assert_eq!(looked.cause(A), Some(LossCause::RunnerHung));
    looked.pass(60);
    assert_eq!(looked.state(A), State::Unresponsive);
    assert_eq!(
        looked.pings(A),
        pings,
        "a ping would be answered and prove nothing"
    );
    looked.runner(1).progress = Some(9);
    looked.pass(3);
    assert_eq!((looked.state(A), looked.losses(A)), (State::Ready, 1));
}

#[test]
fn a_busy_runner_that_does_not_tell_its_progress_is_not_judged() {
    let mut looked = one();
    looked.runner(1).clients = 1;
    looked.runner(1).progress = None;
    looked.pass(1000);
    assert_eq!(looked.losses(A), 0);
}

#[test]
fn an_intruder_in_use_keeps_the_place_and_one_at_rest_does_not() {
    let mut looked = one();
    looked.world.install("b:latest", "sha256-b:latest");
    looked.kill(1);
    looked.world.unlist(A);
    looked.world.list("b:latest", 300);
    looked.start(runner(2, "b:latest"));
    looked.runner(2).clients = 1;
    looked.pass(120);
    assert_eq!(looked.cause(A), Some(LossCause::MemoryPressure));
    assert_eq!(
        looked.world.is_open("load"),
        0,
        "a long generation does not move the expiry"
    );
    looked.runner(2).clients = 0;
    looked.pass(29);
    assert_eq!(looked.world.is_open("load"), 0);
    looked.pass(4);
    assert_eq!(looked.world.is_open("load"), 1);
}

#[test]
fn a_model_whose_runner_is_not_seen_is_pinged_and_said_so() {
    let mut looked = one();
    looked.scene.runners.clear();
    looked.hide(Hidden::NoListener);
    let before = looked.pings(A);
    looked.pass(60);
    assert!(looked.pings(A) >= before + 8);
    let reason = looked.world.snapshot().servers[0]
        .runners
        .reason
        .clone()
        .unwrap();
    assert!(
        reason.contains("no runner of a:latest is seen here"),
        "{reason}"
    );
    assert_eq!(looked.losses(A), 0);
}

#[test]
fn two_runners_with_the_same_weights_are_not_told_apart() {
    let mut looked = one();
    looked.start(runner(2, A));
    looked.pass(10);
    let reason = looked.world.snapshot().servers[0]
        .runners
        .reason
        .clone()
        .unwrap();
    assert!(
        reason.contains("several runners have the weights of a:latest"),
        "{reason}"
    );
    let before = looked.pings(A);
    looked.kill(1);
    looked.kill(2);
    looked.pass(30);
    assert!(looked.pings(A) > before);
    assert_eq!(looked.losses(A), 0, "which of them was ours is not known");
}

#[test]
fn a_runner_of_another_store_is_another_servers() {
    let mut looked = one();
    let info = looked.world.infos.get_mut(A).unwrap();
    info.store = Some("/models/blobs".into());
    looked.world.install("c:latest", "sha256-c");
    looked.world.infos.get_mut("c:latest").unwrap().store = Some("/models/blobs".into());
    looked.world.list("c:latest", 300);
    looked.pass(12);
    let mut foreign = runner(9, A);
    foreign.weights = Some(WeightsFile {
        store: "/other/blobs".into(),
        blob: "sha256-a:latest".into(),
    });
    looked.start(foreign);
    let before = looked.pings(A);
    looked.pass(30);
    assert_eq!(looked.pings(A), before);
    assert!(looked.world.view(A).runner.is_some());
}

#[test]
fn two_servers_of_one_user_with_the_same_models_say_that_they_cannot_be_told_apart() {
    let mut two = spec(vec![model(A)]);
    two.servers.push(ServerSpec {
        name: "second".into(),
        url: "http://127.0.0.1:11435".into(),
    });
    let mut world = World::start(two);
    world.pass(100);
    world.list(A, PIN_SECONDS);
    while world.is_open("load") > 0 {
        world.answer("load a:latest", Ok(Answer::Done(Timings::default())));
    }
    let mut looked = Looked {
        world,
        scene: Scene {
            runners: vec![runner(1, A)],
            ..Scene::default()
        },
    };
    for _ in 0..10 {
        let sight = crate::engine::sight::Sight::Seen(looked.scene.clone());
        looked.world.tell(Event::Sighted {
            server: ServerId(1),
            sight,
        });
        looked.pass(1);
    }
    let servers = looked.world.snapshot().servers;
    let reason = servers[0].runners.reason.clone().unwrap();
    assert!(reason.contains("may be that of server second"), "{reason}");
    assert!(
        servers[1]
            .runners
            .reason
            .clone()
            .unwrap()
            .contains("server ollama")
    );
}

#[test]
fn a_late_look_of_an_unknown_server_changes_nothing() {
    let mut looked = one();
    looked.world.tell(Event::Sighted {
        server: ServerId(7),
        sight: crate::engine::sight::Sight::Hidden(Hidden::Off),
    });
    assert_eq!(looked.state(A), State::Ready);
    looked.world.now = looked.world.now + Duration::from_millis(1);
    assert!(looked.world.snapshot().servers[0].runners.observed);
}
