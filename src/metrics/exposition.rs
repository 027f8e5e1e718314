//! The text of `/metrics`. It is made once per change of the snapshot, not once per scrape; the values of the process
//! in it are at most a second old.

use super::Metrics;
use super::process::ProcessCollector;
use crate::clock::Clock;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::{Encoder, Registry, TextEncoder};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The text's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of our metrics and of a registry beside them, kept while nothing changed.
#[derive(Debug)]
pub struct Exposition {
    metrics: Metrics,
    others: Registry,
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
    /// The text of `metrics`, of our process and of `others`, made anew when the snapshot or the second changes.
    pub fn new(metrics: Metrics, others: Registry, clock: Clock) -> prometheus::Result<Self> {
        others.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self {
            metrics,
            others,
            clock,
            kept: Mutex::default(),
        })
    }

    /// The text, and whether it is compressed. Never waits for Ollama.
    pub fn text(&self, gzip: bool) -> Bytes {
        let key = (
            self.metrics.snapshots.borrow().revision,
            self.clock.now().since_start().as_secs(),
        );
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.made_for != Some(key) {
            *kept = Kept {
                made_for: Some(key),
                plain: self.encode(kept.plain.len()),
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

    fn encode(&self, last_size: usize) -> Bytes {
        /// How much the text may grow before it has to be moved; two models have 40 kB.
        const ROOM: usize = 4 << 10;
        let mut text = String::with_capacity(last_size + ROOM);
        self.metrics.write(&mut text);
        let mut text = text.into_bytes();
        // Writing into memory cannot fail; a family without samples is left out by the collectors.
        if TextEncoder::new()
            .encode(&self.others.gather(), &mut text)
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
