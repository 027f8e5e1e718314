//! Models that the server does not have, where the operator lets us pull them.

use super::world::*;
use crate::engine::FailureKind;
use crate::engine::snapshot::{LossCause, State};
use crate::engine::spec::*;
use std::time::Duration;

fn pulled(pull: PullPolicy) -> Spec {
    spec(vec![
        ModelSpec {
            pull,
            ..model("a:latest")
        },
        model("b:latest"),
    ])
}

fn without_a(wanted: Spec) -> World {
    let mut world = World::new(wanted);
    world.uninstall("a:latest");
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    world
}

#[test]
fn a_missing_model_is_pulled_and_loaded_in_one_attempt() {
    let mut world = without_a(pulled(PullPolicy::IfMissing));
    assert_eq!(world.state("a:latest"), State::Pulling);
    assert_eq!(
        world.state("b:latest"),
        State::Loading,
        "nobody waits for a pull"
    );
    world.pass(60_000);
    world.progress("a:latest", 500, 1000);
    world.pass(2000);
    world.progress("a:latest", 700, 1000);
    let view = world.view("a:latest");
    let pull = view.pull().expect("a pull");
    assert_eq!(
        (pull.completed, pull.total, pull.bytes_per_second),
        (700, Some(1000), Some(100))
    );
    assert_eq!(pull.time_left(), Some(Duration::from_secs(3)));
    world.finish_pull("a:latest");
    assert_eq!(world.state("a:latest"), State::Loading);
    world.finish_load("b:latest");
    world.finish_load("a:latest");
    let view = world.view("a:latest");
    assert_eq!((view.state, view.attempts), (State::Ready, 1));
    assert_eq!((view.totals.preload_attempts, view.totals.pulls), (1, 1));
    assert_eq!(view.last_error, None);
    assert!(world.is_ready());
}

#[test]
fn without_leave_nothing_is_pulled() {
    let mut world = without_a(pulled(PullPolicy::Never));
    world.pass(60_000);
    assert_eq!(world.state("a:latest"), State::Failed);
    assert_eq!(world.count_sent("pull a:latest"), 0);
}

#[test]
fn a_failed_pull_is_retried_with_backoff_and_then_at_the_health_interval() {
    let mut world = without_a(pulled(PullPolicy::IfMissing));
    let mut times = Vec::new();
    for wait in [1000, 2000, 4000] {
        times.push(world.last_sent("pull a:latest").unwrap());
        world.fail("pull a:latest", FailureKind::PullFailed);
        assert_eq!(world.state("a:latest"), State::Retrying);
        world.pass(wait);
    }
    assert_eq!(times, [0, 1000, 3000]);
    world.fail("pull a:latest", FailureKind::PullFailed);
    let view = world.view("a:latest");
    assert_eq!(
        (view.state, view.attempts, view.totals.preload_retries),
        (State::Failed, 4, 3)
    );
    world.pass(300_000);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Pulling, 1)
    );
}

#[test]
fn somebody_else_may_pull_it_meanwhile() {
    let mut wanted = pulled(PullPolicy::IfMissing);
    wanted.models[0].retry_delay = Duration::from_secs(30);
    let mut world = without_a(wanted);
    world.fail("pull a:latest", FailureKind::PullFailed);
    world.install("a:latest", "sha256-a");
    world.pass(10_000);
    assert_eq!(world.count_sent("load a:latest"), 1);
}

#[test]
fn only_a_pull_that_stands_still_is_dropped() {
    let mut world = without_a(pulled(PullPolicy::IfMissing));
    world.finish_load("b:latest");
    for minute in 1..=60 {
        world.pass(60_000);
        world.progress("a:latest", minute, 1000);
    }
    assert_eq!(
        world.count_sent("pull a:latest"),
        1,
        "an hour is fine while it gets on"
    );
    world.pass(299_999);
    assert_eq!(world.state("a:latest"), State::Pulling);
    world.pass(1);
    let error = world.view("a:latest").last_error.clone().expect("an error");
    assert_eq!(
        (error.kind, &*error.message),
        (
            FailureKind::PullFailed,
            "no progress for 300 s; the pull was dropped"
        )
    );
    assert_eq!(world.is_open("pull"), 0);
}

#[test]
fn a_pull_that_installs_nothing_is_a_failure() {
    let mut world = without_a(pulled(PullPolicy::IfMissing));
    world.finish("pull a:latest", 0);
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Retrying);
    assert_eq!(
        view.last_error.as_ref().unwrap().kind,
        FailureKind::PullFailed
    );
    assert_eq!(world.count_sent("pull a:latest"), 1);
}

#[test]
fn a_server_that_goes_away_under_a_pull_costs_no_retry() {
    let mut world = without_a(pulled(PullPolicy::IfMissing));
    world.mood = Mood::Refusing;
    world.fail("pull a:latest", FailureKind::Unreachable);
    world.pass(5000);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Pending, 0)
    );
    world.mood = Mood::Well;
    world.pass(300);
    assert_eq!(
        (world.state("a:latest"), world.view("a:latest").attempts),
        (State::Pulling, 1)
    );
}

#[test]
fn a_deleted_model_is_pulled_again_and_needs_no_load() {
    let mut world = World::all_ready(pulled(PullPolicy::IfMissing));
    world.uninstall("a:latest");
    world.pass(10_000);
    let view = world.view("a:latest");
    assert_eq!(
        view.last_loss.as_ref().unwrap().cause,
        LossCause::ModelDeleted
    );
    assert_eq!(view.state, State::Pulling);
    world.finish_pull("a:latest");
    world.pass(3000);
    assert_eq!(
        world.state("a:latest"),
        State::Ready,
        "its runner was there all the time"
    );
    assert_eq!(world.count_sent("load a:latest"), 1);
}

#[test]
fn always_pulls_once_before_the_first_load_and_leaves_a_resident_one_alone() {
    let mut world = World::start(pulled(PullPolicy::Always));
    assert_eq!(
        (
            world.count_sent("pull a:latest"),
            world.count_sent("load a:latest")
        ),
        (1, 0)
    );
    world.finish_pull("a:latest");
    world.finish_load("a:latest");
    world.unlist("a:latest");
    world.pass(5000);
    assert_eq!(
        (
            world.count_sent("pull a:latest"),
            world.count_sent("load a:latest")
        ),
        (1, 2)
    );

    let mut world = World::new(pulled(PullPolicy::Always));
    world.list("a:latest", 300);
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    world.pass(5000);
    assert_eq!(
        (world.count_sent("pull a:latest"), world.state("a:latest")),
        (0, State::Ready)
    );
}

#[test]
fn one_pull_at_a_time() {
    let mut wanted = pulled(PullPolicy::IfMissing);
    wanted.models[1].pull = PullPolicy::IfMissing;
    wanted.models[1].priority = 1;
    let mut world = World::new(wanted);
    world.uninstall("a:latest");
    world.uninstall("b:latest");
    world.tell(crate::engine::Event::Clock(crate::engine::UnixMillis(WALL)));
    assert_eq!(
        (world.state("b:latest"), world.state("a:latest")),
        (State::Pulling, State::Pending)
    );
    world.finish_pull("b:latest");
    assert_eq!(
        (world.state("b:latest"), world.state("a:latest")),
        (State::Loading, State::Pulling)
    );
}
