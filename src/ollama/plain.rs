//! What a request is on the wire and what a reply means, without sockets.
//!
//! Public because the seeded simulation (`tests/sim.rs`) stands between the engine and the rules of ollama-sim with
//! it: it then tests the same bodies and the same reading of answers as run in production, not a copy of them.

use super::error::{classify, unexpected};
use super::wire::{self, KeepAlive};
use crate::engine::request::{Answer, Request, Timings, Via};
use crate::engine::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Excerpt of an answer that is not understood, in bytes.
const EXCERPT_MAX: usize = 120;

/// A request as Ollama gets it.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The path; it is a POST where there is a body, else a GET.
    pub path: &'static str,
    /// JSON.
    pub body: Option<Value>,
    /// How many of it are sent at the same time.
    pub copies: usize,
}

/// What is sent for a request.
pub fn encode(request: &Request) -> Result<Call, Failure> {
    let path = match request {
        Request::Version => "/api/version",
        Request::Ps => "/api/ps",
        Request::Tags => "/api/tags",
        Request::Show { .. } => "/api/show",
        Request::Load(target)
        | Request::Pin(target)
        | Request::Ping(target)
        | Request::Probe(target) => path(target.via),
        Request::Warmup { .. } => "/api/chat",
        Request::Unload { .. } => "/api/generate",
        Request::Pull { .. } => "/api/pull",
    };
    let body = match request {
        Request::Version | Request::Ps | Request::Tags => None,
        Request::Show { model } | Request::Pull { model } => Some(json!({"model": &**model})),
        Request::Load(target) | Request::Pin(target) => {
            Some(wire::empty_body(target, KeepAlive::Ours))
        }
        Request::Ping(target) => Some(wire::empty_body(target, KeepAlive::Absent)),
        Request::Probe(target) => Some(match target.via {
            Via::Generate => wire::token_body(target),
            Via::Embed => wire::embed_body(target),
        }),
        Request::Warmup {
            target,
            conversation,
            ..
        } => Some(wire::chat_body(target, conversation)?),
        Request::Unload { model } => Some(json!({"model": &**model, "keep_alive": 0})),
    };
    let copies = if let Request::Warmup { copies, .. } = request {
        (*copies).max(1)
    } else {
        1
    };
    Ok(Call { path, body, copies })
}

fn path(via: Via) -> &'static str {
    match via {
        Via::Generate => "/api/generate",
        Via::Embed => "/api/embed",
    }
}

/// What a whole reply means for a request. A pull is read line by line instead; its whole reply means nothing here.
pub fn decode(request: &Request, status: u16, body: &[u8]) -> Result<Answer, Failure> {
    if !(200..300).contains(&status) {
        return Err(refusal(status, body));
    }
    match request {
        Request::Version => {
            let version: wire::Version = parse(body)?;
            Ok(Answer::Version(version.version.into()))
        }
        Request::Ps => {
            let ps: wire::Ps = parse(body)?;
            ps.into_resident().map(Answer::Resident).map_err(unexpected)
        }
        Request::Tags => {
            let tags: wire::Tags = parse(body)?;
            Ok(Answer::Installed(tags.into_installed()))
        }
        Request::Show { .. } => {
            let show: wire::Show = parse(body)?;
            Ok(Answer::Info(show.into_info()))
        }
        Request::Load(_)
        | Request::Pin(_)
        | Request::Ping(_)
        | Request::Probe(_)
        | Request::Warmup { .. }
        | Request::Unload { .. } => {
            let done: wire::Done = parse(body)?;
            let timings = done.into_timings();
            timings
                .map(Answer::Done)
                .map_err(|said| classify(500, &said))
        }
        Request::Pull { .. } => Err(unexpected("a pull is read line by line")),
    }
}

/// The answer to a request of which several copies were sent: that of the slowest.
pub fn slowest(answers: impl IntoIterator<Item = Answer>) -> Answer {
    let mut slowest = Timings::default();
    for answer in answers {
        if let Answer::Done(timings) = answer
            && timings.prompt_eval >= slowest.prompt_eval
        {
            slowest = timings;
        }
    }
    Answer::Done(slowest)
}

/// The failure of a connection that ended without an answer.
pub fn cut() -> Failure {
    Failure::new(
        FailureKind::Unreachable,
        "the connection was closed before the answer",
    )
}

/// What a status other than 2xx says.
pub(super) fn refusal(status: u16, body: &[u8]) -> Failure {
    let said = match serde_json::from_slice::<wire::ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => excerpt(body),
    };
    classify(status, &said)
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| unexpected(format!("not what an Ollama answers: {}", excerpt(body))))
}

/// The beginning of an answer. Answers that are not understood are none of Ollama's, so they hold no prompt of ours.
fn excerpt(body: &[u8]) -> String {
    let head = body.get(..EXCERPT_MAX.min(body.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        "an empty answer".to_owned()
    } else {
        text
    }
}
