//! Which load is sent when: in order, within the limit, and only on the answer of a poll that was made for it.

use super::instance::{OpenLoad, Phase};
use super::request::Request;
use super::time::Mono;
use super::{About, Engine, InstanceId, OpId, ServerId};

impl Engine {
    /// Whether an instance shall be loaded now, but for the limit of concurrent loads.
    fn wants_load(&self, now: Mono, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let due = match instance.phase {
            Phase::Waiting => true,
            Phase::Retrying(due) | Phase::Failed(due) | Phase::Quarantined(due) => now >= due,
            Phase::Pulling
            | Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Unresponsive
            | Phase::Excluded => false,
        };
        due && now >= instance.not_before
            && now >= self.yields_until(id)
            && instance.seen.is_none()
            && self.may_be_loaded(id)
    }

    /// Whether nothing but its turn and time keeps an instance that is not there from being loaded.
    pub(super) fn may_be_loaded(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        instance.is_quiet()
            && instance.digest.is_some()
            && instance.weights.is_some()
            && instance.conflict.is_none()
            && !instance.held
            && !self.is_missing(id)
            && !self.is_loading_elsewhere(id)
            && !self.may_be_returning(id)
    }

    /// Whether another name of the same weights is being loaded. A second load would meet the runner when it is in use,
    /// with a `keep_alive`; once it is listed, both names have it.
    fn is_loading_elsewhere(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let loads = self.servers[instance.server].loads.iter();
        loads
            .map(|other| &self.instances[*other])
            .any(|other| other.weights.is_some() && other.weights == instance.weights)
    }

    /// How many more loads may be sent; none before it is known what every resident runner holds.
    pub(super) fn free_loads(&self, server: ServerId) -> usize {
        let place = &self.servers[server];
        if !place.residents_known || !place.catalog.is_known() {
            return 0;
        }
        self.spec
            .timing
            .concurrency
            .max(1)
            .saturating_sub(place.loads.len())
    }

    /// Sends the loads that are due, in their order, on a poll that was made for them.
    pub(super) fn load_in_turn(&mut self, now: Mono, server: ServerId) {
        let mut free = self.free_loads(server);
        let place = &self.servers[server];
        let fresh = self.fresh == Some(server);
        let asked = place.evidence;
        let first_looks = !place.show_failed;
        for id in self.on(server).iter().copied() {
            if free == 0 {
                break;
            }
            let unknown =
                self.instances[id].digest.is_some() && self.instances[id].weights.is_none();
            if unknown && first_looks {
                // Its turn comes before that of the others; `show` answers within a millisecond.
                break;
            }
            if !self.wants_load(now, id) {
                self.instances[id].wished = None;
                continue;
            }
            let update = self.is_updated_first(id);
            if update && !self.has_free_pull(server) {
                continue;
            }
            free -= 1;
            let next_op = OpId(self.next_op);
            let wished = *self.instances[id].wished.get_or_insert(next_op);
            if fresh && wished <= asked {
                if update {
                    self.send_pull(now, id);
                } else {
                    self.send_load(now, id);
                }
            } else {
                self.servers[server].poll_now(now);
            }
        }
    }

    fn send_load(&mut self, now: Mono, id: InstanceId) {
        let server = self.instances[id].server;
        let target = self.target(id, false);
        let op = self.send(now, server, About::Load(id), Request::Load(target));
        let place = &mut self.servers[server];
        let working_since = place.loads.is_empty().then_some(now);
        place.loads.push(id);
        self.server_changed(server);
        let instance = &mut self.instances[id];
        instance.wished = None;
        if !std::mem::take(&mut instance.mid_attempt) {
            instance.begin_attempt();
        }
        instance.load = Some(OpenLoad {
            op,
            working_since,
            attempt_clock: working_since,
            stall_reported: false,
        });
        instance.phase = Phase::Loading;
        instance.touch();
    }
}
