//! The admin server: status, metrics, probes and the page. Every answer is made from the latest snapshot; none waits
//! for Ollama.

mod body;
mod page;
mod respond;
mod router;
mod server;
mod status;

pub use body::{
    ActivityEntry, ErrorEntry, InstanceEntry, InstanceFacts, LossEntry, ModelEntry,
    NamedModelEntry, ReadyBody, ServerEntry, StatusBody,
};

pub use server::{BindError, Bound, CONNECTIONS_MAX};

use crate::engine::Snapshot;
use crate::metrics::Exposition;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What the routes answer from.
#[derive(Debug)]
pub struct Surface {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    exposition: Exposition,
    /// The JSON documents of the snapshot they were made for.
    documents: Mutex<router::Documents>,
}

impl Surface {
    /// A surface over the latest of `snapshots`, with the metrics of `exposition`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, exposition: Exposition) -> Self {
        Self {
            snapshots,
            exposition,
            documents: Mutex::default(),
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }
}

#[cfg(test)]
mod tests;
