//! What the other rooms of the engine learn from looks: who is idle, how many slots there are, what may come back by
//! itself, and what is not seen.

use super::catalog::Weights;
use super::instance::Phase;
use super::sight::Life;
use super::time::Mono;
use super::watch::{IDLE_FRESH, Watched};
use super::{Engine, InstanceId, ServerId};
use std::sync::Arc;
use std::time::Duration;

/// A listed model whose runner is not seen for so long will not be seen.
const UNSEEN_AFTER: Duration = Duration::from_secs(5);

/// Longest wait for what only the next looks can tell: how a new runner is, and how many slots it has.
const TWO_LOOKS: Duration = Duration::from_secs(2);

impl Engine {
    /// Whether its runner was just seen idle.
    pub(super) fn is_seen_idle(&self, now: Mono, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let idle = |runner: Watched| {
            runner.clients == 0 && runner.life == Life::Well && now < runner.seen_at + IDLE_FRESH
        };
        instance.is_watched() && instance.sight.watched.is_some_and(idle)
    }

    /// Until when the first conversation of a warm-up waits for the number of its runner's slots.
    pub(super) fn held_until(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let plan = instance.plan?;
        let waits = plan.conversations > 0
            && plan.started.is_none()
            && instance.sight.slots.is_none()
            && self.models[instance.model].warmup_parallel == 0
            && self.is_observed(instance.server);
        waits.then(|| plan.wanted_since + TWO_LOOKS)
    }

    /// How many times a conversation runs at the same time.
    pub(super) fn copies(&self, id: InstanceId) -> usize {
        let instance = &self.instances[id];
        match self.models[instance.model].warmup_parallel {
            0 => instance
                .sight
                .slots
                .unwrap_or(self.spec.timing.slots_guess)
                .max(1),
            declared => declared,
        }
    }

    /// Somebody loads something, and it may be this model that vanished: a load of ours would only turn it back. The
    /// first look after the loss tells.
    pub(super) fn may_be_returning(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        let Some((lost_at, _)) = instance.open_loss else {
            return false;
        };
        let watch = &place.watch;
        let unclear = watch.is_loading() || watch.scene.unclear > 0 || watch.at < lost_at;
        place.watch.hidden.is_none() && place.loads.is_empty() && unclear
    }

    /// Until when the next looks, instead of a ping, have time to tell how a new runner is.
    pub(super) fn pings_from(&self, id: InstanceId) -> Mono {
        let instance = &self.instances[id];
        let watch = &self.servers[instance.server].watch;
        let looks_tell = watch.hidden.is_none() && watch.note.is_none();
        match instance.phase {
            Phase::Ready | Phase::Verifying if looks_tell => {
                instance.sight.unproven_since + TWO_LOOKS
            }
            Phase::Ready
            | Phase::Verifying
            | Phase::Unresponsive
            | Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Excluded => Mono::ZERO,
        }
    }

    /// The undeclared model that took the place is in use as long as its runner has clients.
    pub(super) fn see_usurper_at_work(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let Some(usurper) = &instance.usurper else {
            return;
        };
        let weights = self.servers[instance.server]
            .catalog
            .weights(&usurper.digest);
        let works = self
            .runner_with(instance.server, &weights)
            .is_some_and(|runner| runner.clients > 0);
        if let Some(usurper) = self.instances[id].usurper.as_mut().filter(|_| works) {
            usurper.still_since = now;
        }
    }

    /// Says which listed models are not seen, and why that may be.
    pub(super) fn note_unseen(&mut self, now: Mono, server: ServerId) {
        let unseen = self.on_server[server].iter().copied().find(|id| {
            let since = self.instances[*id].sight.unseen_since;
            since.is_some_and(|since| now >= since + UNSEEN_AFTER)
        });
        let note = unseen.map(|id| self.why_unseen(server, id));
        if note != self.servers[server].watch.note {
            self.servers[server].watch.note = note;
            self.server_changed(server);
        }
    }

    fn why_unseen(&self, server: ServerId, id: InstanceId) -> Arc<str> {
        let instance = &self.instances[id];
        let name = &self.models[instance.model].name;
        let Some(Weights::Blob(blob, _)) = &instance.weights else {
            return format!(
                "the runner of {name} is of another kind than is recognised; it is pinged"
            )
            .into();
        };
        let mut runners = self.servers[server].watch.with(blob);
        let Some(first) = runners.next() else {
            return format!(
                "no runner of {name} is seen here; the server may run in another network namespace behind a forwarded \
                 port, or its runner is of another kind than is recognised; it is pinged"
            )
            .into();
        };
        let other = self.shares_with(server, blob, first.id);
        match other.map(|other| &self.servers[other].spec.name) {
            Some(other) => format!(
                "the runner of {name} may be that of server {other}: both run as the same user on the same models; it is pinged"
            ),
            None => format!("several runners have the weights of {name}, perhaps of several servers; it is pinged"),
        }
        .into()
    }
}
