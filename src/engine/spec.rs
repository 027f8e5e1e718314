//! The desired state, as the engine reads it. Built by `config` (which validates) or by hand in tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Everything the engine has to know about what is wanted.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The servers, at least one, names unique.
    pub servers: Vec<ServerSpec>,
    /// The declared models, at least one, canonical names unique; the order is the order of loading.
    pub models: Vec<ModelSpec>,
    /// When the gate is open.
    pub readiness: ReadinessSpec,
    /// Waits, limits and intervals.
    pub timing: Timing,
}

/// One Ollama endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// Name, used as the `server` label.
    pub name: Arc<str>,
    /// Address as configured, without credentials; for messages only.
    pub url: Arc<str>,
}

/// One declared model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Canonical name with its tag, such as `tinyllama:latest`.
    pub name: Arc<str>,
    /// Name for people.
    pub display_name: Arc<str>,
    /// Whether the gate waits for it.
    pub required: bool,
    /// Higher loads earlier and stays longer; equal priorities keep the order of declaration.
    pub priority: i32,
    /// Attempts after the first one.
    pub max_retries: u32,
    /// Wait before the first retry; doubles with each further one.
    pub retry_delay: Duration,
    /// What proves that the model is warm.
    pub verify: Verify,
    /// Conversations that run through the model after every load.
    pub warmup: Vec<Conversation>,
    /// How many times each conversation runs at the same time, one for each of Ollama's slots; 0 = as many as its
    /// runner is seen to have, else [`Timing::slots_guess`].
    pub warmup_parallel: usize,
    /// Runner options that the model is loaded with, such as `num_ctx`.
    pub options: Arc<Options>,
    /// What to do when the server does not have the model.
    pub pull: PullPolicy,
    /// What to do when the model is resident with other options or another pin than wanted.
    pub drift: DriftPolicy,
    /// Names of the servers that shall have it; `None` = all.
    pub servers: Option<Vec<Arc<str>>>,
    /// The model is ready when at least so many servers have it ready.
    pub min_servers: usize,
}

impl ModelSpec {
    /// The declared context in tokens.
    pub fn context(&self) -> Option<u64> {
        match self.options.get("num_ctx") {
            Some(OptionValue::Int(tokens)) => u64::try_from(*tokens).ok(),
            Some(OptionValue::Bool(_) | OptionValue::Float(_) | OptionValue::Text(_)) | None => {
                None
            }
        }
    }
}

/// What proves that a model is warm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// The 200 of the load request counts.
    Load,
    /// One generated token.
    Token,
    /// The warm-up conversations.
    Prompt,
}

/// Whether a model is pulled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullPolicy {
    /// Never.
    Never,
    /// When the server does not have it.
    IfMissing,
    /// Before its first load by this process, and when it is missing.
    Always,
}

/// What to do about drift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriftPolicy {
    /// Say it.
    Report,
    /// Say it, and load the model again as wanted once it is idle.
    Enforce,
}

/// A conversation whose shared prefix shall be warm. Its content is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Name for messages: the file's name or its number.
    pub name: Arc<str>,
    /// A JSON object with `messages` and optionally `tools`, in the form of Ollama's `/api/chat`.
    pub json: Arc<str>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("name", &self.name)
            .field("bytes", &self.json.len())
            .finish()
    }
}

/// Options of a load, by Ollama's names. Ordered, so that equal options are equal requests.
pub type Options = BTreeMap<Arc<str>, OptionValue>;

/// The value of one option.
#[derive(Clone, PartialEq, Debug)]
pub enum OptionValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
}

/// When the gate is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadinessSpec {
    /// Which models must be ready.
    pub policy: ReadinessPolicy,
    /// Whether an open gate can close again.
    pub scope: ReadinessScope,
    /// Whether a model is ready before its warm-up has run.
    pub warmup: WarmupReadiness,
}

/// Which models must be ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadinessPolicy {
    /// Every required model.
    All,
    /// At least one required model.
    Any,
    /// At least so many required models.
    Quorum(usize),
    /// None: the gate is open as long as the process runs.
    None,
}

/// Whether an open gate can close again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadinessScope {
    /// The gate follows the truth.
    Continuous,
    /// Once open, it stays open until shutdown.
    Startup,
}

/// Whether a model is ready before its warm-up has run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WarmupReadiness {
    /// The warm-up must have run.
    Require,
    /// The load is enough; the warm-up runs in the background.
    Background,
}

/// Waits, limits and intervals. `Default` is the documented default of each key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration"
)]
pub struct Timing {
    /// `preload.timeout`: an attempt that takes longer has failed; its request stays open.
    pub preload_timeout: Duration,
    /// `preload.loadDeadline`: the only time after which a load request is dropped.
    pub load_deadline: Duration,
    /// `preload.maxRetryDelay`: longest wait between attempts.
    pub max_retry_delay: Duration,
    /// `preload.jitterPercent`: share of a wait that is random, 0–100.
    pub jitter_percent: u8,
    /// `preload.concurrency`: loads in flight per server.
    pub concurrency: usize,
    /// `preload.abortOnTimeout`: drop the load request when its attempt times out.
    pub abort_on_timeout: bool,
    /// `pull.timeout`: a pull that gets no further for so long is dropped; the next one goes on from there.
    pub pull_timeout: Duration,
    /// `poll.interval` of `/api/ps`.
    pub poll_interval: Duration,
    /// `poll.timeout` of one poll.
    pub poll_timeout: Duration,
    /// `poll.tagsInterval` of `/api/tags`.
    pub tags_interval: Duration,
    /// `poll.reconnectInterval`: poll of a server that refuses connections.
    pub reconnect_interval: Duration,
    /// `health.interval` of the health check.
    pub health_interval: Duration,
    /// `health.pingInterval`: a ping follows the first poll that is so much later than the last ping.
    pub ping_interval: Duration,
    /// `health.slowAfter`: a ping without an answer for so long makes the model unresponsive.
    pub slow_after: Duration,
    /// `health.probeTimeout`: the limit of a one-token probe.
    pub probe_timeout: Duration,
    /// `health.staleAfter`: evidence older than this proves nothing.
    pub stale_after: Duration,
    /// `health.serverTimeout`: a server that answers nothing for so long is unknown.
    pub server_timeout: Duration,
    /// `warmup.timeout`: the limit of one warm-up.
    pub warmup_timeout: Duration,
    /// `residency.reclaimAfter`: how long an undeclared model must have been idle before ours takes its place.
    pub reclaim_after: Duration,
    /// `residency.conflictWindow`: losses within it count as a fight.
    pub conflict_window: Duration,
    /// `residency.reloadOnUnload`: load again after somebody's explicit unload.
    pub reload_on_unload: bool,
    /// `runners`: `auto` = look at the runners themselves wherever that is possible; `off` = false.
    pub observe_runners: bool,
    /// `residency.unwedge`: unload the idle model by which Ollama's scheduler is stopped for good; only where its
    /// runners are seen.
    pub unwedge: bool,
    /// `health.stuckAfter`: a runner at work that gets no further for so long hangs; only where it is seen.
    pub stuck_after: Duration,
    /// Slots of a runner that is not seen, for `warmup.parallel: auto`: `OLLAMA_NUM_PARALLEL` of the environment, else 1.
    pub slots_guess: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            preload_timeout: Duration::from_secs(30),
            load_deadline: Duration::from_secs(600),
            max_retry_delay: Duration::from_secs(60),
            jitter_percent: 10,
            concurrency: 2,
            abort_on_timeout: false,
            pull_timeout: Duration::from_secs(300),
            poll_interval: Duration::from_secs(2),
            poll_timeout: Duration::from_secs(1),
            tags_interval: Duration::from_secs(10),
            reconnect_interval: Duration::from_millis(250),
            health_interval: Duration::from_secs(300),
            ping_interval: Duration::from_secs(5),
            slow_after: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(120),
            stale_after: Duration::from_secs(10),
            server_timeout: Duration::from_secs(5),
            warmup_timeout: Duration::from_secs(300),
            reclaim_after: Duration::from_secs(30),
            conflict_window: Duration::from_secs(600),
            reload_on_unload: true,
            observe_runners: true,
            unwedge: true,
            stuck_after: Duration::from_secs(300),
            slots_guess: 1,
        }
    }
}
