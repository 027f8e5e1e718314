//! What goes into the rules and comes out.

use super::{CallId, Process, Runner};
use crate::clock::UnixNanos;
use crate::store::name::Name;
use bytes::Bytes;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path without a query.
    pub path: String,
    /// The body.
    pub body: Body,
}

/// What came with a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// The bytes.
    Bytes(Bytes),
    /// A file that was not kept, only counted and hashed.
    File {
        /// SHA-256, 64 hex digits.
        sha256: String,
        /// Its length.
        size: u64,
        /// Whether it begins like a GGUF file.
        gguf: bool,
    },
}

/// What the rules answer.
#[derive(Clone, Debug)]
pub enum Output {
    /// A whole response.
    Reply(CallId, Reply),
    /// The head of a response that follows piece by piece.
    Begin(CallId, u16, Option<&'static str>),
    /// A piece of it.
    Data(CallId, Bytes),
    /// Its end.
    End(CallId),
    /// The connection is closed without a response, or in the middle of one.
    Cut(CallId),
    /// From now on connections are accepted (or refused).
    Listening(bool),
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The `Content-Type`; `None` = none.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
}

/// A loaded model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resident {
    /// The name under which it was loaded first.
    pub name: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Digest of its weights.
    pub blob: String,
    /// Tokens of context of a slot.
    pub context_length: i64,
    /// Bytes of memory.
    pub size: u64,
    /// When it goes; `None` = it has not been idle yet.
    pub expires_at: Option<UnixNanos>,
    /// Requests that use it.
    pub requests: u32,
    /// Which runner it is: another number is another process, with an empty prompt cache.
    pub runner: u64,
    /// Whether it can answer: loaded, and its process neither dead nor frozen, whatever the server believes.
    pub runs: bool,
}

impl Resident {
    pub(super) fn of(runner: &Runner) -> Self {
        Self {
            name: runner.model.name.to_string(),
            digest: runner.model.digest.clone(),
            blob: runner.model.blob.clone(),
            context_length: runner.options.num_ctx,
            size: runner.size,
            expires_at: runner.expires,
            requests: runner.refs,
            runner: runner.id,
            runs: runner.loading.is_none() && runner.process == Process::Runs,
        }
    }

    /// Whether that is its name.
    pub fn is(&self, model: &str) -> bool {
        Name::parse(model).is_some_and(|name| name.to_string().eq_ignore_ascii_case(&self.name))
    }
}
