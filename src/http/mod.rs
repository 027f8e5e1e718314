//! The admin server: status, history, events, metrics, probes and the page. Every answer is made from the latest
//! snapshot; none waits for Ollama.

mod body;
mod documents;
mod events;
mod history;
mod limits;
mod page;
mod patience;
mod respond;
mod router;
mod server;
mod status;

pub use body::{
    ActivityEntry, ErrorEntry, InstanceEntry, InstanceFacts, LossEntry, ModelEntry,
    NamedModelEntry, ReadyBody, ServerEntry, StatusBody,
};

pub use history::{GateChange, HistoryBody, InstanceHistory, ModelHistory, StateChange};
pub use limits::{CONNECTIONS_MAX, SUBSCRIBERS_MAX};
pub use server::{BindError, Bound};

use crate::engine::Snapshot;
use crate::metrics::Exposition;
use limits::Limits;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What the routes answer from.
#[derive(Debug)]
pub struct Surface {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    exposition: Exposition,
    /// The JSON documents of the snapshot they were made for.
    documents: Mutex<documents::Documents>,
    events: events::Events,
    limits: Limits,
}

impl Surface {
    /// A surface over the latest of `snapshots`, with the metrics of `exposition`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, exposition: Exposition) -> Self {
        Self::with_limits(snapshots, exposition, Limits::of_this_process())
    }

    fn with_limits(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        exposition: Exposition,
        limits: Limits,
    ) -> Self {
        Self {
            snapshots,
            exposition,
            documents: Mutex::default(),
            events: events::Events::new(limits.subscribers),
            limits,
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }
}

#[cfg(test)]
mod tests;
