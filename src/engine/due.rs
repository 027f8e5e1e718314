//! When the engine wants to be woken: the earliest time at which `act` would do something by itself.

use super::act::TAGS_TIMEOUT;
use super::clocks::VERDICT_AFTER;
use super::instance::{Instance, Phase};
use super::time::Mono;
use super::{Engine, InstanceId, ServerId};

impl Engine {
    /// When the engine wants to be told the time next, if nothing else happens. Always later than the time of the last
    /// event, once that event was handled.
    pub fn next_due(&self) -> Option<Mono> {
        if self.shutting_down {
            return None;
        }
        let servers = self
            .servers
            .keys()
            .filter_map(|server| self.server_due(server));
        let instances = self.instances.keys().filter_map(|id| self.instance_due(id));
        servers.chain(instances).min()
    }

    fn server_due(&self, server: ServerId) -> Option<Mono> {
        let timing = &self.spec.timing;
        let place = &self.servers[server];
        let poll = place
            .ps
            .map_or(place.next_poll, |asked| asked.at + timing.poll_timeout);
        let version = place
            .version_asked
            .map(|asked| asked.at + timing.poll_timeout);
        let tags = match place.tags_asked {
            Some(asked) => Some(asked.at + TAGS_TIMEOUT),
            None => place.may_ask().then_some(place.next_tags),
        };
        let show = match place.show_asked {
            Some(asked) => Some(asked.at + TAGS_TIMEOUT),
            None => (place.may_ask() && place.to_ask.is_some()).then_some(place.show_not_before),
        };
        let stale = place
            .evidence_ends_at(timing)
            .filter(|_| place.evidence_counted);
        [Some(poll), version, tags, show, stale]
            .into_iter()
            .flatten()
            .min()
    }

    fn instance_due(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let pull = instance
            .pull
            .map(|pull| pull.moved_at + self.spec.timing.pull_timeout);
        let load = self.load_due(id);
        let ping = self.ping_due(instance);
        let step = self.step_due(instance);
        let verdict = instance
            .open_loss
            .as_ref()
            .map(|(since, _)| *since + VERDICT_AFTER);
        let next = self.servers[instance.server]
            .may_ask()
            .then(|| self.wish_due(id))
            .flatten();
        [pull, load, ping, step, verdict, next]
            .into_iter()
            .flatten()
            .min()
    }

    fn load_due(&self, id: InstanceId) -> Option<Mono> {
        let timing = &self.spec.timing;
        let instance = &self.instances[id];
        let load = instance.load?;
        let deadline = load.working_since.map(|since| since + timing.load_deadline);
        let attempt = load
            .attempt_clock
            .map(|since| since + timing.preload_timeout);
        let stall = load
            .working_since
            .filter(|_| self.may_stall(id))
            .map(|since| since + self.stall_limit(id));
        [deadline, attempt, stall].into_iter().flatten().min()
    }

    fn ping_due(&self, instance: &Instance) -> Option<Mono> {
        let timing = &self.spec.timing;
        let ping = instance.ping?;
        let judged = !matches!(instance.phase, Phase::Ready | Phase::Verifying);
        Some(
            ping.at
                + if judged {
                    timing.load_deadline
                } else {
                    timing.slow_after
                },
        )
    }

    fn step_due(&self, instance: &Instance) -> Option<Mono> {
        let timing = &self.spec.timing;
        let plan = instance.plan?;
        let (_, sent) = plan.open?;
        let deadline = sent + timing.load_deadline;
        if plan.overdue {
            return Some(deadline);
        }
        let limit = if plan.conversations > 0 {
            plan.started.unwrap_or(sent) + timing.warmup_timeout
        } else {
            sent + timing.probe_timeout
        };
        Some(deadline.min(limit))
    }

    /// What an instance waits for while its server answers.
    fn wish_due(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let not_before = instance.not_before.max(self.yields_until(id));
        let phase = match instance.phase {
            Phase::Retrying(time) if instance.load.is_some() => Some(time),
            Phase::Retrying(time) | Phase::Failed(time) | Phase::Quarantined(time)
                if self.would_start(id) =>
            {
                Some(time.max(not_before))
            }
            Phase::Waiting if self.would_start(id) => Some(not_before),
            Phase::Ready if instance.plan.is_none() => Some(instance.next_health),
            Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Unresponsive
            | Phase::Excluded => None,
        };
        let no_poll = self.servers[instance.server].ps.is_none();
        let poll = self.wants_a_poll_at(id).filter(|_| no_poll);
        [phase, poll, self.pull_due(id)].into_iter().flatten().min()
    }

    /// Whether nothing but time keeps a waiting instance from being loaded.
    fn would_start(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        self.may_be_loaded(id)
            && instance.leaving_until.is_none()
            && (!self.is_updated_first(id) || self.has_free_pull(instance.server))
            && place.ps.is_none()
            && self.free_loads(instance.server) > 0
    }
}
