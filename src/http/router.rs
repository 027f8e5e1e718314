//! Paths to answers.

use super::events::{Connection, Full};
use super::respond::{Answer, Type, accepts_gzip};
use super::{Surface, page, status};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};

/// Longest path that is looked at; a model's name has at most 350 + 80 + 80 + 80 characters, each up to three when
/// encoded.
const PATH_MAX: usize = 4096;

impl Surface {
    /// The answer to a request. Reads the latest snapshot, waits for nothing.
    pub(super) fn answer<B>(&self, request: &Request<B>, connection: &Connection) -> Answer {
        let path = request.uri().path();
        if path.len() > PATH_MAX {
            let hint = "no path of this server is that long";
            return Answer::error(
                StatusCode::URI_TOO_LONG,
                "uri_too_long",
                "the path is too long",
                hint,
            );
        }
        let route = Route::of(path);
        let Some(route) = route else {
            let hint = "see / for what there is";
            return Answer::error(StatusCode::NOT_FOUND, "not_found", "no such path", hint);
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Answer::not_allowed();
        }
        self.read(&route, request.headers(), connection)
    }

    fn read(&self, route: &Route<'_>, headers: &HeaderMap, connection: &Connection) -> Answer {
        match route {
            Route::Metrics => {
                let gzip = accepts_gzip(headers);
                Answer::metrics(self.exposition.text(gzip), gzip)
            }
            Route::Healthy => Answer::new(StatusCode::OK, Type::Text, "healthy\n"),
            Route::Ready => {
                let snapshot = self.snapshot();
                let status = if snapshot.gate.ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                Answer::json(status, &status::ready(&snapshot))
            }
            Route::Page(file) => Answer::file(file),
            Route::Status => self.status_document(headers),
            Route::Models => self.models_document(headers),
            Route::History => self.history_document(headers),
            Route::Events => self.events(headers, connection),
            Route::Model(name) => self.model(name),
        }
    }

    fn events(&self, headers: &HeaderMap, connection: &Connection) -> Answer {
        let last = headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok());
        match self.subscribe(last, connection) {
            Ok(stream) => Answer::events(stream),
            Err(Full) => Answer::too_many_watchers(),
        }
    }

    fn model(&self, encoded: &str) -> Answer {
        let snapshot = self.snapshot();
        let Some(name) = decode(encoded) else {
            let hint = "use %XX with two hexadecimal digits, and UTF-8";
            return Answer::error(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the name is not well encoded",
                hint,
            );
        };
        // `tinyllama` is `tinyllama:latest`, and Ollama compares without case.
        let with_tag = format!("{name}:latest");
        let is_it = |declared: &str| {
            declared.eq_ignore_ascii_case(&name) || declared.eq_ignore_ascii_case(&with_tag)
        };
        if let Some(model) = snapshot.models.iter().find(|model| is_it(&model.name)) {
            Answer::json(StatusCode::OK, &status::model_entry(&snapshot, model))
        } else {
            let declared: Vec<_> = snapshot.models.iter().map(|model| &*model.name).collect();
            let hint = format!("declared are: {}", declared.join(", "));
            Answer::error(
                StatusCode::NOT_FOUND,
                "not_found",
                "this model is not declared",
                &hint,
            )
        }
    }
}

/// What a path asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route<'a> {
    /// A part of the page.
    Page(&'static page::File),
    Status,
    History,
    Events,
    Models,
    /// The rest of the path, still encoded.
    Model(&'a str),
    Metrics,
    Healthy,
    Ready,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/api/status" => Self::Status,
            "/api/models/status" => Self::Models,
            "/api/history" => Self::History,
            "/api/events" => Self::Events,
            "/metrics" => Self::Metrics,
            "/-/healthy" | "/livez" | "/healthz" => Self::Healthy,
            "/-/ready" | "/readyz" => Self::Ready,
            _ => match path.strip_prefix("/api/models/status/") {
                Some(name) => Self::Model(Some(name).filter(|name| !name.is_empty())?),
                None => Self::Page(page::find(path)?),
            },
        })
    }
}

/// Undoes percent-encoding; `None` for what is none, or no UTF-8.
fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_or_refused() {
        let table = [
            ("tinyllama%3Alatest", Some("tinyllama:latest")),
            ("hf.co/u/r:Q4", Some("hf.co/u/r:Q4")),
            ("hf.co%2Fu%2fr", Some("hf.co/u/r")),
            ("a%", None),
            ("a%4", None),
            ("a%zz", None),
            ("%ff%fe", None),
            ("%00", Some("\0")),
        ];
        for (encoded, name) in table {
            assert_eq!(decode(encoded).as_deref(), name, "{encoded}");
        }
    }

    #[test]
    fn every_path_leads_where_it_should() {
        assert_eq!(
            Route::of("/api/models/status/a/b:c"),
            Some(Route::Model("a/b:c"))
        );
        assert_eq!(Route::of("/api/models/status/"), None);
        assert_eq!(Route::of("/readyz"), Some(Route::Ready));
        assert_eq!(Route::of("/metrics/"), None);
        assert_eq!(Route::of("*"), None);
    }
}
