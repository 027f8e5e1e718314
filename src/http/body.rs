//! The JSON of the status, as a contract: keys only ever come, none goes or changes its meaning. Absent facts are left
//! out, but for `preloadedAt` and `lastChecked`, which are `null`. How they are filled is `status`.

use serde::Serialize;
use std::collections::BTreeMap;

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
    /// When all this was so, by the clock by which every date here is given.
    pub at: String,
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
    /// What is seen of its runners themselves.
    pub runners: RunnersEntry,
    /// It loads nothing any more, because it waits for an idle model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wedged: Option<WedgedEntry>,
    /// The last failure to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorEntry>,
}

/// What is seen of a server's runners without asking Ollama.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnersEntry {
    /// Whether they can be seen from here.
    pub observed: bool,
    /// Why they cannot, or which of them is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many are there.
    pub there: usize,
    /// How many of them load.
    pub loading: usize,
}

/// A server that loads nothing any more.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WedgedEntry {
    /// Since when that is certain.
    pub since: String,
    /// The idle model in the way.
    pub model: String,
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
    /// The state; see [`State`](crate::engine::snapshot::State).
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
    /// Its runner as seen itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerEntry>,
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
    /// Bytes of a runner of weights that the model had before they were replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outdated_bytes: Option<u64>,
    /// In what it differs from what is wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<&'static str>,
    /// What is wanted and what is there, and what to set, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_detail: Option<String>,
    /// Why it was last lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<LossEntry>,
    /// Its last failure; kept after success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorEntry>,
}

/// A runner as seen without asking Ollama. The tokens are those of all runners that the model had since the start of the
/// preloader; they are there once Ollama's runners tell them (`LLAMA_ARG_ENDPOINT_METRICS=1`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerEntry {
    /// Since when it is seen.
    pub since: String,
    /// Requests that run on it or wait for it.
    pub requests: usize,
    /// Requests that it can work on at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
    /// Slots at work.
    pub slots_busy: usize,
    /// Prompt tokens computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<f64>,
    /// Prompt tokens served from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_cached: Option<f64>,
    /// Tokens generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated_tokens: Option<f64>,
    /// The share of prompt tokens served from the cache, 0–1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_share: Option<f64>,
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
    /// Average speed of a pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// How long it will go on at this speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
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
