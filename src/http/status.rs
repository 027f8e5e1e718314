//! The JSON of the status, as a contract: keys only ever come, none goes or changes its meaning. Absent facts are left
//! out, but for `preloadedAt` and `lastChecked`, which are `null`.

use crate::clock::rfc3339;
use crate::engine::Mono;
use crate::engine::snapshot::{
    Activity, ErrorView, InstanceView, LossView, ModelView, Reason, ServerView, Snapshot, State,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// `/-/ready`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyBody {
    /// Whether the gate is open.
    pub ready: bool,
    /// Why it is closed, or what is degraded; sentences.
    pub reasons: Vec<String>,
}

/// `/api/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    /// Whether the gate is open.
    pub ready: bool,
    /// Why it is closed, or what is degraded; sentences.
    pub reasons: Vec<String>,
    /// Since when the gate is as it is.
    pub since: String,
    /// Numbers, one level deep, for scalers.
    pub summary: BTreeMap<&'static str, usize>,
    /// The servers.
    pub servers: Vec<ServerEntry>,
    /// The models, each with its name.
    pub models: Vec<NamedModelEntry>,
    /// The preloader's version.
    pub version: &'static str,
    /// Rises with every change of anything above.
    pub revision: u64,
}

/// One server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerEntry {
    /// Name.
    pub name: String,
    /// Address, without credentials.
    pub url: String,
    /// `starting`, `up`, `ps_silent`, `silent` or `down`.
    pub status: &'static str,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it last listed its runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<String>,
    /// Runners that it lists.
    pub resident: usize,
    /// Loads of ours that are open.
    pub loads_in_flight: usize,
    /// The last failure to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorEntry>,
}

/// One model of `/api/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedModelEntry {
    /// Canonical name.
    pub model: String,
    /// The rest, as in `/api/models/status`.
    #[serde(flatten)]
    pub entry: ModelEntry,
}

/// One model of `/api/models/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelEntry {
    /// The state; see [`State`].
    pub status: &'static str,
    /// When its last load succeeded.
    pub preloaded_at: Option<String>,
    /// When it was last found as it shall be.
    pub last_checked: Option<String>,
    /// Name for people.
    pub display_name: String,
    /// Whether it counts as ready: `minServers` have it ready.
    pub ready: bool,
    /// Whether the gate waits for it.
    pub required: bool,
    /// A cloud model: never resident, not counted by the gate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub excluded: bool,
    /// What follows, for the server that stands for the model: a ready one, else the first.
    #[serde(flatten)]
    pub facts: InstanceFacts,
    /// The same for each server, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<InstanceEntry>,
}

/// One model on one of several servers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceEntry {
    /// The state on this server.
    pub status: &'static str,
    /// The rest.
    #[serde(flatten)]
    pub facts: InstanceFacts,
}

/// The facts about a model on a server. Durations are milliseconds, sizes bytes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceFacts {
    /// The server's name.
    pub server: String,
    /// Since when it is in its state.
    pub since: String,
    /// What it is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<ActivityEntry>,
    /// When it last became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<String>,
    /// Attempts of the running or last preload.
    pub attempts: u32,
    /// Retries it may use.
    pub max_retries: u32,
    /// How long the last successful load took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_duration_ms: Option<u64>,
    /// How long the next one is expected to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_load_ms: Option<u64>,
    /// How long the last warm-up took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_duration_ms: Option<u64>,
    /// Whether its prompt was in the cache when last measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_warm: Option<bool>,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<String>,
    /// Since when the server lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_since: Option<String>,
    /// Bytes in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Bytes of it on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_bytes: Option<u64>,
    /// Context in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// When Ollama will unload it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether it carries our pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// In what it differs from what is wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<&'static str>,
    /// Why it was last lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<LossEntry>,
    /// Its last failure; kept after success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorEntry>,
}

/// What a model is doing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityEntry {
    /// `loading`, `queued`, `warming_up`, `waiting_for_idle` or `pulling`.
    pub kind: &'static str,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Conversations, or bytes, done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Of so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A loss.
#[derive(Clone, Debug, Serialize)]
pub struct LossEntry {
    /// The cause, of a closed set.
    pub cause: &'static str,
    /// When.
    pub at: String,
    /// A sentence.
    pub detail: String,
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorEntry {
    /// The kind, of a closed set.
    pub kind: &'static str,
    /// What was said.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// When.
    pub at: String,
}

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
        prompt_warm: None,
        next_retry_at: None,
        resident_since: None,
        size_bytes: None,
        vram_bytes: None,
        context_length: None,
        expires_at: None,
        pinned: None,
        drift: Vec::new(),
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
        drift: instance.drift.iter().map(|kind| kind.as_str()).collect(),
        last_loss: instance
            .last_loss
            .as_ref()
            .map(|loss| loss_entry(snapshot, loss)),
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
    };
    let count = |number: usize| u64::try_from(number).ok();
    match activity {
        Activity::Loading { since: None } => entry("queued", None, None, None),
        Activity::Loading { since } => entry("loading", *since, None, None),
        Activity::WarmingUp { since, done, total } => {
            entry("warming_up", Some(*since), count(*done), count(*total))
        }
        Activity::WaitingForIdle { since } => entry("waiting_for_idle", Some(*since), None, None),
        Activity::Pulling { completed, total } => entry("pulling", None, Some(*completed), *total),
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
        last_error: server
            .last_error
            .as_ref()
            .map(|error| error_entry(snapshot, error)),
    }
}

fn loss_entry(snapshot: &Snapshot, loss: &LossView) -> LossEntry {
    LossEntry {
        cause: loss.cause.as_str(),
        at: date(snapshot, loss.at),
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
