//! What everybody else sees of the engine: immutable, complete, with a revision. Probe, gauge, JSON and page are made
//! from the same snapshot, so they cannot disagree.

use super::failure::FailureKind;
pub use super::history::{CHANGES_MAX, History};
use super::time::{Mono, UnixMillis};
pub use super::totals::{Histogram, Totals};
pub use super::words::{Drift, LossCause, Reach, State};
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
        self.epoch.plus(at)
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
    /// When it opened and closed.
    pub history: Arc<History<bool>>,
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
    /// What is seen of its runners themselves.
    pub runners: RunnersView,
    /// Since when it loads nothing any more, and because of which idle model.
    pub wedged: Option<WedgeView>,
    /// How often that was found.
    pub wedges: u64,
}

/// What is seen of a server's runners without asking Ollama.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnersView {
    /// Whether they can be seen from here.
    pub observed: bool,
    /// Why they cannot, or which of them is not.
    pub reason: Option<Arc<str>>,
    /// How many are there.
    pub there: usize,
    /// How many of them load.
    pub loading: usize,
}

/// A server that loads nothing any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WedgeView {
    /// Since when that is certain.
    pub since: Mono,
    /// The idle model in the way.
    pub model: Arc<str>,
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

/// One model on one server.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// The server's name.
    pub server: Arc<str>,
    /// The state.
    pub state: State,
    /// Since when.
    pub state_since: Mono,
    /// The states before.
    pub history: Arc<History<State>>,
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
    /// Its runner as seen itself; absent where it is not seen.
    pub runner: Option<RunnerView>,
    /// Whether the last warm-up or health check found the prompt in the cache; absent without `warmup`.
    pub prompt_warm: Option<bool>,
    /// How long its last warm-up took.
    pub warmup_duration: Option<Duration>,
    /// Bytes of a runner of weights that the model had before they were replaced; 0 = none.
    pub outdated_bytes: u64,
    /// In what it differs from what is wanted.
    pub drift: Vec<Drift>,
    /// What is wanted and what is there, and what to set, where they differ.
    pub drift_detail: Option<Arc<str>>,
    /// Why it was last lost.
    pub last_loss: Option<LossView>,
    /// Its last failure; kept after success.
    pub last_error: Option<ErrorView>,
    /// Counters and histograms since the start of the process.
    pub totals: Arc<Totals>,
}

impl InstanceView {
    /// The pull that runs.
    pub fn pull(&self) -> Option<&PullView> {
        match &self.activity {
            Some(Activity::Pulling(pull)) => Some(pull),
            _ => None,
        }
    }
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
    Pulling(PullView),
}

/// How far a pull is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PullView {
    /// When it began.
    pub since: Mono,
    /// Bytes there, those of earlier attempts included.
    pub completed: u64,
    /// Bytes in all, once known; grows while layers are announced.
    pub total: Option<u64>,
    /// Its average speed so far, once there is one.
    pub bytes_per_second: Option<u64>,
}

impl PullView {
    /// How long it will take at its speed so far; `None` where that cannot be said.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.completed);
        left.checked_div(self.bytes_per_second?)
            .map(Duration::from_secs)
    }
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

/// A runner as seen without asking Ollama.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunnerView {
    /// Since when it is seen.
    pub since: Mono,
    /// Requests that run on it or wait for it.
    pub clients: usize,
    /// Requests that it can work on at the same time.
    pub slots: Option<usize>,
    /// Slots at work.
    pub slots_busy: usize,
}

/// The last loss of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LossView {
    /// Why.
    pub cause: LossCause,
    /// When it was ready no longer; an earlier process may have seen it.
    pub at: UnixMillis,
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
