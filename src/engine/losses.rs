//! What follows when a model is lost or an attempt fails: evidence is gathered, and the next step decided.

use super::instance::{Instance, Phase, Purpose};
use super::loss::{Evidence, Newcomer, judge};
use super::request::Resident;
use super::schedule::backoff;
use super::snapshot::{LossCause, LossView};
use super::time::Mono;
use super::{Effect, Engine, Failure, FailureKind, InstanceId, Notice, ServerId, count};
use std::sync::Arc;
use std::time::Duration;

/// What is left of a lost model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// `/api/ps` does not list it any more.
    FromList,
    /// It is listed, but its prompt cache is empty.
    StillResident,
    /// It is listed, but its runner does not answer.
    Silent,
    /// Requests for it fail; the caller decides what follows.
    Unusable,
}

/// Who came and went between two polls.
pub(super) struct Crowd {
    /// Who appeared, and its entry, in the same order.
    pub(super) newcomers: Vec<Newcomer>,
    pub(super) entries: Vec<Resident>,
    /// The load of ours that was under way, or has just ended.
    loading: Option<InstanceId>,
    /// The names of all that are resident now.
    names: Vec<Arc<str>>,
    vanished: usize,
    stayed: usize,
}

impl Engine {
    /// Compares two polls of a server.
    pub(super) fn crowd(&self, server: ServerId, entries: &[Resident]) -> Crowd {
        let place = &self.servers[server];
        let before = &place.resident;
        let was_there = |entry: &&Resident| before.iter().any(|old| old.digest == entry.digest);
        let new: Vec<_> = entries
            .iter()
            .filter(|entry| !was_there(entry))
            .cloned()
            .collect();
        let owners: Vec<_> = new.iter().map(|entry| self.owner(server, entry)).collect();
        let is_ours =
            |id: &InstanceId| self.instances[*id].ours || self.instances[*id].load.is_some();
        let newcomers = new
            .iter()
            .zip(&owners)
            .map(|(entry, owner)| Newcomer {
                name: Arc::clone(&entry.name),
                ours: owner.as_ref().is_some_and(is_ours),
                declared: owner.is_some(),
            })
            .collect();
        let stayed = entries.iter().filter(was_there).count();
        Crowd {
            newcomers,
            entries: new,
            loading: place
                .loads
                .first()
                .copied()
                .or_else(|| owners.into_iter().flatten().find(is_ours)),
            names: entries
                .iter()
                .map(|entry| Arc::clone(&entry.name))
                .collect(),
            vanished: before.len() - stayed.min(before.len()),
            stayed,
        }
    }

    /// The declared model that runs on an entry's weights.
    fn owner(&self, server: ServerId, entry: &Resident) -> Option<InstanceId> {
        let weights = self.servers[server].catalog.weights(&entry.digest);
        self.on_server[server]
            .iter()
            .copied()
            .find(|id| self.instances[*id].weights.as_ref() == Some(&weights))
    }

    pub(super) fn unlisted(&mut self, now: Mono, id: InstanceId, crowd: &Crowd) {
        let instance = &mut self.instances[id];
        let before = instance.seen.take();
        instance.idle_test = None;
        instance.idle_until = None;
        instance.slow_ping = false;
        instance.leaving_until = None;
        if !instance.drift.is_empty() {
            instance.drift.clear();
            instance.drift_detail = None;
        }
        if before.is_some() {
            instance.touch();
        }
        match instance.phase {
            Phase::Ready | Phase::Verifying | Phase::Unresponsive if instance.load.is_none() => {
                let evidence = self.gather(
                    now,
                    id,
                    before
                        .as_ref()
                        .map(|seen| (seen.view.pinned, seen.view.expires_at)),
                    crowd,
                );
                let culprit = crowd.loading.filter(|culprit| *culprit != id);
                let ours = evidence
                    .newcomers
                    .first()
                    .is_some_and(|newcomer| newcomer.ours);
                self.lose(now, id, evidence, Gone::FromList);
                self.note_usurper(now, id, crowd);
                if let Some(culprit) = culprit.filter(|_| ours) {
                    self.note_own_eviction(now, id, culprit);
                }
                self.quarantine_if_out(id);
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
            | Phase::Excluded => {
                if self.instances[id].open_loss.is_some() {
                    self.note_usurper(now, id, crowd);
                }
                self.add_newcomers(id, crowd);
            }
        }
    }

    fn gather(
        &self,
        now: Mono,
        id: InstanceId,
        before: Option<(bool, super::UnixMillis)>,
        crowd: &Crowd,
    ) -> Evidence {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        let name = &self.models[instance.model].name;
        let (pinned, expires_at) = before.unwrap_or((true, super::UnixMillis(i64::MAX)));
        let wall = self.epoch.plus(now);
        let mut newcomers = crowd.newcomers.clone();
        // Our own load may have cost the place as well as what somebody else loaded meanwhile.
        if let Some(loading) = crowd.loading.filter(|loading| *loading != id) {
            let other = &self.models[self.instances[loading].model].name;
            if newcomers.iter().all(|newcomer| newcomer.name != *other) {
                newcomers.push(Newcomer {
                    name: Arc::clone(other),
                    ours: true,
                    declared: true,
                });
            }
        }
        Evidence {
            server_was_down: place.was_down,
            version_changed: place.version_changed,
            deleted: place.catalog.is_known() && place.catalog.installed(name).is_none(),
            updated: crowd
                .names
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name)),
            foreign_expiry: !pinned,
            expired: expires_at <= wall,
            repaired_under_ping: instance.ping.is_some(),
            ended: instance
                .sight
                .vanished
                .is_some_and(|vanished| vanished.listed),
            newcomers,
            vanished_together: crowd.vanished.saturating_sub(1),
            stayed: crowd.stayed,
            ..Evidence::default()
        }
    }

    /// A model that took the place appears only once it is loaded, often after the loss was seen.
    fn add_newcomers(&mut self, id: InstanceId, crowd: &Crowd) {
        let Some((_, evidence)) = &mut self.instances[id].open_loss else {
            return;
        };
        evidence.newcomers.extend(
            crowd
                .newcomers
                .iter()
                .filter(|newcomer| !newcomer.ours)
                .cloned(),
        );
        if evidence.is_conclusive() {
            self.instances[id].held = false;
            self.conclude_loss(id);
        }
    }

    /// The lost model is listed while our load waits: a client's own reload had taken it away.
    pub(super) fn note_reload_of_lost(
        &mut self,
        id: InstanceId,
        context: Option<u64>,
        entry: &Resident,
    ) {
        let known = self.instances[id].loaded_context.or(context);
        let Some((_, evidence)) = &mut self.instances[id].open_loss else {
            return;
        };
        if known.is_some_and(|known| known != entry.context_length) {
            evidence.reloaded_as =
                Some(format!("with a context of {}", entry.context_length).into());
            self.conclude_loss(id);
        }
    }

    /// A model that was ready is so no longer; one that was not yet is simply not there.
    pub(super) fn lose(&mut self, now: Mono, id: InstanceId, evidence: Evidence, gone: Gone) {
        let timing = self.spec.timing;
        let was_ready = self.instances[id].phase == Phase::Ready;
        if was_ready {
            self.conclude_loss(id);
            self.instances[id].open_loss = Some((now, evidence));
            let conclusive = self.instances[id]
                .open_loss
                .as_ref()
                .is_some_and(|(_, found)| found.is_conclusive());
            if conclusive || gone != Gone::FromList {
                self.conclude_loss(id);
            } else if !timing.reload_on_unload {
                self.instances[id].held = true;
            }
        }
        let was_there = self.instances[id].phase == Phase::Verifying;
        if was_ready || (was_there && gone == Gone::FromList) {
            self.wait_if_repeated(now, id, gone);
        }
        let instance = &mut self.instances[id];
        instance.attempts = 0;
        instance.mid_attempt = false;
        instance.prompt_warm = instance.prompt_warm.map(|_| false);
        instance.touch();
        match gone {
            Gone::FromList | Gone::Unusable => {
                instance.phase = Phase::Waiting;
                instance.needs_pin = false;
                instance.ours = false;
                instance.teaches = false;
                self.forget_idle_plan(id);
            }
            Gone::StillResident => self.verify_again(now, id),
            Gone::Silent => instance.phase = Phase::Unresponsive,
        }
    }

    /// The first loss is answered at once; further ones within the window wait like retries, also of a model that did
    /// not become ready in between.
    fn wait_if_repeated(&mut self, now: Mono, id: InstanceId, gone: Gone) {
        let timing = self.spec.timing;
        let instance = &mut self.instances[id];
        instance
            .recent_losses
            .retain(|at| now.since(*at) < timing.conflict_window);
        let repeated = u32::try_from(instance.recent_losses.len()).unwrap_or(u32::MAX);
        instance.recent_losses.push(now);
        if repeated == 0 {
            return;
        }
        let first = self.models[instance.model].retry_delay;
        let wait = backoff(first, repeated, &timing, &mut self.rng);
        // Another client's reload in progress looks like a loss; our load would turn it back.
        let reloads = instance
            .options_changed_at
            .is_some_and(|at| now.since(at) < timing.conflict_window);
        let returns = instance
            .expected_load
            .filter(|_| reloads && gone == Gone::FromList)
            .map_or(Duration::ZERO, |expected| expected * 2);
        instance.not_before = now + wait.max(returns);
    }

    /// A step in flight is never dropped; one that was only planned is.
    fn forget_idle_plan(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id];
        if instance.plan.is_some_and(|plan| plan.open.is_none()) {
            instance.plan = None;
            let place = &mut self.servers[instance.server];
            place.warming = place.warming.filter(|warming| *warming != id);
        }
    }

    /// Resident, but it has to prove itself before it is ready.
    pub(super) fn verify_again(&mut self, now: Mono, id: InstanceId) {
        let spec = &self.models[self.instances[id].model];
        let fresh = Instance::plan_for(spec, Purpose::Verify, now);
        let instance = &mut self.instances[id];
        instance.phase = Phase::Verifying;
        instance.sight.unproven_since = now;
        match &mut instance.plan {
            // The step that runs now began before the loss: it does not count, all of them run again after it.
            Some(plan) if plan.open.is_some() => {
                let open = plan.open;
                *plan = fresh.unwrap_or(*plan);
                plan.open = open;
                plan.restart = true;
            }
            plan => *plan = fresh,
        }
        instance.touch();
    }

    pub(super) fn conclude_loss(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id];
        let Some((at, evidence)) = instance.open_loss.take() else {
            return;
        };
        let (model, server) = (instance.model, instance.server);
        let (cause, detail) = judge(&self.models[model].name, &evidence);
        if cause == LossCause::OptionsChanged {
            instance.options_changed_at = Some(at);
        }
        let date = self.epoch.plus(at);
        let detail: Arc<str> = detail.into();
        let totals = instance.totals();
        count(&mut totals.losses, &LossCause::ALL, &cause);
        instance.last_loss = Some(LossView {
            cause,
            at: date,
            detail: Arc::clone(&detail),
        });
        let (model, server) = (
            Arc::clone(&self.models[model].name),
            Arc::clone(&self.servers[server].spec.name),
        );
        self.out.push(Effect::Log(Notice::Lost {
            model,
            server,
            cause,
            detail,
        }));
    }

    /// One attempt failed: another one later, or none that could help.
    pub(super) fn fail_attempt(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let timing = self.spec.timing;
        // What is not there is pulled by the next attempt.
        let pulls = failure.kind == FailureKind::ModelNotFound && self.is_pulled(id);
        let can_help = failure.kind.is_retryable() || pulls;
        if pulls {
            let server = self.instances[id].server;
            self.servers[server].next_tags = now;
        }
        self.note_error(now, id, failure);
        let instance = &mut self.instances[id];
        if instance.attempts > 0 {
            count(
                &mut instance.totals().preload_failures,
                &FailureKind::ALL,
                &failure.kind,
            );
        }
        instance.attempts = instance.attempts.max(1);
        instance.mid_attempt = false;
        let spec = &self.models[instance.model];
        instance.phase = if can_help && instance.attempts <= spec.max_retries {
            Phase::Retrying(
                now + backoff(spec.retry_delay, instance.attempts, &timing, &mut self.rng),
            )
        } else {
            Phase::Failed(now + timing.health_interval)
        };
        self.forget_idle_plan(id);
    }
}
