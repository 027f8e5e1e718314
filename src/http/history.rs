//! `/api/history`: what was. Apart from the status, which is sent to every watcher at every change.

use crate::clock::rfc3339;
use crate::engine::Mono;
use crate::engine::snapshot::{InstanceView, ModelView, Snapshot};
use serde::Serialize;

/// `/api/history`.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryBody {
    /// When this was true.
    pub at: String,
    /// The start of the process. Of the time before nothing is known.
    pub started: String,
    /// When the gate opened and closed, the oldest first; it is as said until the next entry.
    pub gate: Vec<GateChange>,
    /// The models in the order of the configuration.
    pub models: Vec<ModelHistory>,
}

/// The gate opened or closed.
#[derive(Clone, Debug, Serialize)]
pub struct GateChange {
    /// When.
    pub at: String,
    /// Whether it is open since then.
    pub ready: bool,
}

/// The past of a model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelHistory {
    /// Canonical name.
    pub model: String,
    /// One entry for each server that shall have it.
    pub servers: Vec<InstanceHistory>,
}

/// The past of a model on a server.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceHistory {
    /// The server's name.
    pub server: String,
    /// When it came into which state, the oldest first; it is in it until the next entry. Only the last
    /// [`CHANGES_MAX`](crate::engine::snapshot::CHANGES_MAX) changes are kept.
    pub states: Vec<StateChange>,
}

/// A model came into a state.
#[derive(Clone, Debug, Serialize)]
pub struct StateChange {
    /// When.
    pub at: String,
    /// The state; see [`State`](crate::engine::snapshot::State).
    pub status: &'static str,
}

pub(super) fn history(snapshot: &Snapshot) -> HistoryBody {
    let date = |at: Mono| rfc3339(snapshot.date(at));
    let gate = snapshot.gate.history.changes();
    HistoryBody {
        at: date(snapshot.at),
        started: date(Mono::ZERO),
        gate: gate
            .map(|(at, ready)| GateChange {
                at: date(at),
                ready,
            })
            .collect(),
        models: snapshot
            .models
            .iter()
            .map(|model| of_model(snapshot, model))
            .collect(),
    }
}

fn of_model(snapshot: &Snapshot, model: &ModelView) -> ModelHistory {
    let states = |instance: &InstanceView| {
        let changes = instance.history.changes();
        changes
            .map(|(at, state)| StateChange {
                at: rfc3339(snapshot.date(at)),
                status: state.as_str(),
            })
            .collect()
    };
    ModelHistory {
        model: model.name.to_string(),
        servers: model
            .instances
            .iter()
            .map(|instance| InstanceHistory {
                server: instance.server.to_string(),
                states: states(instance),
            })
            .collect(),
    }
}
