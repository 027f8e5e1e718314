//! From nothing to loaded: order, limits, retries, time-outs, servers that are not there.

use super::world::*;
use crate::engine::snapshot::State;
use crate::engine::spec::*;
use crate::engine::{Event, FailureKind, Mono};
use std::time::Duration;

fn two() -> Spec {
    spec(vec![model("a:latest"), model("b:latest")])
}

#[test]
fn loads_all_declared_models_in_order_and_opens_the_gate() {
    let mut world = World::start(two());
    assert_eq!(
        world.sent_since(0),
        [
            "version",
            "tags",
            "show a:latest",
            "show b:latest",
            "load a:latest",
            "load b:latest"
        ]
    );
    assert_eq!(world.state("a:latest"), State::Loading);
    world.pass(700);
    world.finish_load("a:latest");
    assert_eq!(world.state("a:latest"), State::Ready);
    assert!(!world.is_ready());
    world.pass(800);
    world.finish_load("b:latest");
    assert!(world.is_ready());
    let b = world.view("b:latest");
    // While it waited in Ollama's queue behind a, its clock stood still.
    assert_eq!(b.load_duration, Some(Duration::from_millis(800)));
    assert_eq!(b.totals.preload_seconds.count(), 1);
    assert_eq!(
        (
            b.attempts,
            b.totals.preload_attempts,
            b.totals.preload_retries
        ),
        (1, 1, 0)
    );
}

#[test]
fn keeps_the_limit_of_concurrent_loads_and_the_order_of_priority() {
    let mut wanted = spec(vec![
        model("a:latest"),
        model("b:latest"),
        model("c:latest"),
    ]);
    wanted.models[2].priority = 5;
    let mut world = World::start(wanted);
    assert_eq!(world.is_open("load"), 2);
    assert!(
        world
            .sent_since(0)
            .ends_with(&["load c:latest", "load a:latest"])
    );
    assert_eq!(world.state("b:latest"), State::Pending);
    world.finish_load("c:latest");
    assert_eq!(world.state("b:latest"), State::Loading);
    assert_eq!(world.is_open("load"), 2);
}

#[test]
fn one_failing_model_delays_no_other() {
    let mut world = World::start(two());
    world.fail("load a:latest", FailureKind::OutOfMemory);
    assert_eq!(world.state("a:latest"), State::Retrying);
    world.finish_load("b:latest");
    assert_eq!(world.state("b:latest"), State::Ready);
    let error = world.view("a:latest").last_error.clone().expect("an error");
    assert_eq!(error.kind, FailureKind::OutOfMemory);
    assert!(error.hint.contains("num_ctx"), "{}", error.hint);
}

#[test]
fn retries_with_exponential_backoff_and_then_at_the_health_interval() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    let mut times = vec![world.last_sent("load a:latest").unwrap()];
    for expected_wait in [1000, 2000, 4000] {
        world.fail("load a:latest", FailureKind::ServerError);
        let due = world
            .view("a:latest")
            .next_retry_at
            .expect("a retry is due");
        assert_eq!(due, world.now + Duration::from_millis(expected_wait));
        world.pass(expected_wait - 1);
        assert_eq!(world.is_open("load"), 0, "a retry came too early");
        world.pass(1);
        times.push(world.last_sent("load a:latest").unwrap());
    }
    assert_eq!(times, [0, 1000, 3000, 7000]);
    world.fail("load a:latest", FailureKind::ServerError);
    let view = world.view("a:latest");
    assert_eq!((view.state, view.attempts), (State::Failed, 4));
    assert_eq!(
        (view.totals.preload_attempts, view.totals.preload_retries),
        (4, 3)
    );
    world.pass(299_999);
    assert_eq!(world.is_open("load"), 0);
    world.pass(1);
    assert_eq!(
        world.is_open("load"),
        1,
        "a failed model is tried again at every health interval"
    );
    world.finish_load("a:latest");
    assert!(world.is_ready());
}

#[test]
fn what_no_retry_cures_is_not_retried() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    world.fail("load a:latest", FailureKind::UnsupportedModel);
    assert_eq!(world.state("a:latest"), State::Failed);
    assert_eq!(world.view("a:latest").totals.preload_retries, 0);
}

#[test]
fn a_kick_tries_a_failed_model_now() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    world.fail("load a:latest", FailureKind::UnsupportedModel);
    world.pass(5000);
    world.tell(Event::Kick(None));
    assert_eq!(world.state("a:latest"), State::Loading);
    assert_eq!(world.view("a:latest").attempts, 1);
}

#[test]
fn a_timed_out_attempt_keeps_its_request_and_a_late_success_counts() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    world.pass(30_000);
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Retrying);
    let error = view.last_error.clone().expect("an error");
    assert_eq!(&*error.message, "Preload timeout after 30000ms");
    assert!(error.hint.contains("MODEL_PRELOAD_TIMEOUT"));
    assert_eq!(
        world.is_open("load"),
        1,
        "the request belongs to the model, not to the attempt"
    );
    world.pass(1000);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Loading, 2)
    );
    world.pass(120_000);
    // All four attempts have timed out; the request may still succeed.
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Loading, 4)
    );
    assert_eq!(world.count_sent("load a:latest"), 1);
    assert!(world.dropped.is_empty());
    world.finish_load("a:latest");
    assert_eq!(world.state("a:latest"), State::Ready);
    assert_eq!(
        world.view("a:latest").load_duration,
        Some(Duration::from_millis(151_000))
    );
}

#[test]
fn only_the_load_deadline_drops_a_load() {
    let mut world = World::start(spec(vec![model("a:latest")]));
    world.pass(599_999);
    assert!(world.dropped.is_empty());
    world.pass(1);
    assert_eq!(world.dropped.len(), 1);
    assert_eq!(world.state("a:latest"), State::Failed);
}

#[test]
fn abort_on_timeout_drops_at_once_and_tries_again() {
    let mut wanted = spec(vec![model("a:latest")]);
    wanted.timing.abort_on_timeout = true;
    let mut world = World::start(wanted);
    world.pass(31_000);
    assert_eq!(world.dropped.len(), 1);
    assert_eq!(world.count_sent("load a:latest"), 2);
}

#[test]
fn a_late_answer_of_a_dropped_load_changes_nothing() {
    let mut wanted = spec(vec![model("a:latest")]);
    wanted.timing.abort_on_timeout = true;
    let mut world = World::start(wanted);
    world.pass(30_500);
    let dropped = world.dropped[0];
    let before = world.snapshot();
    let late = Ok(crate::engine::Answer::Done(
        crate::engine::request::Timings::default(),
    ));
    world.tell(Event::Answered {
        op: dropped,
        result: late,
    });
    assert_eq!(world.snapshot().revision, before.revision);
    assert_eq!(world.state("a:latest"), State::Retrying);
}

#[test]
fn a_server_that_is_not_up_uses_no_retries() {
    let mut world = World::new(two());
    world.mood = Mood::Refusing;
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(60_000);
    let view = world.view("a:latest");
    assert_eq!((view.state, view.attempts), (State::Pending, 0));
    assert_eq!(
        view.last_error.as_ref().map(|error| error.kind),
        Some(FailureKind::Unreachable)
    );
    assert!(
        (239..=241).contains(&world.polls),
        "one poll every 250 ms, not {}",
        world.polls
    );
    world.mood = Mood::Well;
    world.pass(250);
    assert_eq!(world.is_open("load"), 2);
}

#[test]
fn a_server_that_goes_away_while_loading_uses_no_retry() {
    let mut world = World::start(two());
    world.pass(500);
    world.mood = Mood::Refusing;
    world.fail("load a:latest", FailureKind::Unreachable);
    world.fail("load b:latest", FailureKind::Unreachable);
    world.pass(3000);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Pending, 0)
    );
    world.mood = Mood::Well;
    world.pass(250);
    assert_eq!(world.is_open("load"), 2);
    assert_eq!(
        world
            .view("a:latest")
            .totals
            .preload_failures
            .iter()
            .sum::<u64>(),
        0
    );
}

#[test]
fn a_missing_model_fails_with_its_hint_and_is_loaded_as_soon_as_it_is_installed() {
    let mut world = World::new(two());
    world.installed.retain(|found| &*found.name != "a:latest");
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    world.finish_load("b:latest");
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Failed);
    let error = view.last_error.clone().expect("an error");
    assert_eq!(error.kind, FailureKind::ModelNotFound);
    assert!(error.hint.contains("ollama pull a:latest"));
    world.pass(60_000);
    assert_eq!(world.count_sent("load a:latest"), 0);
    assert_eq!(
        world.view("a:latest").totals.preload_attempts,
        1,
        "waiting for a pull is not an attempt"
    );
    world.install("a:latest", "sha256-a");
    world.pass(10_000);
    assert_eq!(world.state("a:latest"), State::Loading);
}

#[test]
fn a_cloud_model_is_excluded_from_the_gate() {
    let mut world = World::new(spec(vec![model("a:latest"), model("big:cloud")]));
    world.installed.retain(|found| &*found.name == "a:latest");
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    world.finish_load("a:latest");
    assert!(world.is_ready());
    assert!(world.model("big:cloud").excluded);
    world.pass(700_000);
    assert!(
        world
            .sent
            .iter()
            .all(|(_, words)| !words.contains("big:cloud"))
    );
}

#[test]
fn an_embedding_model_is_addressed_through_embed() {
    use crate::engine::request::{Request, Via};
    let mut world = World::new(spec(vec![model("e:latest")]));
    let info = world.infos.get_mut("e:latest").unwrap();
    (info.completion, info.embedding) = (false, true);
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    let via = world.open.values().find_map(|request| match request {
        Request::Load(target) => Some(target.via),
        _ => None,
    });
    assert_eq!(via, Some(Via::Embed));
}

#[test]
fn what_is_resident_already_is_not_loaded_again() {
    let mut world = World::new(spec(vec![model("a:latest")]));
    world.list("a:latest", 300);
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(3000);
    assert_eq!(world.count_sent("load a:latest"), 0);
    assert_eq!(world.state("a:latest"), State::Ready);
    assert_eq!(
        world.count_sent("pin a:latest"),
        1,
        "somebody else's time to live is replaced once it is idle"
    );
    assert!(world.view("a:latest").residency.unwrap().pinned);
}

#[test]
fn a_variant_on_resident_weights_is_never_loaded() {
    let mut world = World::new(spec(vec![model("poet:latest")]));
    world.install("poet:latest", "sha256-same");
    world.install("base:latest", "sha256-same");
    world.list("base:latest", 300);
    world.tell(Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(1000);
    assert_eq!(world.count_sent("load poet:latest"), 0);
    assert_eq!(world.state("poet:latest"), State::Ready);
}

#[test]
fn nothing_is_started_after_shutdown_and_the_gate_is_closed() {
    let mut world = World::start(two());
    world.finish_load("a:latest");
    let mark = world.sent.len();
    world.tell(Event::Shutdown);
    assert!(!world.is_ready());
    assert!(world.open.is_empty(), "open requests are dropped");
    assert_eq!(world.engine.next_due(), None);
    world.now = world.now + Duration::from_secs(3600);
    world.tell(Event::Tick);
    world.tell(Event::Kick(None));
    assert_eq!(world.sent.len(), mark);
    assert!(!world.is_ready());
}

#[test]
fn the_revision_rises_only_with_a_change() {
    let mut world = World::all_ready(two());
    let first = world.snapshot().revision;
    world.tell(Event::Tick);
    assert_eq!(world.snapshot().revision, first);
    world.pass(2000);
    assert!(world.snapshot().revision > first);
    assert!(world.now > Mono::ZERO);
}
