//! What can go wrong with a request, as a closed set: the words are `lastError.kind`, the `reason` label and log fields.

use std::fmt;
use std::sync::Arc;

/// The kind of a failure. The set is closed; each kind knows whether another attempt can help and what a person can do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureKind {
    /// Connection refused, reset, or the name does not resolve.
    Unreachable,
    /// An attempt took longer than its limit. The request itself may still be open.
    Timeout,
    /// The server does not have the model.
    ModelNotFound,
    /// The server refuses the request as wrong (400).
    InvalidRequest,
    /// The runner could not allocate what it needs.
    OutOfMemory,
    /// The server's queue is full (503).
    ServerBusy,
    /// The runner process ended.
    RunnerCrashed,
    /// The runner process does not answer.
    RunnerHung,
    /// A load stands still while the server is otherwise well.
    LoadStalled,
    /// The model is loaded but its probe or warm-up failed.
    VerificationFailed,
    /// The model could not be pulled.
    PullFailed,
    /// A model that this server cannot run or that cannot be preloaded.
    UnsupportedModel,
    /// An answer that is none of Ollama's: HTML, a redirect, half a body, too large a body.
    UnexpectedResponse,
    /// Any other 5xx.
    ServerError,
}

impl FailureKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Unreachable,
        Self::Timeout,
        Self::ModelNotFound,
        Self::InvalidRequest,
        Self::OutOfMemory,
        Self::ServerBusy,
        Self::RunnerCrashed,
        Self::RunnerHung,
        Self::LoadStalled,
        Self::VerificationFailed,
        Self::PullFailed,
        Self::UnsupportedModel,
        Self::UnexpectedResponse,
        Self::ServerError,
    ];

    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ModelNotFound => "model_not_found",
            Self::InvalidRequest => "invalid_request",
            Self::OutOfMemory => "out_of_memory",
            Self::ServerBusy => "server_busy",
            Self::RunnerCrashed => "runner_crashed",
            Self::RunnerHung => "runner_hung",
            Self::LoadStalled => "load_stalled",
            Self::VerificationFailed => "verification_failed",
            Self::PullFailed => "pull_failed",
            Self::UnsupportedModel => "unsupported_model",
            Self::UnexpectedResponse => "unexpected_response",
            Self::ServerError => "server_error",
        }
    }

    /// Whether a retry after a backoff can help. What no retry cures is tried again only at the health interval,
    /// on a kick, or when the reason is seen to be gone.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::OutOfMemory
            | Self::ServerBusy
            | Self::RunnerCrashed
            | Self::RunnerHung
            | Self::LoadStalled
            | Self::VerificationFailed
            | Self::PullFailed
            | Self::UnexpectedResponse
            | Self::ServerError => true,
            Self::ModelNotFound | Self::InvalidRequest | Self::UnsupportedModel => false,
        }
    }

    /// What a person can do about it. `model` is the model's name, `url` the server's address as configured.
    pub fn hint(self, model: &str, url: &str) -> String {
        match self {
            Self::Unreachable => format!("start it with `ollama serve`; the address tried is {url}"),
            Self::Timeout => "raise MODEL_PRELOAD_TIMEOUT, or check the machine's memory and disk".into(),
            Self::ModelNotFound => format!("run `ollama pull {model}`, or set `pull: ifMissing` for this model"),
            Self::InvalidRequest => "check the model's name and options in the configuration".into(),
            Self::OutOfMemory => "declare fewer or smaller models, lower `num_ctx`, or add memory".into(),
            Self::ServerBusy => "the server's queue is full; lower the clients' load or raise OLLAMA_MAX_QUEUE".into(),
            Self::RunnerCrashed => "look for the runner's last lines in the Ollama log; too little memory is the usual cause".into(),
            Self::RunnerHung => "Ollama restarts a hung runner by itself when it is asked; if it stays, restart Ollama".into(),
            Self::LoadStalled => {
                "unload the idle model that stands in the way (`ollama stop NAME`), or restart Ollama".into()
            }
            Self::VerificationFailed => "the model is loaded but does not answer; look into the Ollama log".into(),
            Self::PullFailed => format!("run `ollama pull {model}` by hand to see why; check the network and the disk"),
            Self::UnsupportedModel => "declare a model that this Ollama can run locally, or remove it from the list".into(),
            Self::UnexpectedResponse => format!("{url} does not answer like an Ollama; check OLLAMA_URL and proxies"),
            Self::ServerError => "look into the Ollama log".into(),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed request: its kind and what the server or the transport said, at most [`Failure::MESSAGE_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// One line for people. Never holds a secret or a prompt.
    pub message: Arc<str>,
}

impl Failure {
    /// Longest message kept: Ollama can answer with 8 KiB of a runner's last words.
    pub const MESSAGE_MAX: usize = 1024;

    /// A failure with a message, cut at [`Self::MESSAGE_MAX`] bytes on a character's boundary.
    pub fn new(kind: FailureKind, message: impl AsRef<str>) -> Self {
        let message = message.as_ref();
        let mut end = message.len().min(Self::MESSAGE_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let kept = message.get(..end).unwrap_or_default();
        Self {
            kind,
            message: Arc::from(kept),
        }
    }
}
