//! Keeping it true: losses, restarts, silence, hung and crashed runners, pins.

use super::world::*;
use crate::engine::request::Request;
use crate::engine::snapshot::{LossCause, Reach, State};
use crate::engine::spec::*;
use crate::engine::{Event, FailureKind, Notice};
use std::time::Duration;

fn one() -> World {
    World::all_ready(spec(vec![model("a:latest")]))
}

fn loss(world: &mut World, name: &str) -> Option<LossCause> {
    world.view(name).last_loss.as_ref().map(|loss| loss.cause)
}

#[test]
fn a_lost_model_is_loaded_again_within_one_poll() {
    let mut world = one();
    world.unlist("a:latest");
    let lost_at = world.now;
    world.pass(2000);
    assert_eq!(world.state("a:latest"), State::Loading);
    let sent = world.last_sent("load a:latest").unwrap();
    assert!(sent - lost_at.since_start().as_millis() as u64 <= 2000);
    assert!(!world.is_ready());
    world.finish_load("a:latest");
    assert!(world.is_ready());
    assert_eq!(world.view("a:latest").totals.losses.iter().sum::<u64>(), 1);
}

#[test]
fn repeated_losses_wait_like_retries() {
    let mut world = one();
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.unlist("a:latest");
        world.pass(2000);
        let lost_at = world.view("a:latest").state_since;
        while world.is_open("load") == 0 {
            world.pass(100);
        }
        let sent = world.last_sent("load a:latest").unwrap();
        waits.push(sent.saturating_sub(lost_at.since_start().as_millis() as u64) / 1000);
        world.finish_load("a:latest");
        world.pass(10);
    }
    assert_eq!(waits, [0, 1, 2, 4]);
}

#[test]
fn an_eviction_names_who_came() {
    let mut world = one();
    world.install("intruder:latest", "sha256-intruder");
    world.unlist("a:latest");
    world.list("intruder:latest", 300);
    world.pass(2000);
    assert_eq!(
        loss(&mut world, "a:latest"),
        Some(LossCause::MemoryPressure)
    );
    let detail = world.view("a:latest").last_loss.clone().unwrap().detail;
    assert_eq!(
        &*detail,
        "a:latest was evicted because intruder:latest was loaded by another client"
    );
}

#[test]
fn an_eviction_is_recognised_when_the_newcomer_appears_later() {
    let mut world = one();
    world.install("intruder:latest", "sha256-intruder");
    world.unlist("a:latest");
    world.pass(2000);
    assert_eq!(
        loss(&mut world, "a:latest"),
        None,
        "nothing tells yet who did it"
    );
    world.list("intruder:latest", 300);
    world.pass(2000);
    assert_eq!(
        loss(&mut world, "a:latest"),
        Some(LossCause::MemoryPressure)
    );
}

#[test]
fn a_restart_of_the_server_is_survived() {
    let mut world = World::all_ready(spec(vec![model("a:latest"), model("b:latest")]));
    world.mood = Mood::Refusing;
    world.resident.clear();
    world.pass(2000);
    assert_eq!(world.state("a:latest"), State::Unknown);
    assert!(!world.is_ready());
    assert_eq!(world.snapshot().servers[0].reach, Reach::Down);
    world.pass(5000);
    world.mood = Mood::Well;
    world.pass(250);
    assert_eq!(
        world.is_open("load"),
        2,
        "all of them are due when it is back"
    );
    world.finish_load("a:latest");
    world.finish_load("b:latest");
    assert!(world.is_ready());
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::ServerRestart));
    assert_eq!(world.view("a:latest").totals.preload_retries, 0);
}

#[test]
fn a_short_break_of_the_connection_is_no_loss() {
    let mut world = one();
    world.mood = Mood::Refusing;
    world.pass(2000);
    assert!(!world.is_ready());
    world.mood = Mood::Well;
    world.pass(250);
    assert!(world.is_ready());
    assert_eq!(world.view("a:latest").totals.losses.iter().sum::<u64>(), 0);
    assert_eq!(world.count_sent("load a:latest"), 1);
}

#[test]
fn pings_follow_polls_and_carry_no_keep_alive() {
    let mut world = one();
    world.pass(60_000);
    let pings: Vec<_> = world
        .sent
        .iter()
        .filter(|(_, words)| words == "ping a:latest")
        .map(|(at, _)| *at)
        .collect();
    assert!((9..=11).contains(&pings.len()), "every 6 s: {pings:?}");
    assert!(pings.windows(2).all(|pair| pair[1] - pair[0] >= 5000));
    assert_eq!(world.count_sent("pin a:latest"), 0);
    assert!(world.is_ready());
}

#[test]
fn a_hung_runner_is_seen_by_its_ping_and_never_dropped() {
    let mut world = one();
    world.frozen = vec!["a:latest".into()];
    world.pass(6000 + 5000);
    assert_eq!(world.state("a:latest"), State::Unresponsive);
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::RunnerHung));
    assert!(!world.is_ready());
    assert_eq!((world.is_open("ping"), world.dropped.len()), (1, 0));
    // Ollama kills and reloads it, and answers our ping.
    world.pass(9000);
    world.frozen.clear();
    world.list("a:latest", 300);
    world.finish("ping a:latest", 0);
    world.pass(3000);
    assert_eq!(world.state("a:latest"), State::Ready);
    assert_eq!(
        world.count_sent("load a:latest"),
        1,
        "Ollama has loaded it again by itself"
    );
    assert!(
        world.view("a:latest").residency.unwrap().pinned,
        "and the pin is set again"
    );
}

#[test]
fn a_crash_repaired_by_our_ping_is_told_from_a_suspicion() {
    let mut world = one();
    world.frozen = vec!["a:latest".into()];
    while world.is_open("ping") == 0 {
        world.pass(500);
    }
    world.pass(700);
    world.frozen.clear();
    world.list("a:latest", 300);
    world.finish("ping a:latest", 0);
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::RunnerCrashed));
    assert_eq!(world.state("a:latest"), State::Verifying);
    world.pass(2000);
    assert_eq!(world.state("a:latest"), State::Ready);
}

#[test]
fn a_client_that_shortens_the_pin_costs_no_readiness() {
    let mut world = one();
    world.list("a:latest", 300);
    world.pass(2000);
    assert!(world.is_ready());
    world.pass(2000);
    assert_eq!(world.count_sent("pin a:latest"), 1);
    assert_eq!(world.view("a:latest").totals.losses.iter().sum::<u64>(), 0);
    world.pass(60_000);
    assert_eq!(world.count_sent("pin a:latest"), 1, "once is enough");
}

#[test]
fn a_busy_runner_is_never_pinned() {
    let mut world = one();
    world.list("a:latest", 300);
    world.busy = vec!["a:latest".into()];
    world.pass(30_000);
    assert_eq!(
        world.count_sent("pin a:latest"),
        0,
        "a keep_alive to a busy runner can stop Ollama for good"
    );
    world.busy.clear();
    world.pass(2000);
    assert_eq!(world.count_sent("pin a:latest"), 1);
}

#[test]
fn other_options_are_a_loss_and_pings_keep_the_observed_context() {
    let mut world = one();
    world.list("a:latest", 300);
    world.resident[0].context_length = 2048;
    world.busy = vec!["a:latest".into()];
    world.pass(2000);
    assert_eq!(
        loss(&mut world, "a:latest"),
        Some(LossCause::OptionsChanged)
    );
    world.frozen = vec!["a:latest".into()];
    world.pass(8000);
    let ping = world
        .open
        .values()
        .find(|request| matches!(request, Request::Ping(_)));
    let Some(Request::Ping(target)) = ping else {
        panic!("no ping")
    };
    assert_eq!(
        target.options.get("num_ctx"),
        Some(&OptionValue::Int(2048)),
        "anything else would reload it"
    );
}

#[test]
fn while_the_list_is_silent_nothing_is_sent_for_any_model() {
    let mut world = World::all_ready(spec(vec![model("a:latest"), model("b:latest")]));
    world.mood = Mood::PsSilent;
    world.pass(3100);
    let mark = world.sent.len();
    assert!(world.is_ready(), "silence is not absence");
    world.pass(30_000);
    let sent: Vec<_> = world
        .sent
        .iter()
        .skip(mark)
        .map(|(_, words)| &**words)
        .collect();
    assert!(sent.iter().all(|words| *words == "version"), "{sent:?}");
    assert_eq!(world.state("a:latest"), State::Unknown);
    assert_eq!(world.snapshot().servers[0].reach, Reach::PsSilent);
    world.mood = Mood::Well;
    world.pass(2000);
    assert!(world.is_ready());
}

#[test]
fn silence_of_the_list_counts_after_stale_after_and_of_the_server_sooner() {
    for (mood, limit) in [(Mood::PsSilent, 12_100), (Mood::Silent, 8100)] {
        let mut world = one();
        world.pass(5000);
        world.mood = mood;
        let from = world.now;
        while world.is_ready() {
            world.pass(100);
            assert!(
                world.now.since(from) < Duration::from_millis(limit),
                "{mood:?}"
            );
        }
    }
}

#[test]
fn a_hung_server_is_survived() {
    let mut world = one();
    world.mood = Mood::Silent;
    world.pass(60_000);
    assert_eq!(world.snapshot().servers[0].reach, Reach::Silent);
    assert_eq!(world.state("a:latest"), State::Unknown);
    world.mood = Mood::Well;
    world.open.clear();
    world.pass(3000);
    assert!(world.is_ready());
    assert_eq!(world.count_sent("load a:latest"), 1);
}

#[test]
fn a_model_deleted_while_resident_is_not_ready() {
    let mut world = one();
    world.installed.clear();
    world.pass(10_000);
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::ModelDeleted));
    assert_eq!(world.state("a:latest"), State::Failed);
    world.install("a:latest", "sha256-a:latest");
    world.pass(11_000);
    assert_eq!(
        world.state("a:latest"),
        State::Ready,
        "its runner was there all the time"
    );
}

#[test]
fn new_weights_under_the_same_name_are_loaded() {
    let mut world = one();
    world.install("a:latest", "sha256-new");
    world.pass(12_000);
    assert_eq!(world.is_open("load"), 1);
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::ModelUpdated));
}

#[test]
fn a_stalled_load_is_reported_with_its_way_out() {
    let mut world = World::all_ready(spec(vec![model("a:latest"), model("b:latest")]));
    world.unlist("b:latest");
    world.pass(2000);
    world.pass(60_000);
    let error = world.view("b:latest").last_error.clone().expect("an error");
    assert_eq!(error.kind, FailureKind::LoadStalled);
    let advice = world.notices.iter().any(|notice| match notice {
        Notice::Advice { text, .. } => text.contains("ollama stop a:latest"),
        _ => false,
    });
    assert!(advice);
    assert!(world.dropped.is_empty());
}

#[test]
fn polls_come_every_two_seconds_and_no_faster() {
    let mut world = one();
    let before = world.polls;
    world.pass(60_000);
    let polls = world.polls - before;
    assert!((30..=32).contains(&polls), "{polls}");
}

#[test]
fn an_unload_is_held_where_the_operator_wants_it() {
    let mut wanted = spec(vec![model("a:latest"), model("b:latest")]);
    wanted.timing.reload_on_unload = false;
    let mut world = World::all_ready(wanted);
    world.unlist("a:latest");
    world.pass(70_000);
    assert_eq!(world.state("a:latest"), State::Pending);
    assert_eq!(world.count_sent("load a:latest"), 1);
    assert_eq!(loss(&mut world, "a:latest"), Some(LossCause::Unloaded));
    let reasons = world.snapshot().gate.reasons;
    assert!(
        reasons[0].message.contains("residency.onUnload is hold"),
        "{reasons:?}"
    );
    world.tell(Event::Kick(None));
    world.pass(2000);
    assert_eq!(world.count_sent("load a:latest"), 2);
}

#[test]
fn what_was_not_unloaded_is_not_held() {
    let mut wanted = spec(vec![model("a:latest"), model("b:latest")]);
    wanted.timing.reload_on_unload = false;
    let mut world = World::all_ready(wanted);
    // A client loads it again: it is ours again as soon as it is listed.
    world.unlist("a:latest");
    world.pass(3000);
    world.list("a:latest", 300);
    world.pass(5000);
    assert_eq!(world.state("a:latest"), State::Ready);
    // A restart of the server.
    world.mood = Mood::Refusing;
    world.pass(3000);
    world.resident.clear();
    world.mood = Mood::Well;
    world.pass(3000);
    assert_eq!(world.state("b:latest"), State::Loading);
}

#[test]
fn a_failed_ping_is_no_failed_load_attempt() {
    let mut world = one();
    world.frozen.push("a:latest".into());
    world.pass(7000);
    world.fail("ping a:latest", FailureKind::RunnerCrashed);
    let totals = world.view("a:latest").totals.clone();
    assert_eq!(totals.preload_failures.iter().sum::<u64>(), 0);
    assert_eq!(totals.losses.iter().sum::<u64>(), 1);
}
