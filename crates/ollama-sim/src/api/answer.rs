//! Answers: status, content type, body, and the texts of Ollama's errors.

use super::request::Style;
use crate::rules::Reply;
use bytes::Bytes;
use serde_json::{Value, json};

/// Native JSON.
pub(crate) const JSON: &str = "application/json; charset=utf-8";
/// JSON of the `/v1` interface, and of a few errors.
pub(crate) const JSON_PLAIN: &str = "application/json";
/// Native streams.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Streams of the `/v1` interface.
pub(crate) const SSE: &str = "text/event-stream";

/// An answer that is not yet in bytes: an error looks otherwise on `/v1/…` and in a stream.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    content_type: Option<&'static str>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Empty,
    Text(&'static str),
    Json(Value),
    Error(String),
}

impl Answer {
    fn new(status: u16, content_type: Option<&'static str>, body: Body) -> Self {
        Self {
            status,
            content_type,
            body,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, Some(JSON), Body::Json(body.clone()))
    }

    pub(crate) fn json_plain(status: u16, body: &Value) -> Self {
        Self::new(status, Some(JSON_PLAIN), Body::Json(body.clone()))
    }

    pub(crate) fn text(status: u16, text: &'static str) -> Self {
        Self::new(status, Some("text/plain"), Body::Text(text))
    }

    pub(crate) fn text_utf8(text: &'static str) -> Self {
        Self::new(200, Some("text/plain; charset=utf-8"), Body::Text(text))
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, None, Body::Empty)
    }

    pub(crate) fn error(status: u16, text: impl Into<String>) -> Self {
        Self::new(status, Some(JSON), Body::Error(text.into()))
    }

    /// An error that Ollama sends with another content type than the rest.
    pub(crate) fn error_plain(status: u16, text: &str) -> Self {
        Self::new(status, Some(JSON_PLAIN), Body::Error(text.into()))
    }

    /// Without its body.
    pub(crate) fn head(self) -> Self {
        Self {
            body: Body::Empty,
            ..self
        }
    }

    pub(crate) fn busy() -> Self {
        Self::error(
            503,
            "server busy, please try again.  maximum pending requests exceeded",
        )
    }

    pub(crate) fn not_found(model: &str) -> Self {
        Self::error(404, format!("model '{model}' not found"))
    }

    pub(crate) fn pull_first(model: &str) -> Self {
        Self::error(
            404,
            format!("model \"{model}\" not found, try pulling it first"),
        )
    }

    pub(crate) fn invalid_name() -> Self {
        Self::error(400, "invalid model name")
    }

    /// Weights of which only the first half is there.
    pub(crate) fn cut_short(size: u64) -> Self {
        let there = size / 2;
        let text = format!(
            "tensor \"blk.7.ffn_up.weight\" offset+size ({}) exceeds file size ({there})",
            there + there / 100
        );
        Self::error(500, text)
    }

    /// The runner's process ended: while it generated, or before it had said anything.
    pub(crate) fn runner_died(style: Style, generating: bool) -> Self {
        if style.embeds() {
            // The port is another one each time.
            let text = "do embedding request: Post \"http://127.0.0.1:40001/v1/embeddings\": EOF";
            let status = if style == Style::Embeddings { 500 } else { 400 };
            Self::error(status, text)
        } else if generating {
            Self::error(
                500,
                "an error was encountered while running the model: unexpected EOF",
            )
        } else {
            Self::error(
                500,
                "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, \
                 check ollama server logs for details",
            )
        }
    }

    /// As a whole response.
    pub(crate) fn into_reply(self, openai: bool) -> Reply {
        let content_type = self.content_type;
        let body = match self.body {
            Body::Empty => Bytes::new(),
            Body::Text(text) => Bytes::from_static(text.as_bytes()),
            Body::Json(value) => Bytes::from(value.to_string()),
            Body::Error(text) if openai => {
                let kind = match self.status {
                    404 => "not_found_error",
                    400..500 => "invalid_request_error",
                    _ => "api_error",
                };
                let error = json!({"message": text, "type": kind, "param": null, "code": null});
                Bytes::from(json!({"error": error}).to_string())
            }
            Body::Error(text) => Bytes::from(json!({"error": text}).to_string()),
        };
        Reply {
            status: self.status,
            content_type,
            body,
        }
    }

    /// As the last piece of a stream; the `/v1` interface swallows errors there.
    pub(crate) fn into_piece(self, openai: bool) -> Option<Bytes> {
        match self.body {
            Body::Error(text) if !openai => {
                Some(Bytes::from(format!("{}\n", json!({"error": text}))))
            }
            Body::Empty | Body::Text(_) | Body::Json(_) | Body::Error(_) => None,
        }
    }
}
