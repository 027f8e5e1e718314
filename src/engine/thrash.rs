//! When more is declared than fits: who waits for whom, and who gives up, so that there is no endless fight.

use super::instance::{Phase, Usurper};
use super::losses::Crowd;
use super::request::Resident;
use super::server::Eviction;
use super::time::Mono;
use super::{Engine, Failure, FailureKind, InstanceId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A model that was pushed out by our own loads so often within the conflict window does not fit beside the others.
const ROUNDS: usize = 2;

/// Longest wait before a quarantined model is tried again.
const LONGEST_QUARANTINE: Duration = Duration::from_secs(3600);

impl Engine {
    // === models of other people ===

    /// Notes that an undeclared model took the place of a lost one.
    pub(super) fn note_usurper(&mut self, now: Mono, id: InstanceId, crowd: &Crowd) {
        if self.spec.timing.reclaim_after.is_zero() || self.instances[id].usurper.is_some() {
            return;
        }
        let newcomer = crowd
            .newcomers
            .iter()
            .position(|newcomer| !newcomer.declared);
        let entry = newcomer.and_then(|row| crowd.entries.get(row));
        let Some(entry) = entry else { return };
        self.instances[id].usurper = Some(Usurper {
            name: Arc::clone(&entry.name),
            digest: Arc::clone(&entry.digest),
            expiry: (entry.expires_at, entry.expires_nanos),
            still_since: now,
        });
        self.instances[id].touch();
    }

    /// Follows the undeclared model from poll to poll: its expiry moves whenever a request for it ends.
    pub(super) fn watch_usurper(&mut self, now: Mono, id: InstanceId, entries: &[Resident]) {
        let instance = &mut self.instances[id];
        let Some(usurper) = &mut instance.usurper else {
            return;
        };
        match entries.iter().find(|entry| entry.digest == usurper.digest) {
            None => {
                instance.usurper = None;
                instance.touch();
            }
            Some(entry) => {
                let expiry = (entry.expires_at, entry.expires_nanos);
                if usurper.expiry != expiry {
                    usurper.expiry = expiry;
                    usurper.still_since = now;
                }
            }
        }
    }

    /// Until when a lost model leaves its place to the undeclared one that took it.
    pub(super) fn yields_until(&self, id: InstanceId) -> Mono {
        let usurper = self.instances[id].usurper.as_ref();
        usurper.map_or(Mono::ZERO, |usurper| {
            usurper.still_since + self.spec.timing.reclaim_after
        })
    }

    // === our own models ===

    /// One of our loads cost one of our models. Twice is a pattern: the set does not fit.
    pub(super) fn note_own_eviction(&mut self, now: Mono, victim: InstanceId, culprit: InstanceId) {
        let window = self.spec.timing.conflict_window;
        let server = self.instances[victim].server;
        let place = &mut self.servers[server];
        place
            .own_evictions
            .retain(|eviction| now.since(eviction.at) < window);
        place.own_evictions.push(Eviction {
            at: now,
            victim,
            culprit,
        });
        let rounds = place
            .own_evictions
            .iter()
            .filter(|eviction| eviction.victim == victim)
            .count();
        let evictions = self.servers[server].own_evictions.iter();
        let set: BTreeSet<_> = evictions
            .flat_map(|eviction| [eviction.victim, eviction.culprit])
            .collect();
        let weakest = self
            .on(server)
            .iter()
            .rev()
            .copied()
            .find(|id| set.contains(id));
        // A model that was tried again and did the same as before has had its rounds.
        let again = self.instances[culprit].barred_times > 0;
        let Some(loser) = (if again {
            Some(culprit)
        } else {
            weakest.filter(|_| rounds >= ROUNDS)
        }) else {
            return;
        };
        self.servers[server].own_evictions.clear();
        self.bar(now, loser, &set);
    }

    /// Keeps a model out for a while, and says with whom it does not fit.
    fn bar(&mut self, now: Mono, id: InstanceId, set: &BTreeSet<InstanceId>) {
        let times = self.instances[id].barred_times.min(16);
        let wait = self
            .spec
            .timing
            .health_interval
            .saturating_mul(1 << times)
            .min(LONGEST_QUARANTINE);
        let instance = &mut self.instances[id];
        instance.barred = Some(now + wait);
        instance.barred_times += 1;
        let server = instance.server;
        let name = Arc::clone(&self.models[instance.model].name);
        let others: Vec<_> = set
            .iter()
            .filter(|other| **other != id)
            .map(|other| {
                let megabytes = self.instances[*other].last_size.unwrap_or_default() / 1_000_000;
                format!(
                    "{} ({megabytes} MB)",
                    self.models[self.instances[*other].model].name
                )
            })
            .collect();
        let said = format!(
            "{name} does not fit beside {}; raise OLLAMA_MAX_LOADED_MODELS to at least {}, add memory, or declare fewer models",
            others.join(", "),
            self.on(server).len(),
        );
        self.note_error(now, id, &Failure::new(FailureKind::OutOfMemory, &said));
        self.advise(Some(&name), said);
        self.quarantine_if_out(id);
    }

    /// A barred model keeps what it has; once it is out, it stays out for its time.
    pub(super) fn quarantine_if_out(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id];
        let Some(until) = instance.barred else { return };
        let out = instance.seen.is_none() && instance.load.is_none();
        if out && matches!(instance.phase, Phase::Waiting | Phase::Retrying(_)) {
            instance.phase = Phase::Quarantined(until);
            instance.barred = None;
            instance.touch();
        }
    }
}
