//! The page at `/`: a live picture of the status for people. Everything is embedded, nothing is fetched from elsewhere,
//! and its parts are found by relative addresses, so that a proxy may mount it anywhere.

use super::respond::Type;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::LazyLock;

/// What the browser may do with the page: run and style it with its own files, ask this server, nothing else.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";

/// One file of the page.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct File {
    path: &'static str,
    pub(super) kind: Type,
    plain: &'static str,
    gzip: Bytes,
    /// Weak, because the two forms share it.
    pub(super) tag: HeaderValue,
}

/// Compressed at their first use; they never change.
static FILES: LazyLock<[File; 8]> = LazyLock::new(|| {
    let script = |path, text| File::new(path, Type::Script, text);
    [
        File::new("/", Type::Html, include_str!("assets/page.html")),
        File::new(
            "/assets/page.css",
            Type::Style,
            include_str!("assets/page.css"),
        ),
        script("/assets/page.js", include_str!("assets/page.js")),
        script("/assets/dom.js", include_str!("assets/dom.js")),
        script("/assets/live.js", include_str!("assets/live.js")),
        script("/assets/models.js", include_str!("assets/models.js")),
        script("/assets/timeline.js", include_str!("assets/timeline.js")),
        script("/assets/words.js", include_str!("assets/words.js")),
    ]
});

/// The file at a path.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

impl File {
    fn new(path: &'static str, kind: Type, plain: &'static str) -> Self {
        let mut hasher = DefaultHasher::new();
        plain.hash(&mut hasher);
        let tag = HeaderValue::from_str(&format!("W/\"{:016x}\"", hasher.finish()));
        Self {
            path,
            kind,
            plain,
            gzip: compress(plain.as_bytes()),
            tag: tag.unwrap_or(HeaderValue::from_static("W/\"0\"")),
        }
    }

    /// Whether the client has it already.
    pub(super) fn is_known(&self, request: &HeaderMap) -> bool {
        let tags = request.get_all(IF_NONE_MATCH).iter();
        tags.filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|tag| matches!(tag.trim(), tag if tag == "*" || self.tag == tag))
    }

    /// The file, and whether it is compressed.
    pub(super) fn body(&self, gzip: bool) -> (Bytes, bool) {
        if gzip {
            (self.gzip.clone(), true)
        } else {
            (Bytes::from_static(self.plain.as_bytes()), false)
        }
    }
}

/// As small as it gets: it is done once.
fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::best());
    // Writing into memory cannot fail.
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(_) => Bytes::new(),
    }
}
