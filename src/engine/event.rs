//! What the engine is told and what it asks for. Both sets are closed: this page lists everything that can wake it.

use super::failure::Failure;
use super::request::{Answer, Request};
use super::sight::Sight;
use super::snapshot::{LossCause, State};
use super::time::UnixMillis;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Identity of one request. A late answer of an operation that the engine has forgotten changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A server by its place in the configuration; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub u32);

/// A model by its place in the configuration; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModelId(pub u32);

/// What the engine is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A due time came, or nothing in particular happened.
    Tick,
    /// Wall time now: anchors every time of the snapshot, and tells how far away an `expires_at` is.
    Clock(UnixMillis),
    /// The operation ended.
    Answered {
        /// Which.
        op: OpId,
        /// How.
        result: Result<Answer, Failure>,
    },
    /// A pull got further.
    Progress {
        /// Which operation.
        op: OpId,
        /// Bytes there.
        completed: u64,
        /// Bytes in all, as far as they are known.
        total: u64,
    },
    /// A server's runner processes were looked at.
    Sighted {
        /// The server.
        server: ServerId,
        /// What was seen.
        sight: Sight,
    },
    /// Somebody asks to try this model now (`None` = all): a `failed` or `quarantined` one does not wait any longer.
    Kick(Option<ModelId>),
    /// Nothing new is started from now on and the gate is closed.
    Shutdown,
}

/// What the engine asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Send this request and report its end as [`Event::Answered`].
    Send {
        /// Its identity.
        op: OpId,
        /// The server.
        server: ServerId,
        /// The request.
        request: Request,
    },
    /// Drop the operation: close its connection, report nothing.
    Drop(OpId),
    /// Something that people read in the log.
    Log(Notice),
}

/// A line for the log: one for each change of a state, not for each request.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// A model changed its state on a server.
    State {
        /// The model's name.
        model: Arc<str>,
        /// The server's name.
        server: Arc<str>,
        /// Before.
        from: State,
        /// After.
        to: State,
        /// The attempt's number, from 1; 0 outside of attempts.
        attempt: u32,
        /// How long what ended now took, where something ended.
        duration: Option<Duration>,
        /// The failure behind it.
        failure: Option<Failure>,
    },
    /// A model that was ready is so no longer.
    Lost {
        /// The model's name.
        model: Arc<str>,
        /// The server's name.
        server: Arc<str>,
        /// Why.
        cause: LossCause,
        /// A sentence for a tired person.
        detail: Arc<str>,
    },
    /// A server became reachable, silent or unreachable.
    Server {
        /// The server's name.
        server: Arc<str>,
        /// Whether it answers.
        up: bool,
        /// What it said, or its version.
        detail: Arc<str>,
    },
    /// The gate opened or closed.
    Gate {
        /// Whether it is open now.
        ready: bool,
        /// Why not.
        reasons: Vec<Arc<str>>,
    },
    /// Something an operator should know and may change; said once for each change.
    Advice {
        /// The model, where it is about one.
        model: Option<Arc<str>>,
        /// A sentence.
        text: Arc<str>,
    },
}
