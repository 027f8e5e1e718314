//! What is worth knowing again after a restart of the process: how long things take, and what was last lost.

use super::Engine;
use super::snapshot::{LossView, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What was learned of the models, by server and model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory(pub BTreeMap<(Arc<str>, Arc<str>), Remembered>);

/// What was learned of one model on one server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remembered {
    /// How long its last load took.
    pub load: Option<Duration>,
    /// How long its last warm-up took.
    pub warmup: Option<Duration>,
    /// Why it was last lost.
    pub last_loss: Option<LossView>,
}

impl Memory {
    /// What a snapshot shows that is worth knowing again.
    pub fn of(snapshot: &Snapshot) -> Self {
        let instances = snapshot.models.iter().flat_map(|model| {
            let remembered = |instance: &Arc<super::snapshot::InstanceView>| {
                let key = (Arc::clone(&instance.server), Arc::clone(&model.name));
                let facts = Remembered {
                    load: instance.expected_load,
                    warmup: instance.warmup_duration,
                    last_loss: instance.last_loss.clone(),
                };
                (facts != Remembered::default()).then_some((key, facts))
            };
            model.instances.iter().filter_map(remembered)
        });
        Self(instances.collect())
    }
}

impl Engine {
    /// Takes over what an earlier process learned. What is not declared any more is ignored.
    pub fn recall(&mut self, memory: &Memory) {
        for id in self.instances.keys() {
            let instance = &self.instances[id];
            let server = Arc::clone(&self.servers[instance.server].spec.name);
            let model = Arc::clone(&self.models[instance.model].name);
            let Some(known) = memory.0.get(&(server, model)) else {
                continue;
            };
            let instance = &mut self.instances[id];
            instance.expected_load = known.load;
            instance.warmup_duration = known.warmup;
            instance.last_loss.clone_from(&known.last_loss);
            instance.touch();
        }
        self.changed = true;
    }
}
