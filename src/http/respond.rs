//! Answers: bodies with their headers, HEAD, compression.

use super::events::EventStream;
use super::page;
use crate::metrics::CONTENT_TYPE as METRICS_TYPE;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer: known in full, because nothing here waits, but for the stream of events.
#[derive(Debug)]
pub(super) enum Body {
    Whole(Option<Bytes>),
    Events(Box<EventStream>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Events(stream) => stream.poll_bytes(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(
                bytes
                    .as_ref()
                    .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            ),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Smaller bodies are not worth compressing: they fit one packet anyway.
const COMPRESS_FROM: usize = 1024;

/// An answer before it is fitted to its request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    kind: Type,
    content: Content,
    /// One header more, where the kind has none of its own.
    more: Option<(HeaderName, &'static str)>,
}

/// What is answered.
#[derive(Debug)]
enum Content {
    /// Compressed when that is wanted and worth it.
    Plain(Bytes),
    /// As it is; whether that is compressed was decided beforehand.
    Chosen {
        body: Bytes,
        gzip: bool,
    },
    /// A part of the page.
    File(&'static page::File),
    Events(Box<EventStream>),
}

/// Content types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Json,
    Text,
    Html,
    Style,
    Script,
    Metrics,
    Events,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Metrics => METRICS_TYPE,
            Self::Events => "text/event-stream",
        }
    }
}

impl Answer {
    pub(super) fn new(status: StatusCode, kind: Type, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind,
            content: Content::Plain(body.into()),
            more: None,
        }
    }

    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status, Type::Json, body),
            Err(error) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Type::Text,
                error.to_string(),
            ),
        }
    }

    /// An error in the form that all errors have.
    pub(super) fn error(status: StatusCode, kind: &str, message: &str, hint: &str) -> Self {
        let error = serde_json::json!({"error": {"kind": kind, "message": message, "hint": hint}});
        Self::json(status, &error)
    }

    pub(super) fn metrics(body: Bytes, gzip: bool) -> Self {
        Self::chosen(Type::Metrics, body, gzip)
    }

    /// A JSON document, compressed or not.
    pub(super) fn document(body: Bytes, gzip: bool) -> Self {
        Self::chosen(Type::Json, body, gzip)
    }

    fn chosen(kind: Type, body: Bytes, gzip: bool) -> Self {
        Self {
            status: StatusCode::OK,
            kind,
            content: Content::Chosen { body, gzip },
            more: None,
        }
    }

    /// A part of the page.
    pub(super) fn file(file: &'static page::File) -> Self {
        Self {
            status: StatusCode::OK,
            kind: file.kind,
            content: Content::File(file),
            more: None,
        }
    }

    pub(super) fn events(stream: Box<EventStream>) -> Self {
        Self {
            status: StatusCode::OK,
            kind: Type::Events,
            content: Content::Events(stream),
            // nginx would collect events until its buffer is full.
            more: Some((HeaderName::from_static("x-accel-buffering"), "no")),
        }
    }

    pub(super) fn too_many_watchers() -> Self {
        let made = Self::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_subscribers",
            "too many connections watch the events",
            "poll /api/status instead, or try again later",
        );
        Self {
            more: Some((RETRY_AFTER, "30")),
            ..made
        }
    }

    pub(super) fn not_allowed() -> Self {
        let hint = "this path can only be read";
        let made = Self::error(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "only GET and HEAD",
            hint,
        );
        Self {
            more: Some((ALLOW, "GET, HEAD")),
            ..made
        }
    }

    pub(super) fn is_worth_compressing(body: &[u8]) -> bool {
        body.len() >= COMPRESS_FROM
    }

    /// Fits it to the request: compressed if wanted, without its body for HEAD or when the client has it.
    pub(super) fn into_response(self, request: &HeaderMap, head: bool) -> Response<Body> {
        let mut response = Response::new(Body::Whole(None));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(CONTENT_TYPE, self.kind.as_str());
        set(CACHE_CONTROL, "no-store");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(VARY, "Accept-Encoding");
        if self.kind == Type::Html {
            set(CONTENT_SECURITY_POLICY, page::POLICY);
            set(REFERRER_POLICY, "no-referrer");
        }
        if let Some((name, value)) = self.more {
            set(name, value);
        }
        let (body, gzip) = match self.content {
            Content::Plain(body) => {
                if Self::is_worth_compressing(&body) && accepts_gzip(request) {
                    (crate::metrics::compress(&body), true)
                } else {
                    (body, false)
                }
            }
            Content::Chosen { body, gzip } => (body, gzip),
            Content::File(file) => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                headers.insert(ETAG, file.tag.clone());
                if file.is_known(request) {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    return response;
                }
                file.body(accepts_gzip(request))
            }
            Content::Events(stream) => {
                if !head {
                    *response.body_mut() = Body::Events(stream);
                }
                return response;
            }
        };
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !head {
            *response.body_mut() = Body::Whole(Some(body));
        }
        response
    }
}

/// Whether the client takes gzip: named, or covered by `*`, with a quality above 0.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(Some(1.0), |text| text.trim().parse().ok());
        let wanted = quality.is_some_and(|quality: f32| quality > 0.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        if name == "*" {
            any = Some(wanted);
        }
    }
    any.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_where_it_is_wanted() {
        let table = [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("GZIP", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("*, gzip;q=0", false),
            ("identity", false),
            ("", false),
            ("gzip;q=much", false),
        ];
        for (accepted, wanted) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(accepts_gzip(&headers), wanted, "{accepted:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
