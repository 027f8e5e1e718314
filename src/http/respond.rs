//! Answers: bodies with their headers, HEAD, compression.

use crate::metrics::CONTENT_TYPE as METRICS_TYPE;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The body of every answer: known in full, because nothing here waits.
pub(super) type Body = Full<Bytes>;

/// Smaller bodies are not worth compressing: they fit one packet anyway.
const COMPRESS_FROM: usize = 1024;

/// An answer before it is fitted to its request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    kind: Type,
    body: Bytes,
    /// The same, compressed, where that was made beforehand.
    gzip: Option<Bytes>,
    allow: Option<&'static str>,
}

/// Content types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Json,
    Text,
    Html,
    Metrics,
}

impl Answer {
    pub(super) fn new(status: StatusCode, kind: Type, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
            gzip: None,
            allow: None,
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
        let made = Self::new(
            StatusCode::OK,
            Type::Metrics,
            if gzip { Bytes::new() } else { body.clone() },
        );
        Self {
            gzip: gzip.then_some(body),
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
            allow: Some("GET, HEAD"),
            ..made
        }
    }

    /// Fits it to the request: compressed if wanted, without its body for HEAD.
    pub(super) fn into_response(self, request: &HeaderMap, head: bool) -> Response<Body> {
        let gzip = self.gzip.or_else(|| {
            let worth = self.body.len() >= COMPRESS_FROM && accepts_gzip(request);
            worth.then(|| crate::metrics::compress(&self.body))
        });
        let compressed = gzip.is_some();
        let body = gzip.unwrap_or(self.body);
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(
            CONTENT_TYPE,
            match self.kind {
                Type::Json => "application/json",
                Type::Text => "text/plain; charset=utf-8",
                Type::Html => "text/html; charset=utf-8",
                Type::Metrics => METRICS_TYPE,
            },
        );
        set(CACHE_CONTROL, "no-store");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(VARY, "Accept-Encoding");
        if self.kind == Type::Html {
            set(
                hyper::header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'self'; base-uri 'none'",
            );
            set(hyper::header::REFERRER_POLICY, "no-referrer");
        }
        if compressed {
            set(CONTENT_ENCODING, "gzip");
        }
        if let Some(allow) = self.allow {
            set(ALLOW, allow);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !head {
            *response.body_mut() = Full::new(body);
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
