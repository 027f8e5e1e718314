//! What everybody else sees of the engine: immutable, complete, with a revision. Probe, gauge, JSON and page are made
//! from the same snapshot, so they cannot disagree.

use super::failure::FailureKind;
use super::time::{Mono, UnixMillis};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The state of everything at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises with every change of anything below.
    pub revision: u64,
    /// When it was taken.
    pub at: Mono,
    /// Wall time of [`Mono::ZERO`]; turns every `Mono` below into a date.
    pub epoch: UnixMillis,
    /// The verdict.
    pub gate: Gate,
    /// One per server, in the order of the configuration.
    pub servers: Vec<Arc<ServerView>>,
    /// One per model, in the order of the configuration.
    pub models: Vec<Arc<ModelView>>,
}

impl Snapshot {
    /// The date of an instant.
    pub fn date(&self, at: Mono) -> UnixMillis {
        let since_start = i64::try_from(at.since_start().as_millis()).unwrap_or(i64::MAX);
        UnixMillis(self.epoch.0.saturating_add(since_start))
    }

    /// How many models are in each state, in the order of [`State::ALL`].
    pub fn count_by_state(&self) -> [usize; State::ALL.len()] {
        State::ALL.map(|state| {
            self.models
                .iter()
                .filter(|model| model.state == state)
                .count()
        })
    }
}

/// The readiness verdict of the whole process.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Open or closed.
    pub ready: bool,
    /// Why it is closed; what is degraded where it is open.
    pub reasons: Vec<Reason>,
    /// When it last opened or closed.
    pub since: Mono,
    /// How often it opened.
    pub opened: u64,
    /// How often it closed.
    pub closed: u64,
}

/// One reason why the gate is closed, or why it is open although something is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// The model, where it is about one.
    pub model: Option<Arc<str>>,
    /// Whether it keeps the gate closed.
    pub blocking: bool,
    /// A sentence.
    pub message: Arc<str>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// Name.
    pub name: Arc<str>,
    /// Address without credentials.
    pub url: Arc<str>,
    /// Whether it answers.
    pub reach: Reach,
    /// Its version, once it said it.
    pub version: Option<Arc<str>>,
    /// When `/api/ps` was last answered.
    pub last_poll: Option<Mono>,
    /// Loads in flight, ours only.
    pub loads_in_flight: usize,
    /// The last failure to reach it.
    pub last_error: Option<ErrorView>,
    /// Runners that `/api/ps` lists, ours and others'.
    pub resident: usize,
}

/// Whether a server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing was heard of it yet.
    Starting,
    /// It answers.
    Up,
    /// `/api/ps` is silent while `/api/version` answers: a runner hangs or is slow to go.
    PsSilent,
    /// Nothing answers; connections are accepted.
    Silent,
    /// Connections are refused or reset.
    Down,
}

impl Reach {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::PsSilent => "ps_silent",
            Self::Silent => "silent",
            Self::Down => "down",
        }
    }
}

/// One declared model over all its servers.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// Canonical name.
    pub name: Arc<str>,
    /// Name for people.
    pub display_name: Arc<str>,
    /// Whether the gate waits for it.
    pub required: bool,
    /// A cloud model: never resident, not counted by the gate.
    pub excluded: bool,
    /// The best state over its servers once enough of them have it ready, else the worst of the promising ones.
    pub state: State,
    /// Whether enough servers have it ready.
    pub ready: bool,
    /// One per server that shall have it.
    pub instances: Vec<Arc<InstanceView>>,
}

/// The state of a model on a server. The words are the wire format; the set is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Its turn has not come, or its server is not up yet.
    Pending,
    /// It is being pulled.
    Pulling,
    /// Its weights are being loaded.
    Loading,
    /// Its probe or warm-up runs.
    Verifying,
    /// Resident and warm, on evidence.
    Ready,
    /// Between two attempts.
    Retrying,
    /// The retries are used up; tried again at every health interval.
    Failed,
    /// It fights another model for memory; tried again at every health interval.
    Quarantined,
    /// Its runner does not answer.
    Unresponsive,
    /// Its server does not answer, so nothing is known of it.
    Unknown,
}

impl State {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Pulling,
        Self::Loading,
        Self::Verifying,
        Self::Ready,
        Self::Retrying,
        Self::Failed,
        Self::Quarantined,
        Self::Unresponsive,
        Self::Unknown,
    ];

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Pulling => "pulling",
            Self::Loading => "loading",
            Self::Verifying => "verifying",
            Self::Ready => "ready",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Unresponsive => "unresponsive",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One model on one server.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// The server's name.
    pub server: Arc<str>,
    /// The state.
    pub state: State,
    /// Since when.
    pub state_since: Mono,
    /// What it is doing, where that takes time.
    pub activity: Option<Activity>,
    /// When its last load succeeded.
    pub preloaded_at: Option<Mono>,
    /// When it was last found as it shall be: a poll, a ping or a health check.
    pub last_checked: Option<Mono>,
    /// When it last became ready.
    pub ready_at: Option<Mono>,
    /// Attempts of the current or last preload.
    pub attempts: u32,
    /// Retries it may use.
    pub max_retries: u32,
    /// How long the last successful load took.
    pub load_duration: Option<Duration>,
    /// How long the next load is expected to take, learned from earlier ones.
    pub expected_load: Option<Duration>,
    /// When the next attempt is due.
    pub next_retry_at: Option<Mono>,
    /// Since when `/api/ps` lists it.
    pub resident_since: Option<Mono>,
    /// What `/api/ps` last said of its runner; absent when it is not listed.
    pub residency: Option<Residency>,
    /// Whether the last warm-up or health check found the prompt in the cache; absent without `warmup`.
    pub prompt_warm: Option<bool>,
    /// How long its last warm-up took.
    pub warmup_duration: Option<Duration>,
    /// In what it differs from what is wanted.
    pub drift: Vec<Drift>,
    /// Why it was last lost.
    pub last_loss: Option<LossView>,
    /// Its last failure; kept after success.
    pub last_error: Option<ErrorView>,
    /// Counters and histograms since the start of the process.
    pub totals: Arc<Totals>,
}

/// What a model is doing right now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Loading since then.
    Loading {
        /// Start of the attempt's clock; absent while it waits in Ollama's queue.
        since: Option<Mono>,
    },
    /// Running conversation `done + 1` of `total`.
    WarmingUp {
        /// Start of the warm-up.
        since: Mono,
        /// Conversations done.
        done: usize,
        /// Conversations in all.
        total: usize,
    },
    /// Waiting because clients use the model.
    WaitingForIdle {
        /// Since when.
        since: Mono,
    },
    /// Pulling.
    Pulling {
        /// Bytes there.
        completed: u64,
        /// Bytes in all, once known.
        total: Option<u64>,
    },
}

/// What `/api/ps` said of a runner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Residency {
    /// Bytes in memory.
    pub size: u64,
    /// Bytes of it in the GPU's memory.
    pub size_vram: u64,
    /// Context, in tokens.
    pub context_length: u64,
    /// When Ollama will unload it.
    pub expires_at: UnixMillis,
    /// Whether the expiry is our pin.
    pub pinned: bool,
}

/// In what a resident model differs from what is wanted. The words are the `kind` label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Drift {
    /// Other runner options than declared.
    Options,
    /// Another context than declared.
    Context,
    /// Not our pin.
    Pin,
    /// Outdated weights.
    Digest,
    /// A smaller share in the GPU's memory than after our load.
    GpuShare,
    /// Reloads by options that `/api/ps` does not show.
    HiddenOptions,
}

impl Drift {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Options,
        Self::Context,
        Self::Pin,
        Self::Digest,
        Self::GpuShare,
        Self::HiddenOptions,
    ];

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Context => "context",
            Self::Pin => "pin",
            Self::Digest => "digest",
            Self::GpuShare => "gpu_share",
            Self::HiddenOptions => "hidden_options",
        }
    }
}

/// Why a ready model was lost. The words are the `cause` label; the set is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LossCause {
    /// The server was restarted.
    ServerRestart,
    /// Its time to live ran out.
    TtlExpired,
    /// Its time to live had been shortened by a client's `keep_alive` and ran out.
    UnpinnedByClient,
    /// A client loaded it with other options.
    OptionsChanged,
    /// Another model took its place.
    MemoryPressure,
    /// Its weights were replaced under its name.
    ModelUpdated,
    /// It was deleted.
    ModelDeleted,
    /// Somebody unloaded it.
    Unloaded,
    /// Its runner ended.
    RunnerCrashed,
    /// Its runner does not answer.
    RunnerHung,
    /// The evidence fits several causes equally; the detail names them.
    Unknown,
}

impl LossCause {
    /// All causes, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::ServerRestart,
        Self::TtlExpired,
        Self::UnpinnedByClient,
        Self::OptionsChanged,
        Self::MemoryPressure,
        Self::ModelUpdated,
        Self::ModelDeleted,
        Self::Unloaded,
        Self::RunnerCrashed,
        Self::RunnerHung,
        Self::Unknown,
    ];

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerRestart => "server_restart",
            Self::TtlExpired => "ttl_expired",
            Self::UnpinnedByClient => "unpinned_by_client",
            Self::OptionsChanged => "options_changed",
            Self::MemoryPressure => "memory_pressure",
            Self::ModelUpdated => "model_updated",
            Self::ModelDeleted => "model_deleted",
            Self::Unloaded => "unloaded",
            Self::RunnerCrashed => "runner_crashed",
            Self::RunnerHung => "runner_hung",
            Self::Unknown => "unknown",
        }
    }
}

/// The last loss of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LossView {
    /// Why.
    pub cause: LossCause,
    /// When it was ready no longer.
    pub at: Mono,
    /// A sentence for a tired person.
    pub detail: Arc<str>,
}

/// The last failure of a model or a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorView {
    /// The kind.
    pub kind: FailureKind,
    /// What was said.
    pub message: Arc<str>,
    /// What a person can do.
    pub hint: Arc<str>,
    /// When.
    pub at: Mono,
}

/// Counters and histograms of one model on one server. They never fall.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Load attempts begun.
    pub preload_attempts: u64,
    /// Load attempts failed, by kind, in the order of [`FailureKind::ALL`].
    pub preload_failures: [u64; FailureKind::ALL.len()],
    /// Attempts beyond the first of a preload.
    pub preload_retries: u64,
    /// Seconds of successful loads.
    pub preload_seconds: Histogram,
    /// Seconds of successful warm-ups.
    pub warmup_seconds: Histogram,
    /// Warm-ups failed, by kind.
    pub warmup_failures: [u64; FailureKind::ALL.len()],
    /// Health checks begun.
    pub health_checks: u64,
    /// Health checks failed, by kind.
    pub health_check_failures: [u64; FailureKind::ALL.len()],
    /// Seconds of successful health checks.
    pub health_check_seconds: Histogram,
    /// Losses, by cause, in the order of [`LossCause::ALL`].
    pub losses: [u64; LossCause::ALL.len()],
}

/// A histogram with the fixed bounds [`Histogram::BOUNDS`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Histogram {
    /// Observations per bucket, not cumulated; the last one is above all bounds.
    pub buckets: [u64; Histogram::BOUNDS.len() + 1],
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Upper bounds, in seconds: from a warm ping to the largest model on a slow disk.
    pub const BOUNDS: [f64; 14] = [
        0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0,
    ];

    /// Adds one observation.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let index = Self::BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(Self::BOUNDS.len());
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum += seconds;
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
