//! Warm, not only loaded: probes, conversations, health checks.

use super::world::*;
use crate::engine::FailureKind;
use crate::engine::snapshot::{Activity, LossCause, State};
use crate::engine::spec::*;
use std::time::Duration;

fn loaded(spec: Spec) -> World {
    let names: Vec<_> = spec.models.iter().map(|model| model.name.clone()).collect();
    let mut world = World::start(spec);
    for name in names {
        world.finish_load(&name);
    }
    world
}

#[test]
fn a_token_proves_a_model_that_has_no_prompts() {
    let mut world = loaded(spec(vec![ModelSpec {
        verify: Verify::Token,
        ..model("a:latest")
    }]));
    assert_eq!(world.state("a:latest"), State::Verifying);
    assert!(!world.is_ready());
    world.finish("probe a:latest", 1);
    assert!(world.is_ready());
}

#[test]
fn all_conversations_run_in_every_slot_before_the_model_is_ready() {
    let mut world = loaded(spec(vec![ModelSpec {
        warmup_parallel: 4,
        ..warmed("a:latest", 2)
    }]));
    assert_eq!(world.count_sent("warmup a:latest 0 x4"), 1);
    let Some(Activity::WarmingUp { done, total, .. }) = world.view("a:latest").activity.clone()
    else {
        panic!("it shows no warm-up");
    };
    assert_eq!((done, total), (0, 2));
    world.pass(8900);
    world.finish("warmup a:latest", 8900);
    assert_eq!(world.state("a:latest"), State::Verifying);
    world.pass(1000);
    assert_eq!(world.count_sent("warmup a:latest 1 x4"), 1);
    world.finish("warmup a:latest", 500);
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Ready);
    assert_eq!(view.prompt_warm, Some(true));
    assert_eq!(view.totals.warmup_seconds.count(), 1);
    assert!(view.warmup_duration >= Some(Duration::from_millis(8900)));
}

#[test]
fn between_conversations_users_go_first() {
    let mut world = loaded(spec(vec![warmed("a:latest", 2)]));
    world.busy = vec!["a:latest".into()];
    world.finish("warmup a:latest", 900);
    world.pass(20_000);
    assert_eq!(world.is_open("warmup"), 0);
    assert!(matches!(
        world.view("a:latest").activity,
        Some(Activity::WaitingForIdle { .. })
    ));
    world.busy.clear();
    world.pass(1100);
    assert_eq!(world.is_open("warmup"), 1);
}

#[test]
fn one_warm_up_at_a_time_on_a_server() {
    let mut world = loaded(spec(vec![warmed("a:latest", 1), warmed("b:latest", 1)]));
    world.pass(5000);
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup a:latest", 900);
    world.pass(10);
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup b:latest", 900);
    assert!(world.is_ready());
}

#[test]
fn the_warm_up_runs_again_after_every_reload() {
    let mut world = loaded(spec(vec![warmed("a:latest", 1)]));
    world.finish("warmup a:latest", 900);
    assert!(world.is_ready());
    world.pass(100);
    world.unlist("a:latest");
    world.pass(2000);
    world.finish_load("a:latest");
    assert_eq!(world.state("a:latest"), State::Verifying);
    world.finish("warmup a:latest", 900);
    assert!(world.is_ready());
    assert_eq!(world.count_sent("warmup a:latest 0 x1"), 2);
}

#[test]
fn background_warm_up_does_not_keep_the_gate_closed() {
    let mut wanted = spec(vec![warmed("a:latest", 1)]);
    wanted.readiness.warmup = WarmupReadiness::Background;
    let mut world = loaded(wanted);
    assert!(world.is_ready());
    world.pass(3000);
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup a:latest", 900);
    assert!(world.is_ready());
}

#[test]
fn a_failed_warm_up_is_retried_without_another_load() {
    let mut world = loaded(spec(vec![warmed("a:latest", 1)]));
    world.fail("warmup a:latest", FailureKind::ServerError);
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Retrying);
    assert_eq!(view.totals.warmup_failures.iter().sum::<u64>(), 1);
    world.pass(3000);
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup a:latest", 900);
    assert!(world.is_ready());
    assert_eq!(world.count_sent("load a:latest"), 1);
}

#[test]
fn a_warm_up_over_its_time_keeps_its_request() {
    let mut world = loaded(spec(vec![warmed("a:latest", 1)]));
    world.pass(300_000);
    let view = world.view("a:latest");
    assert_eq!(view.state, State::Verifying);
    assert_eq!(
        view.last_error.as_ref().map(|error| error.kind),
        Some(FailureKind::Timeout)
    );
    assert!(world.dropped.is_empty());
    world.finish("warmup a:latest", 300_000);
    assert!(world.is_ready());
}

#[test]
fn a_suspicion_runs_the_prompts_while_the_model_stays_ready() {
    let mut world = loaded(spec(vec![warmed("a:latest", 1)]));
    world.finish("warmup a:latest", 8900);
    world.pass(100);
    world.list("a:latest", 300);
    world.pass(4000);
    assert!(world.is_ready());
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup a:latest", 100);
    world.pass(3000);
    assert!(world.is_ready());
    assert_eq!(world.count_sent("pin a:latest"), 1);
    assert_eq!(world.view("a:latest").prompt_warm, Some(true));
}

#[test]
fn the_health_check_measures_whether_the_prompt_is_still_warm() {
    let mut world = loaded(spec(vec![warmed("a:latest", 3)]));
    for _ in 0..3 {
        world.finish("warmup a:latest", 8900);
        world.pass(1100);
    }
    assert!(world.is_ready());
    world.pass(303_000);
    assert_eq!(world.is_open("warmup"), 1);
    world.finish("warmup a:latest", 8800);
    let view = world.view("a:latest");
    assert_eq!(
        view.prompt_warm,
        Some(false),
        "somebody else's prompts had pushed it out"
    );
    assert_eq!(
        (
            view.totals.health_checks,
            view.totals.health_check_seconds.count()
        ),
        (1, 1)
    );
    world.pass(303_000);
    world.finish("warmup a:latest", 100);
    assert_eq!(world.view("a:latest").prompt_warm, Some(true));
}

#[test]
fn a_runner_that_answers_pings_and_computes_nothing_is_unresponsive() {
    let mut world = loaded(spec(vec![ModelSpec {
        verify: Verify::Token,
        ..model("a:latest")
    }]));
    world.finish("probe a:latest", 1);
    world.pass(303_000);
    assert_eq!(world.is_open("probe"), 1);
    world.pass(120_000);
    assert_eq!(world.state("a:latest"), State::Unresponsive);
    let loss = world.view("a:latest").last_loss.clone().unwrap();
    assert_eq!(loss.cause, LossCause::RunnerHung);
    assert_eq!(world.is_open("probe"), 1);
    world.finish("probe a:latest", 1);
    world.pass(3000);
    world.finish("probe a:latest", 1);
    assert!(world.is_ready());
}

#[test]
fn a_failed_health_check_is_counted_by_its_kind() {
    let mut world = loaded(spec(vec![ModelSpec {
        verify: Verify::Token,
        ..model("a:latest")
    }]));
    world.finish("probe a:latest", 1);
    world.pass(303_000);
    world.fail("probe a:latest", FailureKind::RunnerCrashed);
    let view = world.view("a:latest");
    assert_eq!(view.totals.health_check_failures.iter().sum::<u64>(), 1);
    assert_eq!(
        view.last_loss.as_ref().map(|loss| loss.cause),
        Some(LossCause::RunnerCrashed)
    );
    assert_eq!(view.state, State::Retrying);
}
