//! The closed sets of words that the status, the metrics and the log share. They are the wire format.

use std::fmt;

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
