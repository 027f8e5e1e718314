//! Another client loads a declared model in another way.

use super::world::*;
use crate::engine::request::{Answer, PIN_SECONDS, Timings};
use crate::engine::snapshot::{Drift, LossCause, State};
use crate::engine::spec::*;
use crate::engine::{FailureKind, Notice};
use std::sync::Arc;
use std::time::Duration;

fn declared(drift: DriftPolicy) -> Spec {
    let options = [("num_ctx".into(), OptionValue::Int(4096))];
    let wanted = ModelSpec {
        drift,
        options: Arc::new(options.into_iter().collect()),
        ..model("a:latest")
    };
    spec(vec![wanted])
}

/// A client's request made Ollama load it anew.
fn client_asks_for(world: &mut World, context: u64) {
    world.list("a:latest", 300);
    world.resident[0].context_length = context;
}

fn unload_succeeds(world: &mut World) {
    world.finish("unload a:latest", 0);
    world.pass(100);
    world.unlist("a:latest");
    world.pass(2000);
}

#[test]
fn reported_drift_costs_nothing_and_names_both_sides() {
    let mut world = World::all_ready(declared(DriftPolicy::Report));
    client_asks_for(&mut world, 2048);
    world.pass(250_000);
    let view = world.view("a:latest");
    assert_eq!(
        (view.state, &*view.drift),
        (State::Ready, &[Drift::Context][..])
    );
    let detail = view.drift_detail.clone().expect("a sentence");
    for words in [
        "2048",
        "4096",
        "OLLAMA_CONTEXT_LENGTH",
        "PARAMETER num_ctx",
        "num_ctx: 2048",
    ] {
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(
        (
            world.count_sent("load a:latest"),
            world.count_sent("unload a:latest")
        ),
        (1, 0)
    );
    let advice =
        |notice: &&Notice| matches!(notice, Notice::Advice { text, .. } if *text == detail);
    assert_eq!(world.notices.iter().filter(advice).count(), 1, "said once");
    client_asks_for(&mut world, 4096);
    world.pass(5000);
    assert_eq!(world.view("a:latest").drift_detail, None);
}

#[test]
fn enforced_drift_is_ended_when_the_runner_is_idle_and_then_not_fought() {
    let mut world = World::all_ready(declared(DriftPolicy::Enforce));
    world.busy.push("a:latest".into());
    client_asks_for(&mut world, 2048);
    world.pass(60_000);
    assert_eq!(world.count_sent("unload a:latest"), 0, "somebody uses it");
    world.busy.clear();
    world.pass(10_000);
    assert_eq!(
        (world.count_sent("unload a:latest"), world.state("a:latest")),
        (1, State::Pending)
    );
    unload_succeeds(&mut world);
    world.finish_load("a:latest");
    world.pass(3000);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").drift.len()),
        (State::Ready, 0)
    );
    // The client does it again: within the window it is only reported.
    client_asks_for(&mut world, 2048);
    world.pass(200_000);
    assert_eq!(world.count_sent("unload a:latest"), 1);
    assert!(world.view("a:latest").drift_detail.is_some());
}

#[test]
fn a_runner_on_its_way_out_is_not_taken_back() {
    let mut world = World::all_ready(declared(DriftPolicy::Enforce));
    client_asks_for(&mut world, 2048);
    world.pass(10_000);
    world.finish("unload a:latest", 0);
    world.pass(8000);
    assert_eq!(
        world.state("a:latest"),
        State::Pending,
        "it is listed a little longer"
    );
    world.pass(8000);
    assert_eq!(
        world.state("a:latest"),
        State::Ready,
        "somebody uses it again"
    );
}

#[test]
fn a_failed_unload_leaves_the_model_as_it_is() {
    let mut world = World::all_ready(declared(DriftPolicy::Enforce));
    client_asks_for(&mut world, 2048);
    world.pass(10_000);
    world.fail("unload a:latest", FailureKind::ServerError);
    world.pass(5000);
    assert_eq!(world.state("a:latest"), State::Ready);
    assert_eq!(world.count_sent("unload a:latest"), 1);
}

#[test]
fn what_the_server_cannot_give_is_not_enforced() {
    let mut world = World::start(declared(DriftPolicy::Enforce));
    world.list("a:latest", PIN_SECONDS);
    world.resident[0].context_length = 2048;
    world.answer("load a:latest", Ok(Answer::Done(Timings::default())));
    world.pass(250_000);
    let view = world.view("a:latest");
    assert_eq!(
        (view.state, &*view.drift),
        (State::Ready, &[Drift::Context][..])
    );
    assert_eq!(world.count_sent("unload a:latest"), 0);
}

#[test]
fn a_smaller_share_on_the_gpu_than_after_our_load_is_drift() {
    let mut world = World::start(declared(DriftPolicy::Report));
    world.list("a:latest", PIN_SECONDS);
    world.resident[0].size_vram = 100;
    world.answer("load a:latest", Ok(Answer::Done(Timings::default())));
    world.pass(3000);
    assert!(world.view("a:latest").drift.is_empty());
    // Another client's reload found less room.
    world.resident[0].size_vram = 60;
    world.pass(3000);
    assert_eq!(world.view("a:latest").drift, [Drift::GpuShare]);
}

#[test]
fn a_model_that_vanished_again_within_the_window_may_return_by_itself() {
    let mut world = World::start(declared(DriftPolicy::Report));
    world.pass(20_000);
    world.finish_load("a:latest");
    world.pass(100);
    client_asks_for(&mut world, 2048);
    world.pass(10_000);
    assert_eq!(
        world.view("a:latest").last_loss.as_ref().unwrap().cause,
        LossCause::OptionsChanged
    );
    world.unlist("a:latest");
    world.pass(2100);
    let due = world.view("a:latest").next_retry_at.expect("a time");
    assert!(
        due.since(world.now) > Duration::from_secs(37),
        "twice its load of 20 s"
    );
    client_asks_for(&mut world, 2048);
    world.pass(10_000);
    assert_eq!(
        (world.state("a:latest"), world.count_sent("load a:latest")),
        (State::Ready, 1)
    );
}

/// Found by the simulation (seeds 154, 186 and 157): a pin made a drifted runner look like one of our loads, so that the
/// next ping carried the declared options and took the model from its other user.
#[test]
fn a_pin_does_not_make_a_drifted_runner_ours() {
    for keep_alive in [300, PIN_SECONDS] {
        let mut world = World::new(declared(DriftPolicy::Report));
        client_asks_for(&mut world, 2048);
        world.list("a:latest", keep_alive);
        world.resident[0].context_length = 2048;
        world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
        for _ in 0..20 {
            world.pass(2000);
            let sent = world.pinged_with.get("num_ctx");
            assert_eq!(sent, Some(&OptionValue::Int(2048)), "{keep_alive}");
        }
        assert!(world.view("a:latest").residency.expect("listed").pinned);
        assert_eq!(world.count_sent("load a:latest"), 0);
    }
}

/// Found by the simulation (seeds 1, 52 and 53): such a runner looked idle after every ping.
#[test]
fn a_runner_that_is_busy_since_its_load_is_not_pinned() {
    let mut world = World::new(spec(vec![model("a:latest")]));
    world.list("a:latest", 300);
    world.never_idle = true;
    world.busy = vec!["a:latest".into()];
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(60_000);
    assert_eq!(world.count_sent("pin a:latest"), 0);
    world.never_idle = false;
    world.busy.clear();
    world.pass(10_000);
    assert_eq!(world.count_sent("pin a:latest"), 1);
}
