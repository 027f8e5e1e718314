//! What a test asks afterwards: the requests received, and what happened to models.

use crate::rules::{Body, Call};
use std::collections::VecDeque;
use std::time::Duration;

/// Requests remembered; older ones are forgotten. A poll per second for an hour and a few loads fit.
pub const REQUESTS_MAX: usize = 8192;

/// Events remembered; older ones are forgotten.
pub const EVENTS_MAX: usize = 4096;

/// Bytes of a body that are remembered.
pub const BODY_MAX: usize = 16 << 10;

/// Bytes of a body that are logged.
const LOGGED_MAX: usize = 400;

/// A request as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Since the start of the simulation.
    pub at: Duration,
    /// Such as `POST`.
    pub method: String,
    /// Such as `/api/generate`.
    pub path: String,
    /// The beginning of the body; empty for uploads.
    pub body: String,
}

impl Received {
    /// The body as JSON; `null` if it is none or was too long.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What happened to a model or to the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// A runner was started.
    LoadStarted,
    /// It is ready.
    Loaded,
    /// A load ended without a loaded model.
    LoadFailed,
    /// A runner has gone.
    Unloaded,
    /// A runner's process ended without Ollama's doing.
    Crashed,
    /// The server has stopped.
    ServerStopped,
    /// It runs again.
    ServerStarted,
}

impl EventKind {
    /// In lower-case words.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadStarted => "load_started",
            Self::Loaded => "loaded",
            Self::LoadFailed => "load_failed",
            Self::Unloaded => "unloaded",
            Self::Crashed => "crashed",
            Self::ServerStopped => "server_stopped",
            Self::ServerStarted => "server_started",
        }
    }
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Since the start of the simulation.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
    /// To which model; empty for the server.
    pub model: String,
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    requests: VecDeque<Received>,
    events: VecDeque<Event>,
}

impl Journal {
    pub(crate) fn received(&mut self, at: Duration, call: &Call) {
        let body = match &call.body {
            Body::Bytes(bytes) => {
                let start = bytes.get(..bytes.len().min(BODY_MAX)).unwrap_or_default();
                String::from_utf8_lossy(start).into_owned()
            }
            Body::File { .. } => String::new(),
        };
        tracing::debug!(
            method = call.method,
            path = call.path,
            body = body.get(..body.len().min(LOGGED_MAX)),
            "request"
        );
        if self.requests.len() >= REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(Received {
            at,
            method: call.method.clone(),
            path: call.path.clone(),
            body,
        });
    }

    pub(crate) fn event(&mut self, at: Duration, kind: EventKind, model: &str) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        tracing::info!(event = kind.name(), model);
        self.events.push_back(Event {
            at,
            kind,
            model: model.into(),
        });
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = &Received> {
        self.requests.iter()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}
