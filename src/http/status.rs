//! The status documents, made from a snapshot.

use super::body::{
    ActivityEntry, ErrorEntry, InstanceEntry, InstanceFacts, LossEntry, ModelEntry,
    NamedModelEntry, ReadyBody, RunnerEntry, RunnersEntry, ServerEntry, StatusBody, WedgedEntry,
};
use crate::clock::{millis, rfc3339};
use crate::engine::Mono;
use crate::engine::sight::Work;
use crate::engine::snapshot::{
    Activity, ErrorView, InstanceView, LossView, ModelView, Reason, ServerView, Snapshot, State,
};
use std::collections::BTreeMap;

pub(super) fn ready(snapshot: &Snapshot) -> ReadyBody {
    ReadyBody {
        ready: snapshot.gate.ready,
        reasons: sentences(&snapshot.gate.reasons),
    }
}

pub(super) fn status(snapshot: &Snapshot) -> StatusBody {
    StatusBody {
        ready: snapshot.gate.ready,
        reasons: sentences(&snapshot.gate.reasons),
        since: date(snapshot, snapshot.gate.since),
        summary: summary(snapshot),
        servers: snapshot
            .servers
            .iter()
            .map(|server| server_entry(snapshot, server))
            .collect(),
        models: snapshot
            .models
            .iter()
            .map(|model| NamedModelEntry {
                model: model.name.to_string(),
                entry: model_entry(snapshot, model),
            })
            .collect(),
        version: env!("CARGO_PKG_VERSION"),
        revision: snapshot.revision,
        at: date(snapshot, snapshot.at),
    }
}

pub(super) fn models(snapshot: &Snapshot) -> serde_json::Map<String, serde_json::Value> {
    let entry = |model: &std::sync::Arc<ModelView>| {
        let entry = serde_json::to_value(model_entry(snapshot, model)).unwrap_or_default();
        (model.name.to_string(), entry)
    };
    snapshot.models.iter().map(entry).collect()
}

pub(super) fn model_entry(snapshot: &Snapshot, model: &ModelView) -> ModelEntry {
    let speaker = model
        .instances
        .iter()
        .find(|instance| instance.state == model.state)
        .or(model.instances.first());
    let facts = match speaker {
        Some(instance) => facts(snapshot, instance),
        None => return undeclared_anywhere(snapshot, model),
    };
    let several = model.instances.len() > 1;
    let dates = |get: fn(&InstanceView) -> Option<Mono>| {
        let latest = model
            .instances
            .iter()
            .filter_map(|instance| get(instance))
            .max();
        latest.map(|at| date(snapshot, at))
    };
    ModelEntry {
        status: model.state.as_str(),
        preloaded_at: dates(|instance| instance.preloaded_at),
        last_checked: dates(|instance| instance.last_checked),
        display_name: model.display_name.to_string(),
        ready: model.ready,
        required: model.required,
        excluded: model.excluded,
        facts,
        servers: model
            .instances
            .iter()
            .filter(|_| several)
            .map(|instance| InstanceEntry {
                status: instance.state.as_str(),
                facts: self::facts(snapshot, instance),
            })
            .collect(),
    }
}

/// A model whose `servers` names none of the servers; the configuration refuses that, a library user may build it.
fn undeclared_anywhere(snapshot: &Snapshot, model: &ModelView) -> ModelEntry {
    let nothing = InstanceFacts {
        server: String::new(),
        since: date(snapshot, Mono::ZERO),
        activity: None,
        ready_at: None,
        attempts: 0,
        max_retries: 0,
        load_duration_ms: None,
        expected_load_ms: None,
        warmup_duration_ms: None,
        runner: None,
        prompt_warm: None,
        next_retry_at: None,
        resident_since: None,
        size_bytes: None,
        vram_bytes: None,
        context_length: None,
        expires_at: None,
        pinned: None,
        outdated_bytes: None,
        drift: Vec::new(),
        drift_detail: None,
        last_loss: None,
        last_error: None,
    };
    ModelEntry {
        status: State::Pending.as_str(),
        preloaded_at: None,
        last_checked: None,
        display_name: model.display_name.to_string(),
        ready: false,
        required: model.required,
        excluded: false,
        facts: nothing,
        servers: Vec::new(),
    }
}

fn facts(snapshot: &Snapshot, instance: &InstanceView) -> InstanceFacts {
    let when = |at: Option<Mono>| at.map(|at| date(snapshot, at));
    let seen = instance.residency;
    InstanceFacts {
        server: instance.server.to_string(),
        since: date(snapshot, instance.state_since),
        activity: instance
            .activity
            .as_ref()
            .map(|activity| activity_entry(snapshot, activity)),
        ready_at: when(instance.ready_at),
        attempts: instance.attempts,
        max_retries: instance.max_retries,
        load_duration_ms: instance.load_duration.map(millis),
        expected_load_ms: instance.expected_load.map(millis),
        warmup_duration_ms: instance.warmup_duration.map(millis),
        runner: runner_entry(snapshot, instance),
        prompt_warm: instance.prompt_warm,
        next_retry_at: when(instance.next_retry_at),
        resident_since: when(instance.resident_since),
        size_bytes: seen.map(|seen| seen.size),
        vram_bytes: seen.map(|seen| seen.size_vram),
        context_length: seen
            .map(|seen| seen.context_length)
            .filter(|context| *context > 0),
        expires_at: seen.map(|seen| rfc3339(seen.expires_at)),
        pinned: seen.map(|seen| seen.pinned),
        outdated_bytes: Some(instance.outdated_bytes).filter(|bytes| *bytes > 0),
        drift: instance.drift.iter().map(|kind| kind.as_str()).collect(),
        drift_detail: instance.drift_detail.as_ref().map(ToString::to_string),
        last_loss: instance.last_loss.as_ref().map(loss_entry),
        last_error: instance
            .last_error
            .as_ref()
            .map(|error| error_entry(snapshot, error)),
    }
}

fn activity_entry(snapshot: &Snapshot, activity: &Activity) -> ActivityEntry {
    let entry = |kind, since: Option<Mono>, done: Option<u64>, total: Option<u64>| ActivityEntry {
        kind,
        since: since.map(|since| date(snapshot, since)),
        done,
        total,
        bytes_per_second: None,
        eta_ms: None,
    };
    let count = |number: usize| u64::try_from(number).ok();
    match activity {
        Activity::Loading { since: None } => entry("queued", None, None, None),
        Activity::Loading { since } => entry("loading", *since, None, None),
        Activity::WarmingUp { since, done, total } => {
            entry("warming_up", Some(*since), count(*done), count(*total))
        }
        Activity::WaitingForIdle { since } => entry("waiting_for_idle", Some(*since), None, None),
        Activity::Pulling(pull) => ActivityEntry {
            bytes_per_second: pull.bytes_per_second,
            eta_ms: pull.time_left().map(millis),
            ..entry(
                "pulling",
                Some(pull.since),
                Some(pull.completed),
                pull.total,
            )
        },
    }
}

fn server_entry(snapshot: &Snapshot, server: &ServerView) -> ServerEntry {
    ServerEntry {
        name: server.name.to_string(),
        url: server.url.to_string(),
        status: server.reach.as_str(),
        version: server.version.as_ref().map(ToString::to_string),
        last_poll: server.last_poll.map(|at| date(snapshot, at)),
        resident: server.resident,
        loads_in_flight: server.loads_in_flight,
        runners: RunnersEntry {
            observed: server.runners.observed,
            reason: server.runners.reason.as_ref().map(ToString::to_string),
            there: server.runners.there,
            loading: server.runners.loading,
        },
        wedged: server.wedged.as_ref().map(|wedge| WedgedEntry {
            since: date(snapshot, wedge.since),
            model: wedge.model.to_string(),
        }),
        last_error: server
            .last_error
            .as_ref()
            .map(|error| error_entry(snapshot, error)),
    }
}

fn runner_entry(snapshot: &Snapshot, instance: &InstanceView) -> Option<RunnerEntry> {
    let runner = instance.runner?;
    let work = &instance.totals.work;
    let told = (*work != Work::default()).then_some(work);
    Some(RunnerEntry {
        since: date(snapshot, runner.since),
        requests: runner.clients,
        slots: runner.slots,
        slots_busy: runner.slots_busy,
        prompt_tokens: told.map(|work| work.prompt_tokens),
        prompt_tokens_cached: told.map(|work| work.prompt_tokens_cached),
        generated_tokens: told.map(|work| work.generated_tokens),
        warm_share: told.and_then(Work::warm_share),
    })
}

fn loss_entry(loss: &LossView) -> LossEntry {
    LossEntry {
        cause: loss.cause.as_str(),
        at: rfc3339(loss.at),
        detail: loss.detail.to_string(),
    }
}

fn error_entry(snapshot: &Snapshot, error: &ErrorView) -> ErrorEntry {
    ErrorEntry {
        kind: error.kind.as_str(),
        message: error.message.to_string(),
        hint: error.hint.to_string(),
        at: date(snapshot, error.at),
    }
}

fn summary(snapshot: &Snapshot) -> BTreeMap<&'static str, usize> {
    let states = State::ALL
        .iter()
        .map(|state| state.as_str())
        .zip(snapshot.count_by_state());
    let required = || {
        snapshot
            .models
            .iter()
            .filter(|model| model.required && !model.excluded)
    };
    let more = [
        ("total", snapshot.models.len()),
        ("required", required().count()),
        (
            "requiredReady",
            required().filter(|model| model.ready).count(),
        ),
        (
            "serversUp",
            snapshot
                .servers
                .iter()
                .filter(|server| server.reach == crate::engine::snapshot::Reach::Up)
                .count(),
        ),
    ];
    states.chain(more).collect()
}

fn sentences(reasons: &[Reason]) -> Vec<String> {
    reasons
        .iter()
        .map(|reason| reason.message.to_string())
        .collect()
}

fn date(snapshot: &Snapshot, at: Mono) -> String {
    rfc3339(snapshot.date(at))
}
