//! Bringing about what is wanted. Idempotent: whatever woke the engine, the same look at the state gives the same
//! requests. Every request that could do harm is sent only on the poll that has just been answered.

use super::instance::{Instance, OpenPing, Phase, Plan, Purpose};
use super::request::{Request, Target};
use super::server::Asked;
use super::snapshot::Reach;
use super::time::Mono;
use super::{About, Engine, Failure, FailureKind, InstanceId, OpId, ServerId};
use std::sync::Arc;
use std::time::Duration;

/// The first `/api/tags` of a server scans all model files; nothing else waits for it.
pub(super) const TAGS_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait between two tests whether a busy runner has become idle.
const IDLE_RETRY: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn act(&mut self, now: Mono, server: ServerId) {
        self.end_silent_questions(now, server);
        self.end_late_sight(now, server);
        self.run_wedge(now, server);
        for id in self.on(server).iter().copied() {
            self.run_clocks(now, id);
        }
        self.ask_about_server(now, server);
        if self.servers[server].may_ask() {
            // Sent at this very moment, on the answer that was just taken in, or not at all.
            let fresh = self.fresh == Some(server);
            for id in self.on(server).iter().copied() {
                self.tend(now, id, fresh);
            }
            self.pull_in_turn(now, server);
            self.load_in_turn(now, server);
        }
        self.poll(now, server);
    }

    // === the server as a whole ===

    fn end_silent_questions(&mut self, now: Mono, server: ServerId) {
        let timeout = self.spec.timing.poll_timeout;
        let interval = self.spec.timing.poll_interval;
        let place = &mut self.servers[server];
        if let Some(asked) = place.ps.filter(|asked| now >= asked.at + timeout) {
            place.ps = None;
            place.silent_since.get_or_insert(asked.at);
            place.next_poll = asked.at + interval.max(timeout);
            // Whether only the list is silent or the whole server decides how long the evidence counts.
            place.version_due = true;
            self.drop_op(asked.op);
        }
        let place = &mut self.servers[server];
        if let Some(asked) = place
            .version_asked
            .filter(|asked| now >= asked.at + timeout)
        {
            place.version_asked = None;
            place.version_due = true;
            let went_silent = place.silent_since.is_some() && place.reach != Reach::Silent;
            if went_silent {
                place.reach = Reach::Silent;
                self.say_reach(
                    server,
                    false,
                    "accepts connections and answers nothing".into(),
                );
                let said = "no answer; the server accepts connections and answers nothing";
                self.note_server_error(now, server, &Failure::new(FailureKind::Timeout, said));
            }
            self.drop_op(asked.op);
        }
        let tags = self.servers[server]
            .tags_asked
            .filter(|asked| now >= asked.at + TAGS_TIMEOUT);
        if let Some(asked) = tags {
            self.servers[server].tags_asked = None;
            self.servers[server].next_tags = now + self.spec.timing.tags_interval;
            self.drop_op(asked.op);
        }
        let show = self.servers[server]
            .show_asked
            .filter(|asked| now >= asked.at + TAGS_TIMEOUT);
        if let Some(asked) = show {
            self.servers[server].show_asked = None;
            self.servers[server].show_failed = true;
            self.servers[server].show_not_before = now + IDLE_RETRY;
            self.drop_op(asked.op);
        }
    }

    fn ask_about_server(&mut self, now: Mono, server: ServerId) {
        let place = &self.servers[server];
        let silent = place.silent_since.is_some();
        let reachable = !matches!(place.reach, Reach::Starting | Reach::Down);
        // While a poll is overdue the version is asked beside each of them.
        if place.version_due && place.version_asked.is_none() && (reachable || silent) {
            let op = self.send(now, server, About::Version, Request::Version);
            let place = &mut self.servers[server];
            place.version_due = false;
            place.version_asked = Some(Asked { op, at: now });
        }
        let place = &self.servers[server];
        if !place.may_ask() {
            return;
        }
        if place.tags_asked.is_none() && now >= place.next_tags {
            let op = self.send(now, server, About::Tags, Request::Tags);
            self.servers[server].tags_asked = Some(Asked { op, at: now });
        }
        let place = &self.servers[server];
        if place.show_asked.is_none()
            && now >= place.show_not_before
            && let Some((name, digest)) = place.to_ask.clone()
        {
            let op = self.send(
                now,
                server,
                About::Show { digest },
                Request::Show { model: name },
            );
            self.servers[server].show_asked = Some(Asked { op, at: now });
        }
    }

    fn poll(&mut self, now: Mono, server: ServerId) {
        let place = &self.servers[server];
        if place.ps.is_none() && now >= place.next_poll {
            let op = self.send(now, server, About::Ps, Request::Ps);
            let interval = self.spec.timing.poll_interval;
            let place = &mut self.servers[server];
            place.ps = Some(Asked { op, at: now });
            place.next_poll = now + interval;
        }
    }

    // === one model on one server ===

    /// What is due for an instance while its server answers. `fresh`: a poll was answered at this very moment.
    fn tend(&mut self, now: Mono, id: InstanceId, fresh: bool) {
        self.resume(now, id);
        self.adopt(now, id);
        self.plan_health_check(now, id);
        if !fresh
            || self.servers[self.instances[id].server].evidence
                < self.instances[id].polls_count_from
        {
            self.ask_for_a_poll(now, id);
            return;
        }
        let idle = std::mem::take(&mut self.instances[id].idle_proof) || self.is_seen_idle(now, id);
        let instance = &self.instances[id];
        let unproven = instance.phase == Phase::Verifying && instance.plan.is_none();
        // Asked again it would be loaded again; it answered the ping that showed this.
        if unproven && (now < instance.no_pings_before || instance.is_seen_well()) {
            self.become_ready(now, id);
        }
        if self.instances[id].seen.is_none() || self.instances[id].load.is_some() {
            return;
        }
        self.send_step(now, id, idle);
        self.send_enforcement(now, id, idle);
        self.send_pin(now, id, idle);
        self.send_ping(now, id);
    }

    /// The next attempt joins a load request that is still open.
    fn resume(&mut self, now: Mono, id: InstanceId) {
        let instance = &mut self.instances[id];
        let (Phase::Retrying(due), Some(load)) = (instance.phase, &mut instance.load) else {
            return;
        };
        if now < due {
            return;
        }
        load.attempt_clock = load.working_since.map(|_| now);
        instance.phase = Phase::Loading;
        instance.attempts += 1;
        let totals = instance.totals();
        totals.preload_attempts += 1;
        totals.preload_retries += 1;
    }

    /// Resident without a load of ours: it only has to prove itself.
    fn adopt(&mut self, now: Mono, id: InstanceId) {
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
        let stays_out =
            instance.digest.is_none() || instance.conflict.is_some() || self.is_leaving(now, id);
        if !due || !instance.is_quiet() || stays_out {
            return;
        }
        let Some(seen) = &instance.seen else { return };
        let pinned = seen.view.pinned;
        // A pin, by another name of the weights or by an earlier process, is set on drifted runners as well.
        let declared = self.models[instance.model].context();
        let as_declared = declared.is_none_or(|tokens| tokens == seen.view.context_length);
        let retried = matches!(instance.phase, Phase::Retrying(_));
        let instance = &mut self.instances[id];
        instance.mid_attempt = false;
        instance.leaving_until = None;
        instance.ours = pinned;
        instance.teaches = pinned && as_declared;
        instance.needs_pin = !pinned;
        instance.preloaded_at.get_or_insert(now);
        if retried {
            instance.attempts += 1;
            instance.totals().preload_retries += 1;
        }
        self.conclude_loss(id);
        self.verify_again(now, id);
    }

    fn plan_health_check(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        if instance.phase != Phase::Ready || instance.plan.is_some() || now < instance.next_health {
            return;
        }
        let spec = &self.models[instance.model];
        let plan = Instance::plan_for(spec, Purpose::Health, now);
        let next = now + self.spec.timing.health_interval;
        let instance = &mut self.instances[id];
        instance.plan = plan;
        instance.next_health = next;
        instance.totals().health_checks += 1;
    }

    /// From when on something waits for the runner to be idle.
    pub(super) fn wants_idle_from(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        match instance.plan {
            Some(plan) => plan.needs_idle.then_some(Mono::ZERO),
            None if instance.needs_pin => Some(Mono::ZERO),
            None => self.enforcement_due(id),
        }
    }

    /// Whether something is to be done on the next poll that lists it.
    pub(super) fn wants_a_poll_at(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let plan = instance.plan;
        let here = instance.seen.is_some() && !instance.is_occupied();
        let at_work = matches!(instance.phase, Phase::Ready | Phase::Verifying);
        if !here || !at_work {
            return None;
        }
        if plan.is_some_and(|plan| !plan.needs_idle) {
            let free = self.servers[instance.server]
                .warming
                .is_none_or(|warming| warming == id);
            return free.then(|| self.held_until(id).unwrap_or(Mono::ZERO));
        }
        if instance.is_watched() {
            // Every look tells whether it is idle and well.
            return None;
        }
        let proof_needed = instance.phase == Phase::Verifying && plan.is_none();
        let from = self
            .wants_idle_from(id)
            .or(proof_needed.then_some(Mono::ZERO))
            .filter(|_| instance.ping.is_none())
            .filter(|_| instance.idle_test.is_none() && instance.idle_until.is_none())?;
        let retry = instance.last_ping.map_or(Mono::ZERO, |at| at + IDLE_RETRY);
        let from = from.max(instance.no_pings_before).max(retry);
        Some(from.max(self.pings_from(id)))
    }

    fn ask_for_a_poll(&mut self, now: Mono, id: InstanceId) {
        if self.wants_a_poll_at(id).is_some_and(|at| now >= at) {
            let server = self.instances[id].server;
            self.servers[server].poll_now(now);
        }
    }

    pub(super) fn target(&self, id: InstanceId, resident: bool) -> Target {
        let instance = &self.instances[id];
        let spec = &self.models[instance.model];
        let wanted = Arc::clone(&spec.options);
        let options = if resident {
            instance.runner_options(&wanted)
        } else {
            wanted
        };
        Target {
            model: Arc::clone(&spec.name),
            via: instance.via,
            options,
        }
    }

    fn send_step(&mut self, now: Mono, id: InstanceId, idle: bool) {
        let instance = &self.instances[id];
        let server = instance.server;
        let Some(plan) = instance.plan else { return };
        let at_work = matches!(instance.phase, Phase::Ready | Phase::Verifying);
        let free = self.servers[server]
            .warming
            .is_none_or(|warming| warming == id);
        let held = self.held_until(id).is_some_and(|until| now < until);
        if plan.open.is_some() || !at_work || (plan.needs_idle && !idle) || !free || held {
            return;
        }
        let target = self.target(id, true);
        let spec = &self.models[self.instances[id].model];
        let request = match spec.warmup.get(plan.next) {
            Some(conversation) if plan.next < plan.conversations => {
                let copies = self.copies(id);
                Request::Warmup {
                    target,
                    conversation: conversation.clone(),
                    copies,
                }
            }
            Some(_) | None => Request::Probe(target),
        };
        let op = self.send(now, server, About::Step(id), request);
        if plan.conversations > 0 {
            self.servers[server].warming = Some(id);
        }
        let instance = &mut self.instances[id];
        instance.plan = Some(Plan {
            open: Some((op, now)),
            started: plan.started.or(Some(now)),
            ..plan
        });
        instance.touch();
    }

    /// Only a runner that was just seen idle is pinned: a `keep_alive` overtakes Ollama's queue and would overwrite the
    /// mark by which a busy runner is to be unloaded.
    fn send_pin(&mut self, now: Mono, id: InstanceId, idle: bool) {
        let instance = &self.instances[id];
        let Some(seen) = &instance.seen else { return };
        if !instance.needs_pin || !idle || instance.plan.is_some() || !instance.is_quiet() {
            return;
        }
        let ping = OpenPing {
            op: OpId(0),
            at: now,
            expiry_before: seen.expiry,
            is_pin: true,
        };
        let request = Request::Pin(self.target(id, true));
        let op = self.send(now, instance.server, About::Ping(id), request);
        let instance = &mut self.instances[id];
        instance.ping = Some(OpenPing { op, ..ping });
        instance.last_ping = Some(now);
    }

    fn send_ping(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let Some(seen) = &instance.seen else { return };
        let asks = matches!(
            instance.phase,
            Phase::Ready | Phase::Verifying | Phase::Unresponsive
        );
        if instance.ping.is_some()
            || !asks
            || now < instance.no_pings_before
            || !instance.needs_pings()
            || now < self.pings_from(id)
        {
            return;
        }
        let due = instance
            .last_ping
            .is_none_or(|at| now >= at + self.spec.timing.ping_interval);
        let step_open = instance.plan.is_some_and(|plan| plan.open.is_some());
        let asked_for = !step_open
            && self
                .wants_a_poll_at(id)
                .is_some_and(|at| at != Mono::ZERO && now >= at);
        let never =
            instance.last_ping.is_none() && !step_open && self.wants_a_poll_at(id).is_some();
        if !due && !asked_for && !never {
            return;
        }
        let expiry_before = seen.expiry;
        let request = Request::Ping(self.target(id, true));
        let op = self.send(now, instance.server, About::Ping(id), request);
        let instance = &mut self.instances[id];
        instance.ping = Some(OpenPing {
            op,
            at: now,
            expiry_before,
            is_pin: false,
        });
        instance.last_ping = Some(now);
    }
}
