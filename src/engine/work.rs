//! What the runners have computed, summed over the lives of a model's runners, so that no sum ever falls.

use super::sight::{RunnerId, Work};
use super::{Engine, InstanceId, ServerId};

impl Engine {
    /// Adds what each runner has done since it was last asked to its model's sums.
    pub(super) fn count_work(&mut self, server: ServerId) {
        let told: Vec<_> = self.servers[server]
            .watch
            .scene
            .runners
            .iter()
            .filter_map(|runner| Some((runner.id, runner.work?, runner.old)))
            .collect();
        for (id, work, old) in told {
            let Some(owner) = self.owner_of(server, id) else {
                continue;
            };
            let Some(track) = self.servers[server].watch.tracks.get_mut(&id) else {
                continue;
            };
            // What it did before this process began may have been counted by the one before.
            let start = if old { work } else { Work::default() };
            let before = track.counted.replace(work).unwrap_or(start);
            let done = work.since(before);
            if done != Work::default() {
                self.instances[owner].totals().work.add(done);
            }
        }
    }

    /// The declared model whose runner it is. Of several names of the same weights it is the first one: a runner's work
    /// is counted once.
    fn owner_of(&self, server: ServerId, id: RunnerId) -> Option<InstanceId> {
        let has = |instance: &InstanceId| {
            let weights = self.instances[*instance].weights.as_ref();
            let runner = weights.and_then(|weights| self.runner_with(server, weights));
            runner.is_some_and(|runner| runner.id == id)
        };
        let owners = || self.on_server[server].iter().copied().filter(has);
        owners()
            .find(|instance| self.instances[*instance].seen.is_some())
            .or_else(|| owners().next())
    }
}
