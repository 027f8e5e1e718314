//! Metrics for Prometheus. State is read from the snapshot when it is asked for, so no series of a model that is gone
//! can stay behind; there are no global registries.
//!
//! [`Metrics::register`] puts them into any registry; [`Exposition`] is the text that `/metrics` serves.

mod exposition;
mod families;
mod family;
mod lines;
mod process;
mod runner_families;

pub(crate) use exposition::compress;
pub use exposition::{CONTENT_TYPE, Exposition};
pub use family::{Family, Kind};

use crate::engine::{Snapshot, UnixMillis};
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::watch;

/// All metrics but those of the process.
pub const FAMILIES: [Family; families::FAMILIES.len() + runner_families::FAMILIES.len()] =
    family::joined(&families::FAMILIES, &runner_families::FAMILIES);

/// When the configuration was last read, and whether that worked; shared with whoever reads it.
#[derive(Debug, Default)]
pub struct ConfigReload {
    successful: AtomicBool,
    success_at: AtomicI64,
}

impl ConfigReload {
    /// The configuration was read and taken over.
    pub fn succeeded(&self, at: UnixMillis) {
        self.success_at.store(at.0, Ordering::Relaxed);
        self.successful.store(true, Ordering::Relaxed);
    }

    /// The configuration could not be taken over; the one before stays in force.
    pub fn failed(&self) {
        self.successful.store(false, Ordering::Relaxed);
    }
}

/// The collector over the latest snapshot.
#[derive(Clone, Debug)]
pub struct Metrics {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reload: Arc<ConfigReload>,
}

impl Metrics {
    /// Metrics of the snapshots that come through `snapshots`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, reload: Arc<ConfigReload>) -> Self {
        Self { snapshots, reload }
    }

    /// Puts all metrics of the preloader and of its process into a registry of a program around us, which then serves
    /// them itself. Our own `/metrics` goes the shorter way of [`Metrics::write`].
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(SnapshotCollector {
            metrics: self.clone(),
            descs: descs()?,
        }))?;
        registry.register(Box::new(process::ProcessCollector::new()?))
    }
}

impl Metrics {
    /// Appends the text of all metrics but those of the process.
    pub fn write(&self, text: &mut String) {
        self.with_facts(|facts| {
            for family in &FAMILIES {
                family.write(facts, text);
            }
        });
    }

    fn with_facts<T>(&self, make: impl FnOnce(&family::Facts<'_>) -> T) -> T {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        make(&family::Facts {
            snapshot: &snapshot,
            reload_successful: self.reload.successful.load(Ordering::Relaxed),
            reload_success_at: UnixMillis(self.reload.success_at.load(Ordering::Relaxed)),
        })
    }
}

fn descs() -> prometheus::Result<Vec<Desc>> {
    let desc = |family: &Family| {
        let labels = family
            .labels
            .iter()
            .map(|label| (*label).to_owned())
            .collect();
        Desc::new(
            family.name.to_owned(),
            family.help.to_owned(),
            labels,
            HashMap::new(),
        )
    };
    FAMILIES.iter().map(desc).collect()
}

struct SnapshotCollector {
    metrics: Metrics,
    descs: Vec<Desc>,
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.metrics.with_facts(|facts| {
            FAMILIES
                .iter()
                .map(|family| family.collect(facts))
                .filter(|made| !made.get_metric().is_empty())
                .collect()
        })
    }
}

#[cfg(test)]
mod tests;
