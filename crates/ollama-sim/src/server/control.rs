//! Control over HTTP, under `/sim/`, a path that Ollama does not have.

use super::http::{Answer, response};
use super::shared::Shared;
use crate::rules::{Body, Fault};
use crate::script;
use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

/// Where control lives.
pub(super) const PREFIX: &str = "/sim/";

/// Seconds after which a stopped server starts again: nobody could ask it to.
const DOWN_SECONDS: f64 = 5.0;

/// Until a server stops that was told to over HTTP: the answer has to be out.
const ANSWER_SECONDS: f64 = 0.1;

/// `POST /sim/fault` with a line of a script, such as `crash tinyllama`; `GET /sim/state`, `/sim/requests`,
/// `/sim/events`.
pub(super) fn answer(method: &str, path: &str, body: &Body, shared: &Shared) -> Response<Answer> {
    let (status, value) = match (method, path) {
        ("POST", "/sim/fault") => fault(body, shared),
        ("GET", "/sim/state") => (200, state(shared)),
        ("GET", "/sim/requests") => (200, requests(shared)),
        ("GET", "/sim/events") => (200, events(shared)),
        _ => (
            404,
            error(&format!(
                "there is no `{method} {path}`; there are POST /sim/fault, GET /sim/state, /sim/requests and /sim/events"
            )),
        ),
    };
    let body = Bytes::from(format!("{value}\n"));
    response(status, Some("application/json"), Answer::whole(body))
}

fn error(text: &str) -> Value {
    json!({"error": text})
}

fn fault(body: &Body, shared: &Shared) -> (u16, Value) {
    let text = match body {
        Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Body::File { .. } => String::new(),
    };
    let fault = match script::fault(text.trim()) {
        Ok(fault) => fault,
        Err(problem) => return (400, error(&problem.to_string())),
    };
    if matches!(fault, Fault::Stop | Fault::Kill) {
        shared.later(ANSWER_SECONDS, fault);
        shared.later(DOWN_SECONDS, Fault::Start);
        let done = json!({"done": text.trim(), "starts_again_after_seconds": DOWN_SECONDS});
        return (200, done);
    }
    match shared.fault(&fault) {
        Ok(()) => (200, json!({"done": text.trim()})),
        Err(problem) => (404, error(&problem.to_string())),
    }
}

fn state(shared: &Shared) -> Value {
    shared.read(|rules| {
        let loaded: Vec<Value> = rules
            .resident()
            .iter()
            .map(|one| {
                json!({
                    "name": one.name, "digest": one.digest, "context_length": one.context_length,
                    "size": one.size, "requests": one.requests,
                })
            })
            .collect();
        json!({"simulated": true, "loaded": loaded, "waiting": rules.waiting()})
    })
}

fn requests(shared: &Shared) -> Value {
    shared.read(|rules| {
        let all = rules.received().map(|one| {
            json!({"seconds": one.at.as_secs_f64(), "method": one.method, "path": one.path, "body": one.body})
        });
        Value::Array(all.collect())
    })
}

fn events(shared: &Shared) -> Value {
    shared.read(|rules| {
        let all = rules.events().map(|one| {
            json!({"seconds": one.at.as_secs_f64(), "event": one.kind.name(), "model": one.model})
        });
        Value::Array(all.collect())
    })
}
