//! More wanted than fits, and other people's models.

use super::world::*;
use crate::engine::request::PIN_SECONDS;
use crate::engine::snapshot::{Drift, LossCause, State};
use crate::engine::spec::*;
use crate::engine::{Answer, Event, FailureKind};

/// Lets `seconds` pass on a server that holds `limit` models: a load pushes out the one that was loaded first.
fn crowded(world: &mut World, limit: usize, seconds: u64) -> usize {
    let mut loads = 0;
    for _ in 0..seconds * 2 {
        world.pass(500);
        world.finish_probes();
        while let Some(name) = world.first_open_load() {
            if world.resident.len() >= limit {
                world.resident.remove(0);
                world.pass(2100);
            }
            world.list(&name, PIN_SECONDS);
            world.answer(
                &format!("load {name}"),
                Ok(Answer::Done(crate::engine::request::Timings::default())),
            );
            loads += 1;
        }
    }
    loads
}

fn four(limit: usize) -> World {
    let names = ["a:latest", "b:latest", "c:latest", "d:latest"];
    let mut wanted = spec(names.map(model).to_vec());
    wanted.models[3].priority = -1;
    wanted.readiness.policy = ReadinessPolicy::Quorum(3);
    let mut world = World::start(wanted);
    let loads = crowded(&mut world, limit, 600);
    assert!(loads <= 20, "{loads} loads in ten minutes is a fight");
    world
}

#[test]
fn what_fits_is_not_disturbed() {
    let mut world = four(4);
    assert_eq!(
        world.count_sent("load a:latest") + world.count_sent("load d:latest"),
        2
    );
    assert!(world.is_ready());
}

#[test]
fn one_model_too_many_is_quarantined_by_priority() {
    let mut world = four(3);
    assert_eq!(world.state("d:latest"), State::Quarantined);
    for name in ["a:latest", "b:latest", "c:latest"] {
        assert_eq!(world.state(name), State::Ready, "{name}");
    }
    assert!(world.is_ready());
    let error = world.view("d:latest").last_error.clone().expect("an error");
    for words in [
        "d:latest does not fit beside",
        "a:latest (0 MB)",
        "OLLAMA_MAX_LOADED_MODELS to at least 4",
    ] {
        assert!(
            error.message.contains(words),
            "{:?} lacks {words:?}",
            error.message
        );
    }
}

#[test]
fn a_quarantine_is_tried_again_less_and_less_often() {
    let mut world = four(3);
    let loads = crowded(&mut world, 3, 4 * 3600);

    assert!((2..=40).contains(&loads), "{loads} loads in four hours");
    world.tell(Event::Kick(None));
    assert_ne!(world.state("d:latest"), State::Quarantined);
}

#[test]
fn a_quarantined_model_is_loaded_once_there_is_room() {
    let mut world = four(3);
    crowded(&mut world, 4, 3 * 3600);
    assert_eq!(world.state("d:latest"), State::Ready);
}

fn intruded() -> World {
    let mut world = World::all_ready(spec(vec![model("a:latest")]));
    world.install("theirs:latest", "sha256-theirs");
    world.unlist("a:latest");
    world.list("theirs:latest", 300);
    world.pass(2000);
    world
}

#[test]
fn a_model_in_use_is_not_pushed_out() {
    let mut world = intruded();
    for second in 0..120 {
        if second % 20 == 0 {
            // Their requests end now and then.
            world.list("theirs:latest", 300);
        }
        world.pass(1000);
    }
    assert_eq!(world.count_sent("load a:latest"), 1);
    assert_eq!(world.state("a:latest"), State::Pending);
    let reasons = world.snapshot().gate.reasons;
    assert_eq!(
        &*reasons[0].message,
        "a:latest is pending: theirs:latest took its place and is in use"
    );
}

#[test]
fn an_idle_model_is_pushed_out_after_its_time() {
    let mut world = intruded();
    world.pass(29_000);
    assert_eq!(world.count_sent("load a:latest"), 1);
    world.pass(3000);
    assert_eq!(world.count_sent("load a:latest"), 2);
}

#[test]
fn a_place_that_is_free_again_is_taken_at_once() {
    let mut world = intruded();
    world.unlist("theirs:latest");
    world.pass(2000);
    assert_eq!(world.count_sent("load a:latest"), 2);
}

#[test]
fn options_that_the_list_does_not_show_stop_the_pings() {
    let mut world = World::all_ready(spec(vec![model("a:latest")]));
    for _ in 0..2 {
        // A client loads it with another num_thread: its expiry is the default, and our next ping loads it back.
        world.list("a:latest", 300);
        world.busy = vec!["a:latest".into()];
        world.pass(2000);
        world.frozen = vec!["a:latest".into()];
        while world.is_open("ping") == 0 {
            world.pass(500);
        }
        world.pass(800);
        world.frozen.clear();
        world.list("a:latest", 301);
        world.finish("ping a:latest", 0);
        world.pass(2100);
    }
    let mark = world.count_sent("ping a:latest");
    assert!(world.view("a:latest").drift.contains(&Drift::HiddenOptions));
    assert_eq!(
        world
            .view("a:latest")
            .last_loss
            .as_ref()
            .map(|loss| loss.cause),
        Some(LossCause::Unknown)
    );
    assert_eq!(
        world.state("a:latest"),
        State::Ready,
        "it answered, whoever loaded it"
    );
    world.pass(500_000);
    assert_eq!(world.count_sent("ping a:latest"), mark);
    world.pass(200_000);
    assert!(world.count_sent("ping a:latest") > mark);
}

#[test]
fn models_that_push_each_other_out_before_they_are_ready_do_not_fight_for_ever() {
    let proven = |name| ModelSpec {
        verify: Verify::Token,
        ..model(name)
    };
    let mut world = World::start(spec(vec![proven("a:latest"), proven("b:latest")]));
    // There is room for one, and each load ends before the other's probe.
    for _ in 0..240 {
        if let Some(name) = world.first_open_load() {
            let evicted = std::mem::take(&mut world.resident);
            for entry in evicted {
                world.fail(&format!("probe {}", entry.name), FailureKind::RunnerCrashed);
            }
            world.finish_load(&name);
        }
        world.pass(1000);
    }
    let loads = world.count_sent("load a:latest") + world.count_sent("load b:latest");
    assert!(
        loads <= 8,
        "{loads} loads in four minutes: more than the retries of each"
    );
}
