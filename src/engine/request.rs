//! The requests that the engine asks for and the answers it gets: the port between the pure engine and Ollama.
//!
//! `ollama::client` turns a [`Request`] into HTTP and Ollama's reply into an [`Answer`] or a
//! [`Failure`](super::failure::Failure). Tests answer by hand; the seeded simulation answers from ollama-sim's rules.

use super::spec::{Conversation, Options};
use super::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;

/// Our mark on a model: 285 years, so that `expires_at` says 2312 and no other client's "for ever" (2319) looks alike.
/// Ollama 0.33 unloads at once from 9 223 372 037 seconds on.
pub const PIN_SECONDS: i64 = 9_000_000_000;

/// One request to one Ollama server.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// `GET /api/version` → [`Answer::Version`].
    Version,
    /// `GET /api/ps` → [`Answer::Resident`].
    Ps,
    /// `GET /api/tags` → [`Answer::Installed`].
    Tags,
    /// `POST /api/show` → [`Answer::Info`].
    Show {
        /// Any model's name.
        model: Arc<str>,
    },
    /// The empty request with a `keep_alive` of [`PIN_SECONDS`]: loads the weights → [`Answer::Done`].
    /// The only other requests with a `keep_alive` are `Pin` and `Unload`.
    Load(Target),
    /// The empty request with [`PIN_SECONDS`], to a model that is resident and was just seen idle → [`Answer::Done`].
    Pin(Target),
    /// The empty request without `keep_alive`: asks the runner for a sign of life → [`Answer::Done`].
    Ping(Target),
    /// One generated token, or one embedding for an embedding-only model, without `keep_alive` → [`Answer::Done`].
    Probe(Target),
    /// One conversation, one token of answer, `copies` times at the same time, without `keep_alive` →
    /// [`Answer::Done`] with the slowest copy's timings.
    Warmup {
        /// The model.
        target: Target,
        /// What runs through it.
        conversation: Conversation,
        /// How many at the same time, at least 1.
        copies: usize,
    },
    /// The empty generate with `keep_alive` 0 → [`Answer::Done`]. Asynchronous: poll to see it gone.
    Unload {
        /// The model's name.
        model: Arc<str>,
    },
    /// `POST /api/pull`, to its end → [`Answer::Done`]; progress arrives as events on the way.
    Pull {
        /// The model's name.
        model: Arc<str>,
    },
}

/// A model and how its runner is addressed.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// Canonical name.
    pub model: Arc<str>,
    /// Generate or embed, by the model's capabilities.
    pub via: Via,
    /// The runner options that the load had; every later request repeats them, or it would reload the model.
    pub options: Arc<Options>,
}

/// The endpoint through which a model is addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// `/api/generate` (and `/api/chat` for conversations).
    Generate,
    /// `/api/embed`, for embedding-only models.
    Embed,
}

/// What an Ollama server answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// The server's version.
    Version(Arc<str>),
    /// The resident runners.
    Resident(Vec<Resident>),
    /// The installed models.
    Installed(Vec<Installed>),
    /// What `show` tells of a model.
    Info(ModelInfo),
    /// The request was carried out.
    Done(Timings),
}

/// One entry of `/api/ps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resident {
    /// Canonical name of whoever loaded the runner first.
    pub name: Arc<str>,
    /// The manifest's digest, lower-case hex.
    pub digest: Arc<str>,
    /// Bytes in memory, as Ollama says.
    pub size: u64,
    /// Bytes of it in the GPU's memory.
    pub size_vram: u64,
    /// The runner's context, in tokens; 0 when Ollama does not say (≤ 0.9).
    pub context_length: u64,
    /// When Ollama will unload it.
    pub expires_at: UnixMillis,
    /// The sub-millisecond part of `expires_at`, in nanoseconds: the test for idle compares exactly.
    pub expires_nanos: u32,
}

/// One entry of `/api/tags`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// Canonical name.
    pub name: Arc<str>,
    /// The manifest's digest, lower-case hex.
    pub digest: Arc<str>,
    /// Bytes on disk.
    pub size: u64,
    /// A stub of a cloud model: never resident.
    pub remote: bool,
}

/// What `/api/show` tells of a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModelInfo {
    /// The weights blob (`sha256-…` of the FROM line), when there is one.
    pub blob: Option<Arc<str>>,
    /// The folder of that blob: the server's model store.
    pub store: Option<Arc<str>>,
    /// The adapters' blobs, sorted.
    pub adapters: Vec<Arc<str>>,
    /// It completes text.
    pub completion: bool,
    /// It embeds.
    pub embedding: bool,
    /// It runs elsewhere.
    pub remote: bool,
    /// `num_ctx` of the Modelfile's parameters.
    pub num_ctx: Option<u64>,
    /// The context it was trained with, in tokens.
    pub context_length: Option<u64>,
}

/// Durations that Ollama measured itself; absent where it did not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings {
    /// Time to get a runner, queueing included.
    pub load: Option<Duration>,
    /// Time to compute the prompt: 0.1 s warm, seconds cold.
    pub prompt_eval: Option<Duration>,
    /// Tokens of the prompt, those from the cache included.
    pub prompt_tokens: Option<u64>,
}
