//! The text of `/metrics`. It is made once per change of the snapshot, not once per scrape; the values of the process
//! in it are at most a second old.

use crate::clock::Clock;
use crate::engine::Snapshot;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::{Encoder, Registry, TextEncoder};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The text's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a registry, kept while nothing changed.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
    // A plain mutex: held for the time of a copy, or of making the text, by one thread.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The revision and the second for which the text was made.
    made_for: Option<(u64, u64)>,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Exposition {
    /// The text of `registry`, made anew when `snapshots` or the second changes.
    pub fn new(
        registry: Registry,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        clock: Clock,
    ) -> Self {
        Self {
            registry,
            snapshots,
            clock,
            kept: Mutex::default(),
        }
    }

    /// The text, and whether it is compressed. Never waits for Ollama.
    pub fn text(&self, gzip: bool) -> Bytes {
        let key = (
            self.snapshots.borrow().revision,
            self.clock.now().since_start().as_secs(),
        );
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.made_for != Some(key) {
            *kept = Kept {
                made_for: Some(key),
                plain: self.encode(),
                gzip: None,
            };
        }
        if !gzip {
            return kept.plain.clone();
        }
        if kept.gzip.is_none() {
            kept.gzip = Some(compress(&kept.plain));
        }
        kept.gzip.clone().unwrap_or_default()
    }

    fn encode(&self) -> Bytes {
        let mut text = Vec::with_capacity(16 << 10);
        // Writing into memory cannot fail; a family without samples is left out by the collectors.
        if TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .is_err()
        {
            text.extend_from_slice(b"# the metrics could not be encoded\n");
        }
        text.into()
    }
}

/// A body as gzip, at the fastest level: text of this kind shrinks to a tenth even so.
pub(crate) fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    // Writing into memory cannot fail.
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(_) => Bytes::new(),
    }
}
