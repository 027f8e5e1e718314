//! Every key, once: its name, what it accepts, what it means, and where its value goes. The check, the defaults, the
//! names of the variables, the hints, `print-config` and the reference in docs/CONFIGURATION.md are made from it.

use super::field::{Accepts, Field, Misfit};
use super::items::PATH_MAX;
use super::node::{Node, Value};
use super::settings::{HttpSettings, LogFormat};
use crate::engine::spec::{
    ReadinessPolicy, ReadinessScope, ReadinessSpec, Timing, WarmupReadiness,
};
use std::sync::Arc;
use std::time::Duration;

/// Longest filter of the log.
const FILTER_MAX: usize = 1024;

/// One key of a section or of an item; `D` is what its value goes into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<D: 'static> {
    /// The name, with its section: `preload.timeout`.
    pub(super) name: &'static str,
    /// What it accepts.
    pub(super) accepts: Accepts,
    /// What it means, for people.
    pub(super) about: &'static str,
    /// Puts a value in.
    pub(super) read: fn(&mut D, &Node, &Accepts) -> Result<(), Misfit>,
    /// Shows the value; nothing where none is set.
    pub(super) show: fn(&D, &Accepts) -> Value,
}

/// A [`Key`] for a field of a draft.
macro_rules! key {
    ($name:literal, $accepts:expr, $($field:ident).+, $about:literal) => {
        Key {
            name: $name,
            accepts: $accepts,
            about: $about,
            read: |draft, node, accepts| {
                draft.$($field).+ = Field::read(node, accepts)?;
                Ok(())
            },
            show: |draft, accepts| Field::show(&draft.$($field).+, accepts),
        }
    };
}

pub(super) use key;

const fn time(min_ms: u64, max_secs: u64) -> Accepts {
    Accepts::Duration {
        min: Duration::from_millis(min_ms),
        max: Duration::from_secs(max_secs),
    }
}

pub(super) const fn whole(min: i64, max: i64) -> Accepts {
    Accepts::Whole { min, max }
}

pub(super) const fn text(max: usize) -> Accepts {
    Accepts::Text { max }
}

const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// The values of all sections.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) timing: Timing,
    pub(super) readiness: ReadinessSpec,
    pub(super) warmup_parallel: usize,
    pub(super) http: HttpSettings,
    pub(super) state_path: Option<Arc<str>>,
    pub(super) log_format: LogFormat,
    pub(super) log_filter: Arc<str>,
    pub(super) debug: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            readiness: ReadinessSpec {
                policy: ReadinessPolicy::All,
                scope: ReadinessScope::Continuous,
                warmup: WarmupReadiness::Require,
            },
            warmup_parallel: 1,
            http: HttpSettings::default(),
            state_path: None,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            debug: false,
        }
    }
}

/// The keys of all sections.
pub(super) const SECTIONS: &[Key<Draft>] = &[
    key!(
        "preload.timeout",
        time(10, HOUR),
        timing.preload_timeout,
        "An attempt that takes longer has failed and uses up a retry; its request stays open, because dropping it would make Ollama abort the load"
    ),
    key!(
        "preload.loadDeadline",
        time(1000, DAY),
        timing.load_deadline,
        "The only time after which a load request is dropped"
    ),
    key!(
        "preload.maxRetryDelay",
        time(10, HOUR),
        timing.max_retry_delay,
        "Longest wait between attempts"
    ),
    key!(
        "preload.jitterPercent",
        whole(0, 100),
        timing.jitter_percent,
        "Share of a wait that is random"
    ),
    key!(
        "preload.concurrency",
        whole(1, 32),
        timing.concurrency,
        "Loads in flight per server; Ollama itself loads one at a time, the second keeps it busy"
    ),
    key!(
        "preload.abortOnTimeout",
        Accepts::Bool,
        timing.abort_on_timeout,
        "Drop the load request when its attempt times out, so that the next attempt starts from zero"
    ),
    key!(
        "pull.timeout",
        time(1000, DAY),
        timing.pull_timeout,
        "A pull that gets no further for so long is given up; the next attempt goes on from where it ended"
    ),
    key!(
        "poll.interval",
        time(100, MINUTE),
        timing.poll_interval,
        "How often `/api/ps` is asked"
    ),
    key!(
        "poll.timeout",
        time(50, MINUTE),
        timing.poll_timeout,
        "Limit of one poll"
    ),
    key!(
        "poll.tagsInterval",
        time(1000, HOUR),
        timing.tags_interval,
        "How often `/api/tags` is asked"
    ),
    key!(
        "poll.reconnectInterval",
        time(50, MINUTE),
        timing.reconnect_interval,
        "How often a server that refuses connections is tried"
    ),
    key!(
        "health.interval",
        time(1000, DAY),
        timing.health_interval,
        "How often a model proves that it computes: one token, or one of its warm-up conversations"
    ),
    key!(
        "health.pingInterval",
        time(500, HOUR),
        timing.ping_interval,
        "A ping, which computes nothing, follows the first poll that is so much later than the last ping"
    ),
    key!(
        "health.slowAfter",
        time(100, 10 * MINUTE),
        timing.slow_after,
        "A ping without an answer for so long makes the model `unresponsive`"
    ),
    key!(
        "health.probeTimeout",
        time(1000, HOUR),
        timing.probe_timeout,
        "Limit of a health check"
    ),
    key!(
        "health.staleAfter",
        time(500, HOUR),
        timing.stale_after,
        "Evidence older than this proves nothing; at least 2 × `poll.interval` + `health.slowAfter`"
    ),
    key!(
        "health.serverTimeout",
        time(500, HOUR),
        timing.server_timeout,
        "A server that answers nothing for so long is `unknown`"
    ),
    key!(
        "health.stuckAfter",
        time(1000, DAY),
        timing.stuck_after,
        "A runner that is seen at work and gets no further for so long is stuck in computing"
    ),
    key!(
        "warmup.timeout",
        time(1000, DAY),
        timing.warmup_timeout,
        "Limit of one warm-up"
    ),
    key!(
        "warmup.parallel",
        whole(1, 64),
        warmup_parallel,
        "How many times each conversation runs at once, one for each of Ollama's slots; default `OLLAMA_NUM_PARALLEL` of the environment, else 1"
    ),
    key!(
        "residency.reclaimAfter",
        time(0, HOUR),
        timing.reclaim_after,
        "How long an undeclared model must have been idle before ours takes its place; `0s` is at once"
    ),
    key!(
        "residency.conflictWindow",
        time(1000, DAY),
        timing.conflict_window,
        "Losses within it count as a fight"
    ),
    key!(
        "residency.unwedge",
        Accepts::Bool,
        timing.unwedge,
        "Where runners are observed: unload the idle model for which a server waits for ever, so that it loads again"
    ),
    key!(
        "residency.onUnload",
        Accepts::Word(&["reload", "hold"]),
        timing.reload_on_unload,
        "After somebody's explicit unload: load again, or hold until told to"
    ),
    key!(
        "runners",
        Accepts::Word(&["auto", "off"]),
        timing.observe_runners,
        "Whether Ollama's runner processes are observed directly, where their sockets can be seen"
    ),
    key!(
        "readiness.policy",
        Accepts::Policy,
        readiness.policy,
        "Which models must be ready for the gate to open: every required one, one of them, so many of them, or none"
    ),
    key!(
        "readiness.scope",
        Accepts::Word(ReadinessScope::WORDS),
        readiness.scope,
        "Whether an open gate closes again when the policy no longer holds"
    ),
    key!(
        "readiness.warmup",
        Accepts::Word(WarmupReadiness::WORDS),
        readiness.warmup,
        "Whether a model is ready only when its warm-up has run"
    ),
    key!(
        "http.listen",
        Accepts::Listen,
        http.listen,
        "Address of status, metrics and probes"
    ),
    key!(
        "http.shutdownGrace",
        time(0, 10 * MINUTE),
        http.shutdown_grace,
        "How long open requests may take to end at shutdown"
    ),
    key!(
        "state.path",
        text(PATH_MAX),
        state_path,
        "File that keeps what was learned across restarts: load and warm-up times, last losses; without it nothing is kept"
    ),
    key!(
        "log.format",
        Accepts::Word(LogFormat::WORDS),
        log_format,
        "Form of the log, on standard error"
    ),
    key!(
        "log.filter",
        text(FILTER_MAX),
        log_filter,
        "What is logged: a level, or `target=level` pairs separated by commas"
    ),
    key!(
        "debug",
        Accepts::Bool,
        debug,
        "Log each request to Ollama with its time; never a prompt, never a secret"
    ),
];
