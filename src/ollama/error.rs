//! What Ollama's and the transport's words mean: one closed kind for each, by status and loose substring, because the
//! texts change from version to version.

use crate::engine::{Failure, FailureKind};
use std::error::Error;

/// Words of a failed allocation, as Ollama itself recognises them, and those of its older versions.
const OUT_OF_MEMORY: [&str; 15] = [
    "out of memory",
    "out of device memory",
    "out-of-memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "erroroutofmemory",
    "vk_error_out_of_device_memory",
    "requires more system memory",
    "memory layout cannot be allocated",
    "failed to commit memory",
    "but only",
];

/// Words of a runner that ended.
const RUNNER_ENDED: [&str; 8] = [
    "process has terminated",
    "process no longer running",
    "runner has unexpectedly stopped",
    "runner exited unexpectedly",
    "error was encountered while running the model",
    "unexpected eof",
    "mlx runner failed",
    "do embedding request",
];

/// Words of a model that this server cannot run.
const UNSUPPORTED: [&str; 8] = [
    "does not support",
    "is no longer compatible",
    "may be incompatible with your version",
    "image generation models are not",
    "cannot run this remote model",
    "invalid file magic",
    "exceeds file size",
    "unknown model architecture",
];

/// The failure behind a status other than 200, or behind an error inside a 200.
pub(super) fn classify(status: u16, said: &str) -> Failure {
    Failure::new(
        kind_of(status, &said.to_ascii_lowercase()),
        one_line(said, status),
    )
}

fn kind_of(status: u16, said: &str) -> FailureKind {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match status {
        401 | 403 | 407 => FailureKind::InvalidRequest,
        404 if says(&["not found"]) && !says(&["page not found"]) => FailureKind::ModelNotFound,
        300..=399 | 404 => FailureKind::UnexpectedResponse,
        499 => FailureKind::ServerError,
        429 | 503 => FailureKind::ServerBusy,
        _ if says(&OUT_OF_MEMORY) => FailureKind::OutOfMemory,
        _ if says(&["timed out waiting for"]) => FailureKind::LoadStalled,
        _ if says(&RUNNER_ENDED) => FailureKind::RunnerCrashed,
        _ if says(&UNSUPPORTED) => FailureKind::UnsupportedModel,
        _ if says(&["resource limitations"]) => FailureKind::RunnerCrashed,
        400..=499 => FailureKind::InvalidRequest,
        _ => FailureKind::ServerError,
    }
}

fn one_line(said: &str, status: u16) -> String {
    let words: Vec<_> = said.split_whitespace().collect();
    match (words.is_empty(), status) {
        (true, 403) => "403: the server refuses this Host; let Ollama listen on 0.0.0.0, or address it as localhost".into(),
        (true, _) => format!("status {status} without a message"),
        (false, _) => words.join(" "),
    }
}

/// An answer that no Ollama gives.
pub(super) fn unexpected(said: impl AsRef<str>) -> Failure {
    Failure::new(FailureKind::UnexpectedResponse, said)
}

/// The failure of a request that got no answer. Its text names neither the URL's credentials nor the request.
pub(super) fn transport(error: &reqwest::Error) -> Failure {
    let chain = chain(error);
    let broken = error.is_connect() || error.is_request() || error.is_timeout() || error.is_body();
    let kind = if error.is_decode() || !broken || is_no_http(error) {
        FailureKind::UnexpectedResponse
    } else if chain.contains("certificate") || chain.contains("invalid peer") {
        FailureKind::InvalidRequest
    } else {
        FailureKind::Unreachable
    };
    Failure::new(kind, chain)
}

/// Whether something answered that does not speak HTTP.
fn is_no_http(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(level) = cause {
        if level
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return true;
        }
        cause = level.source();
    }
    false
}

/// The messages from the second level down: the first one of reqwest only repeats the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(level) = cause {
        let text = level.to_string();
        if messages.last().is_none_or(|last| *last != text) {
            messages.push(text);
        }
        cause = level.source();
    }
    if messages.is_empty() {
        "the connection failed".into()
    } else {
        messages.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind as Kind;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_text_of_the_catalogue_has_its_kind() {
        let table = [
            (404, "model 'm' not found", Kind::ModelNotFound),
            (
                404,
                "model \"m\" not found, try pulling it first",
                Kind::ModelNotFound,
            ),
            (404, "404 page not found", Kind::UnexpectedResponse),
            (400, "model is required", Kind::InvalidRequest),
            (400, "invalid model name", Kind::InvalidRequest),
            (
                400,
                "registry.ollama.ai/library/m:latest does not support tools",
                Kind::UnsupportedModel,
            ),
            (
                400,
                "\"all-minilm\" does not support generate",
                Kind::UnsupportedModel,
            ),
            (
                400,
                "time: missing unit in duration \"-1\"",
                Kind::InvalidRequest,
            ),
            (
                503,
                "server busy, please try again.  maximum pending requests exceeded",
                Kind::ServerBusy,
            ),
            (499, "request canceled", Kind::ServerError),
            (
                500,
                "llama-server process has terminated: exit status 1: CUDA error",
                Kind::RunnerCrashed,
            ),
            (
                500,
                "llama-server process has terminated: signal: killed",
                Kind::RunnerCrashed,
            ),
            (
                500,
                "llama runner process no longer running: 2 ",
                Kind::RunnerCrashed,
            ),
            (
                500,
                "timed out waiting for llama-server to start - ",
                Kind::LoadStalled,
            ),
            (
                500,
                "timed out waiting for llama runner to start - progress 0.42 - ",
                Kind::LoadStalled,
            ),
            (
                500,
                "llama-server reported out-of-memory during startup: x",
                Kind::OutOfMemory,
            ),
            (
                500,
                "llama-server process has terminated: exit status 1: cudaMalloc failed: x",
                Kind::OutOfMemory,
            ),
            (
                500,
                "model requires 9.1 GiB but only 3.0 GiB are available (after 0 B overhead)",
                Kind::OutOfMemory,
            ),
            (
                500,
                "model requires more system memory (5.6 GiB) than is available (3.1 GiB)",
                Kind::OutOfMemory,
            ),
            (
                500,
                "memory layout cannot be allocated with num_gpu = 3",
                Kind::OutOfMemory,
            ),
            (
                500,
                "model failed to load, this may be due to resource limitations or an internal error, check ollama \
                 server logs for details",
                Kind::RunnerCrashed,
            ),
            (500, "mlx runner failed: x (exit: 1)", Kind::RunnerCrashed),
            (
                500,
                "unable to load: this model may be incompatible with your version of Ollama.",
                Kind::UnsupportedModel,
            ),
            (
                500,
                "tensor \"x\" offset+size (2) exceeds file size (1)",
                Kind::UnsupportedModel,
            ),
            (500, "invalid file magic", Kind::UnsupportedModel),
            (
                500,
                "model runner has unexpectedly stopped, this may be due to resource limitations",
                Kind::RunnerCrashed,
            ),
            (
                500,
                "an error was encountered while running the model: unexpected EOF",
                Kind::RunnerCrashed,
            ),
            (
                400,
                "do embedding request: Post \"http://127.0.0.1:1/v1/embeddings\": EOF",
                Kind::RunnerCrashed,
            ),
            (
                500,
                "option \"num_ctx\" must be of type integer",
                Kind::ServerError,
            ),
            (
                501,
                "This server does not support embeddings. Start it with `--embeddings`",
                Kind::UnsupportedModel,
            ),
            (401, "unauthorized", Kind::InvalidRequest),
            (403, "", Kind::InvalidRequest),
            (302, "", Kind::UnexpectedResponse),
            (502, "<html>bad gateway</html>", Kind::ServerError),
        ];
        for (status, said, kind) in table {
            assert_eq!(classify(status, said).kind, kind, "{status} {said}");
        }
    }

    #[test]
    fn messages_are_one_line_and_never_empty() {
        assert_eq!(&*classify(500, "a\n  b\tc").message, "a b c");
        assert_eq!(&*classify(500, " ").message, "status 500 without a message");
        assert!(classify(403, "").message.contains("Host"));
    }
}
