//! The JSON documents that everybody asks for. Each is made once for a revision of the snapshot and compressed once, so
//! that a thousand watchers cost a thousand copies to the kernel and nothing else.

use super::respond::{Answer, accepts_gzip};
use super::{Surface, history, status};
use crate::engine::Snapshot;
use bytes::Bytes;
use hyper::header::HeaderMap;
use serde::Serialize;
use std::sync::PoisonError;

/// What was made for one revision.
#[derive(Debug, Default)]
pub(super) struct Documents {
    revision: Option<u64>,
    status: Kept,
    models: Kept,
    history: Kept,
    event: Bytes,
}

/// A document in the forms in which it was asked for; empty = not yet.
#[derive(Debug, Default)]
struct Kept {
    plain: Bytes,
    gzip: Bytes,
}

/// The status as a server-sent event.
#[derive(Clone, Debug, Default)]
pub(super) struct StatusEvent {
    /// Of the snapshot.
    pub(super) revision: u64,
    /// The whole event, as it is sent.
    pub(super) bytes: Bytes,
}

impl StatusEvent {
    /// Whether it is the event of this id.
    pub(super) fn is(&self, id: &str) -> bool {
        let rest = self.bytes.strip_prefix(b"id: ");
        let rest = rest.and_then(|rest| rest.strip_prefix(id.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\n"))
    }
}

impl Kept {
    fn plain<T: Serialize>(&mut self, snapshot: &Snapshot, make: fn(&Snapshot) -> T) -> Bytes {
        if self.plain.is_empty() {
            self.plain = serde_json::to_vec(&make(snapshot))
                .map(Bytes::from)
                .unwrap_or_default();
        }
        self.plain.clone()
    }

    fn answer<T: Serialize>(
        &mut self,
        snapshot: &Snapshot,
        make: fn(&Snapshot) -> T,
        headers: &HeaderMap,
    ) -> Answer {
        let plain = self.plain(snapshot, make);
        if !accepts_gzip(headers) || !Answer::is_worth_compressing(&plain) {
            return Answer::document(plain, false);
        }
        if self.gzip.is_empty() {
            self.gzip = crate::metrics::compress(&plain);
        }
        Answer::document(self.gzip.clone(), true)
    }
}

impl Surface {
    pub(super) fn status_document(&self, headers: &HeaderMap) -> Answer {
        self.kept(|kept, snapshot| kept.status.answer(snapshot, status::status, headers))
    }

    pub(super) fn models_document(&self, headers: &HeaderMap) -> Answer {
        self.kept(|kept, snapshot| kept.models.answer(snapshot, status::models, headers))
    }

    pub(super) fn history_document(&self, headers: &HeaderMap) -> Answer {
        self.kept(|kept, snapshot| kept.history.answer(snapshot, history::history, headers))
    }

    /// The status as an event, of the latest snapshot.
    pub(super) fn status_event(&self) -> StatusEvent {
        self.kept(|kept, snapshot| {
            if kept.event.is_empty() {
                let json = kept.status.plain(snapshot, status::status);
                let head = format!("id: {}\nevent: status\ndata: ", event_id(snapshot));
                // JSON of one line: nothing in it can end the field early.
                kept.event = [head.as_bytes(), &json, b"\n\n"].concat().into();
            }
            StatusEvent {
                revision: snapshot.revision,
                bytes: kept.event.clone(),
            }
        })
    }

    fn kept<R>(&self, take: impl FnOnce(&mut Documents, &Snapshot) -> R) -> R {
        let snapshot = self.snapshot();
        let mut documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if documents.revision != Some(snapshot.revision) {
            *documents = Documents {
                revision: Some(snapshot.revision),
                ..Documents::default()
            };
        }
        take(&mut documents, &snapshot)
    }
}

/// The start of the process and the revision: a revision alone means something else after a restart, and a watcher who
/// comes back would wait for news that it believes to have.
fn event_id(snapshot: &Snapshot) -> String {
    format!("{:x}-{}", snapshot.epoch.0, snapshot.revision)
}
