//! Several names on the same weights.

use super::world::*;
use crate::engine::request::ModelInfo;
use crate::engine::snapshot::{Drift, LossCause, State};
use crate::engine::spec::*;
use crate::engine::{Event, Notice, UnixMillis};
use std::sync::Arc;

type Change = fn(&mut ModelInfo);

fn two() -> Spec {
    spec(vec![model("a:latest"), model("poet:latest")])
}

fn on_one_blob(wanted: Spec, change: impl Fn(&mut ModelInfo)) -> World {
    let mut world = World::new(wanted);
    world.install("a:latest", "sha256-1");
    world.install("poet:latest", "sha256-1");
    change(world.infos.get_mut("poet:latest").unwrap());
    world.tell(Event::Clock(UnixMillis(WALL)));
    world
}

#[test]
fn a_variant_of_a_resident_model_is_ready_without_a_load() {
    let mut world = on_one_blob(two(), |_| {});
    assert_eq!(world.count_sent("load a:latest"), 1);
    world.finish_load("a:latest");
    world.pass(10_000);
    assert_eq!(
        (world.state("a:latest"), world.state("poet:latest")),
        (State::Ready, State::Ready)
    );
    assert_eq!(world.count_sent("load poet:latest"), 0);
    assert!(world.is_ready());
}

#[test]
fn names_that_would_take_the_runner_from_each_other_are_found() {
    let with_context = |spec: &mut Spec| {
        spec.models[1].options = Arc::new(
            [("num_ctx".into(), OptionValue::Int(2048))]
                .into_iter()
                .collect(),
        );
    };
    let mut wanted = two();
    with_context(&mut wanted);
    let table: [(Spec, Change, &str); 3] = [
        (wanted, |_| {}, "num_ctx 2048 instead of by default"),
        (
            two(),
            |info| info.num_ctx = Some(8192),
            "num_ctx 8192 instead of by default",
        ),
        (
            two(),
            |info| info.adapters = vec!["sha256-2".into()],
            "other adapters",
        ),
    ];
    for (wanted, change, words) in table {
        let mut world = on_one_blob(wanted, change);
        world.finish_load("a:latest");
        world.pass(310_000);
        assert_eq!(
            (world.state("a:latest"), world.state("poet:latest")),
            (State::Ready, State::Failed)
        );
        let error = world
            .view("poet:latest")
            .last_error
            .clone()
            .expect("an error");
        assert!(
            error.message.contains("same weights as a:latest") && error.message.contains(words),
            "{error:?}"
        );
        let harmful = [
            "load poet:latest",
            "ping poet:latest",
            "pin poet:latest",
            "probe poet:latest",
        ];
        assert!(
            harmful.iter().all(|words| world.count_sent(words) == 0),
            "{:?}",
            world.sent
        );
        assert!(!world.is_ready());
    }
}

#[test]
fn the_runner_of_replaced_weights_is_reported_with_its_bytes() {
    let mut world = World::all_ready(spec(vec![model("a:latest")]));
    let old = world.resident.clone();
    world.install("a:latest", "sha256-new");
    world.pass(11_000);
    assert_eq!(
        world.view("a:latest").last_loss.as_ref().unwrap().cause,
        LossCause::ModelUpdated
    );
    world.list("a:latest", crate::engine::request::PIN_SECONDS);
    world.resident.splice(0..0, old);
    world.answer(
        "load a:latest",
        Ok(crate::engine::Answer::Done(
            crate::engine::request::Timings::default(),
        )),
    );
    world.pass(3000);
    let view = world.view("a:latest");
    assert_eq!((view.state, view.outdated_bytes), (State::Ready, 100));
    assert_eq!(view.drift, [Drift::Digest]);
    let advice = |notice: &&Notice| matches!(notice, Notice::Advice { text, .. } if text.contains("restart Ollama"));
    assert_eq!(world.notices.iter().filter(advice).count(), 1);
    // Ollama was restarted.
    world.resident.remove(0);
    world.pass(3000);
    assert_eq!(
        (
            world.view("a:latest").outdated_bytes,
            world.view("a:latest").drift.len()
        ),
        (0, 0)
    );
}

#[test]
fn a_conflict_ends_when_the_model_is_replaced() {
    let mut world = on_one_blob(two(), |info| info.num_ctx = Some(8192));
    world.finish_load("a:latest");
    assert_eq!(world.state("poet:latest"), State::Failed);
    world.install("poet:latest", "sha256-3");
    world.pass(11_000);
    assert_eq!(world.count_sent("load poet:latest"), 1);
}
