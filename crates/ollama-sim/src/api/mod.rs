//! The HTTP interface, in words of methods, paths and bodies: routes, requests, answers. No sockets.

mod answer;
mod complete;
mod fields;
mod files;
mod models;
mod openai;
mod progress;
mod request;

pub(crate) use answer::Answer;
pub(crate) use progress::Progress;
pub(crate) use request::{Job, Style, Work};

use crate::config::Timing;
use crate::rules::{Body, Call, CallId, Rules, Stage};
use std::time::Duration;

/// Largest JSON body that is read. A conversation of a million tokens stays below.
pub(crate) const BODY_MAX: usize = 8 << 20;

/// Path under which uploads are stored.
pub(crate) const BLOBS: &str = "/api/blobs/";

/// What a path can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Root,
    Version,
    Status,
    Tags,
    Ps,
    Models,
    Model,
    Show,
    Pull,
    Create,
    Copy,
    Delete,
    Blob,
    Run(Style),
}

const GET: &[&str] = &["GET"];
const GET_HEAD: &[&str] = &["GET", "HEAD"];
const POST: &[&str] = &["POST"];

/// The routes with a fixed path.
const ROUTES: [(&str, &[&str], Route); 18] = [
    ("/", GET_HEAD, Route::Root),
    ("/api/version", GET_HEAD, Route::Version),
    ("/api/status", GET, Route::Status),
    ("/api/tags", GET_HEAD, Route::Tags),
    ("/api/ps", GET, Route::Ps),
    ("/v1/models", GET, Route::Models),
    ("/api/show", POST, Route::Show),
    ("/api/pull", POST, Route::Pull),
    ("/api/create", POST, Route::Create),
    ("/api/copy", POST, Route::Copy),
    ("/api/delete", &["DELETE"], Route::Delete),
    ("/api/generate", POST, Route::Run(Style::Generate)),
    ("/api/chat", POST, Route::Run(Style::Chat)),
    ("/api/embed", POST, Route::Run(Style::Embed)),
    ("/api/embeddings", POST, Route::Run(Style::Embeddings)),
    ("/v1/chat/completions", POST, Route::Run(Style::OpenAiChat)),
    ("/v1/completions", POST, Route::Run(Style::OpenAiText)),
    ("/v1/embeddings", POST, Route::Run(Style::OpenAiEmbed)),
];

/// `Err(true)`: the path is there, the method is not.
fn route(call: &Call) -> Result<Route, bool> {
    let (methods, route) = if call.path.starts_with(BLOBS) {
        (["POST", "HEAD"].as_slice(), Route::Blob)
    } else if call.path.starts_with("/v1/models/") {
        (GET, Route::Model)
    } else {
        let found = ROUTES.iter().find(|(path, ..)| *path == call.path);
        found
            .map(|(_, methods, route)| (*methods, *route))
            .ok_or(false)?
    };
    if methods.contains(&call.method.as_str()) {
        Ok(route)
    } else {
        Err(true)
    }
}

/// How long until a request does something.
pub(crate) fn takes(timing: &Timing, call: &Call) -> Duration {
    match route(call) {
        Ok(Route::Run(_)) => timing.request,
        _ => timing.read,
    }
}

impl Rules {
    /// A request has been read: does what it says, or begins to.
    pub(crate) fn dispatch(&mut self, id: CallId) {
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        open.stage = Stage::Waiting;
        let call = open.call.clone();
        let route = match route(&call) {
            Ok(route) => route,
            Err(true) => return self.reply(id, Answer::text(405, "405 method not allowed")),
            Err(false) => return self.reply(id, Answer::text(404, "404 page not found")),
        };
        if matches!(route, Route::Ps | Route::Run(_)) && self.is_barred(id) {
            return;
        }
        let answer = match route {
            Route::Root => Answer::text_utf8("Ollama is running"),
            Route::Version => self.version(),
            Route::Status => Answer::json(
                200,
                &serde_json::json!({"cloud": {"disabled": false, "source": "none"}}),
            ),
            Route::Tags => self.tags(),
            Route::Models => self.openai_models(),
            Route::Model => self.openai_model(&call.path),
            Route::Show => self.show(&call),
            Route::Create => return self.create(id, &call),
            Route::Copy => self.copy(&call),
            Route::Delete => self.delete(&call),
            Route::Blob => self.blob(&call),
            Route::Pull => return self.pull(id, &call),
            Route::Ps => return self.list(id),
            Route::Run(style) => return self.ask(id, &call, style),
        };
        let answer = if call.method == "HEAD" {
            answer.head()
        } else {
            answer
        };
        self.reply(id, answer);
    }
}

/// The bytes of a JSON request.
fn bytes(call: &Call) -> &[u8] {
    match &call.body {
        Body::Bytes(bytes) => bytes,
        Body::File { .. } => &[],
    }
}
