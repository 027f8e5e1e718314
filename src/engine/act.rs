//! Bringing about what is wanted. Idempotent: whatever woke the engine, the same look at the state gives the same
//! requests. Every request that could do harm is sent only on the poll that has just been answered.

use super::instance::{OpenLoad, OpenPing, Phase};
use super::loss::Evidence;
use super::losses::Gone;
use super::request::{Request, Target};
use super::server::{Asked, Server};
use super::snapshot::Reach;
use super::time::Mono;
use super::{About, Engine, Failure, FailureKind, InstanceId, OpId, ServerId};
use std::sync::Arc;
use std::time::Duration;

/// The first `/api/tags` of a server scans all model files; nothing else waits for it.
const TAGS_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait between two tests whether a busy runner has become idle.
const IDLE_RETRY: Duration = Duration::from_secs(1);

/// A load that takes longer than this, and than twice the expected time, while all else stands still, is reported.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A cause that is not clear after this time stays unknown.
const VERDICT_AFTER: Duration = Duration::from_secs(60);

impl Engine {
    pub(super) fn act(&mut self, now: Mono, server: ServerId) {
        self.end_silent_questions(now, server);
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
            && let Some((name, digest)) = self.unknown_weights(server)
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

    /// A name whose weights have to be asked for: of a declared model first, else of what is resident.
    fn unknown_weights(&self, server: ServerId) -> Option<(Arc<str>, Arc<str>)> {
        let catalog = &self.servers[server].catalog;
        let declared = self.on_server[server].iter().find_map(|id| {
            let instance = &self.instances[*id];
            let name = &self.models[instance.model].name;
            let digest = instance.digest.as_ref()?;
            catalog
                .must_ask(name, digest)
                .then(|| (Arc::clone(name), Arc::clone(digest)))
        });
        declared.or_else(|| {
            let resident = self.servers[server].resident.iter();
            resident
                .filter(|entry| catalog.must_ask(&entry.name, &entry.digest))
                .map(|entry| (Arc::clone(&entry.name), Arc::clone(&entry.digest)))
                .next()
        })
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

    // === what time alone decides ===

    fn run_clocks(&mut self, now: Mono, id: InstanceId) {
        self.run_load_clock(now, id);
        self.run_ping_clock(now, id);
        self.run_step_clock(now, id);
        let instance = &self.instances[id];
        if instance
            .open_loss
            .as_ref()
            .is_some_and(|(at, _)| now >= *at + VERDICT_AFTER)
        {
            self.conclude_loss(id);
        }
    }

    fn run_load_clock(&mut self, now: Mono, id: InstanceId) {
        let timing = self.spec.timing;
        let Some(load) = self.instances[id].load else {
            return;
        };
        if load
            .working_since
            .is_some_and(|since| now >= since + timing.load_deadline)
        {
            self.drop_op(load.op);
            self.end_load(now, id);
            let said = format!(
                "no answer for {} s; the load was dropped",
                timing.load_deadline.as_secs()
            );
            self.fail_attempt(now, id, &Failure::new(FailureKind::Timeout, said));
            return;
        }
        if load
            .attempt_clock
            .is_some_and(|since| now >= since + timing.preload_timeout)
        {
            self.time_out_attempt(now, id);
        }
        if self.is_stalled(now, id) {
            let place = &self.servers[self.instances[id].server];
            let in_the_way = place
                .resident
                .first()
                .map_or_else(String::new, |entry| entry.name.to_string());
            let said = format!(
                "the load stands still although the server answers; {in_the_way} is in the way"
            );
            self.note_error(now, id, &Failure::new(FailureKind::LoadStalled, &said));
            let name = Arc::clone(&self.models[self.instances[id].model].name);
            self.advise(
                Some(&name),
                format!("{said}; `ollama stop {in_the_way}` ends it"),
            );
            if let Some(load) = &mut self.instances[id].load {
                load.stall_reported = true;
            }
        }
    }

    /// The attempt is over, its request is not: dropping it would make Ollama start from zero.
    fn time_out_attempt(&mut self, now: Mono, id: InstanceId) {
        let timing = self.spec.timing;
        let failure = Failure::new(
            FailureKind::Timeout,
            format!(
                "Preload timeout after {}ms",
                timing.preload_timeout.as_millis()
            ),
        );
        let Some(open) = &mut self.instances[id].load else {
            return;
        };
        open.attempt_clock = None;
        let op = open.op;
        if timing.abort_on_timeout {
            self.drop_op(op);
            self.end_load(now, id);
        }
        self.fail_attempt(now, id, &failure);
        let instance = &mut self.instances[id];
        if instance.load.is_some() && matches!(instance.phase, Phase::Failed(_)) {
            // The retries are used up, but the request may still succeed.
            instance.phase = Phase::Loading;
        }
    }

    fn stall_limit(&self, id: InstanceId) -> Duration {
        self.instances[id]
            .load_duration
            .map_or(STALLED_AFTER, |expected| STALLED_AFTER.max(expected * 2))
    }

    fn is_stalled(&self, now: Mono, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        let overdue = instance.load.is_some_and(|load| {
            !load.stall_reported
                && load
                    .working_since
                    .is_some_and(|since| now >= since + self.stall_limit(id))
        });
        overdue && place.may_ask() && !place.resident.is_empty()
    }

    fn run_ping_clock(&mut self, now: Mono, id: InstanceId) {
        let timing = self.spec.timing;
        let Some(ping) = self.instances[id].ping else {
            return;
        };
        if now >= ping.at + timing.load_deadline {
            self.drop_op(ping.op);
            self.instances[id].ping = None;
            return;
        }
        if now < ping.at + timing.slow_after {
            return;
        }
        match self.instances[id].phase {
            Phase::Ready | Phase::Verifying => {
                self.lose(
                    now,
                    id,
                    Evidence {
                        silent: true,
                        ..Evidence::default()
                    },
                    Gone::Silent,
                );
                let said = format!(
                    "no answer to a ping for {} ms",
                    timing.slow_after.as_millis()
                );
                self.note_error(now, id, &Failure::new(FailureKind::RunnerHung, said));
            }
            Phase::Waiting
            | Phase::Loading
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Unresponsive
            | Phase::Excluded => {}
        }
    }

    fn run_step_clock(&mut self, now: Mono, id: InstanceId) {
        let timing = self.spec.timing;
        let Some(plan) = self.instances[id].plan else {
            return;
        };
        let Some((op, at)) = plan.open else { return };
        if now >= at + timing.load_deadline {
            self.drop_op(op);
            self.instances[id].plan = None;
            let server = self.instances[id].server;
            let place = &mut self.servers[server];
            place.warming = place.warming.filter(|warming| *warming != id);
            let said = format!(
                "no answer for {} s; the request was dropped",
                timing.load_deadline.as_secs()
            );
            self.fail_attempt(
                now,
                id,
                &Failure::new(FailureKind::VerificationFailed, said),
            );
            return;
        }
        let limit = if plan.conversations > 0 {
            timing.warmup_timeout
        } else {
            timing.probe_timeout
        };
        let begun = if plan.conversations > 0 {
            plan.started.unwrap_or(at)
        } else {
            at
        };
        if plan.overdue || now < begun + limit {
            return;
        }
        if let Some(plan) = &mut self.instances[id].plan {
            plan.overdue = true;
        }
        // It answers pings and computes nothing, or it computes for longer than anybody should wait.
        let said = format!("no answer to a request for {} s", limit.as_secs());
        if self.instances[id].phase == Phase::Ready {
            self.count_step_failure(id, &plan, FailureKind::RunnerHung);
            self.lose(
                now,
                id,
                Evidence {
                    silent: true,
                    ..Evidence::default()
                },
                Gone::Silent,
            );
            self.note_error(now, id, &Failure::new(FailureKind::RunnerHung, said));
        } else {
            self.count_step_failure(id, &plan, FailureKind::Timeout);
            self.note_error(now, id, &Failure::new(FailureKind::Timeout, said));
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
        let idle = std::mem::take(&mut self.instances[id].idle_proof);
        if self.instances[id].seen.is_none() || self.instances[id].load.is_some() {
            return;
        }
        self.send_step(now, id, idle);
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
            Phase::Retrying(due) | Phase::Failed(due) => now >= due,
            Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Unresponsive
            | Phase::Excluded => false,
        };
        if !due || !instance.is_quiet() || instance.digest.is_none() {
            return;
        }
        let Some(seen) = &instance.seen else { return };
        let pinned = seen.view.pinned;
        let retried = matches!(instance.phase, Phase::Retrying(_));
        let instance = &mut self.instances[id];
        instance.ours = pinned;
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
        let plan = super::instance::Instance::plan_for(spec, super::instance::Purpose::Health, now);
        let next = now + self.spec.timing.health_interval;
        let instance = &mut self.instances[id];
        instance.plan = plan;
        instance.next_health = next;
        instance.totals().health_checks += 1;
    }

    /// Whether something is to be done on the next poll that lists it.
    fn wants_a_poll_at(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let plan = instance.plan.filter(|plan| plan.open.is_none());
        let here = instance.seen.is_some() && instance.load.is_none();
        let at_work = matches!(instance.phase, Phase::Ready | Phase::Verifying);
        if !here || !at_work {
            return None;
        }
        let idle_needed =
            plan.is_some_and(|plan| plan.needs_idle) || (plan.is_none() && instance.needs_pin);
        let proof_needed = instance.phase == Phase::Verifying && instance.plan.is_none();
        if plan.is_some_and(|plan| !plan.needs_idle) {
            let free = self.servers[instance.server]
                .warming
                .is_none_or(|warming| warming == id);
            return free.then_some(Mono::ZERO);
        }
        if (idle_needed || proof_needed) && instance.ping.is_none() && instance.idle_test.is_none()
        {
            return Some(instance.last_ping.map_or(Mono::ZERO, |at| at + IDLE_RETRY));
        }
        None
    }

    fn ask_for_a_poll(&mut self, now: Mono, id: InstanceId) {
        if self.wants_a_poll_at(id).is_some_and(|at| now >= at) {
            let server = self.instances[id].server;
            self.servers[server].poll_now(now);
        }
    }

    fn target(&self, id: InstanceId, resident: bool) -> Target {
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
        if plan.open.is_some() || !at_work || (plan.needs_idle && !idle) || !free {
            return;
        }
        let target = self.target(id, true);
        let spec = &self.models[self.instances[id].model];
        let request = match spec.warmup.get(plan.next) {
            Some(conversation) if plan.next < plan.conversations => {
                let copies = spec.warmup_parallel.max(1);
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
        instance.plan = Some(super::instance::Plan {
            open: Some((op, now)),
            started: plan.started.or(Some(now)),
            ..plan
        });
        instance.touch();
    }

    /// Only a runner that was just seen idle is pinned: a keep_alive overtakes Ollama's queue and would overwrite the
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
        if instance.ping.is_some() || !asks {
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

    // === loads ===

    /// Whether an instance shall be loaded now, but for the limit of concurrent loads.
    fn wants_load(&self, now: Mono, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let due = match instance.phase {
            Phase::Waiting => true,
            Phase::Retrying(due) | Phase::Failed(due) => now >= due,
            Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Unresponsive
            | Phase::Excluded => false,
        };
        due && now >= instance.not_before
            && instance.is_quiet()
            && instance.seen.is_none()
            && instance.digest.is_some()
            && instance.weights.is_some()
    }

    /// How many more loads may be sent; none before it is known what every resident runner holds.
    fn free_loads(&self, server: ServerId) -> usize {
        let place = &self.servers[server];
        let unresolved = place
            .resident
            .iter()
            .any(|entry| place.catalog.must_ask(&entry.name, &entry.digest));
        if unresolved || !place.catalog.is_known() {
            return 0;
        }
        self.spec
            .timing
            .concurrency
            .max(1)
            .saturating_sub(place.loads.len())
    }

    /// Sends the loads that are due, in their order, on a poll that was made for them.
    fn load_in_turn(&mut self, now: Mono, server: ServerId) {
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
            free -= 1;
            let next_op = OpId(self.next_op);
            let wished = *self.instances[id].wished.get_or_insert(next_op);
            if fresh && wished <= asked {
                self.send_load(now, id);
            } else {
                self.servers[server].poll_now(now);
            }
        }
    }

    fn send_load(&mut self, now: Mono, id: InstanceId) {
        let server = self.instances[id].server;
        let target = self.target(id, false);
        let op = self.send(now, server, About::Load(id), Request::Load(target));
        let place: &mut Server = &mut self.servers[server];
        let working_since = place.loads.is_empty().then_some(now);
        place.loads.push(id);
        self.server_changed(server);
        let instance = &mut self.instances[id];
        instance.wished = None;
        if matches!(instance.phase, Phase::Failed(_)) {
            // A new preload, not a retry of the old one.
            instance.attempts = 0;
        }
        instance.load = Some(OpenLoad {
            op,
            working_since,
            attempt_clock: working_since,
            stall_reported: false,
        });
        instance.phase = Phase::Loading;
        instance.attempts += 1;
        let retry = instance.attempts > 1;
        let totals = instance.totals();
        totals.preload_attempts += 1;
        totals.preload_retries += u64::from(retry);
    }

    // === when to wake up ===

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
            None => (place.may_ask() && self.unknown_weights(server).is_some())
                .then_some(place.show_not_before),
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
        let timing = &self.spec.timing;
        let instance = &self.instances[id];
        let may_ask = self.servers[instance.server].may_ask();
        let mut due = None;
        let mut at = |time: Mono| due = Some(due.map_or(time, |earlier: Mono| earlier.min(time)));
        if let Some(load) = &instance.load {
            if let Some(since) = load.working_since {
                at(since + timing.load_deadline);
                if !load.stall_reported
                    && may_ask
                    && !self.servers[instance.server].resident.is_empty()
                {
                    at(since + self.stall_limit(id));
                }
            }
            if let Some(since) = load.attempt_clock {
                at(since + timing.preload_timeout);
            }
        }
        if let Some(ping) = &instance.ping {
            let judged = !matches!(instance.phase, Phase::Ready | Phase::Verifying);
            at(ping.at
                + if judged {
                    timing.load_deadline
                } else {
                    timing.slow_after
                });
        }
        if let Some(plan) = instance.plan
            && let Some((_, sent)) = plan.open
        {
            let warmup = plan.conversations > 0;
            let limit = if warmup {
                timing.warmup_timeout
            } else {
                timing.probe_timeout
            };
            let begun = if warmup {
                plan.started.unwrap_or(sent)
            } else {
                sent
            };
            at(sent + timing.load_deadline);
            if !plan.overdue {
                at(begun + limit);
            }
        }
        if let Some((since, _)) = &instance.open_loss {
            at(*since + VERDICT_AFTER);
        }
        if !may_ask {
            return due;
        }
        match instance.phase {
            Phase::Retrying(time) if instance.load.is_some() => at(time),
            Phase::Retrying(time) | Phase::Failed(time) if self.would_start(id) => {
                at(time.max(instance.not_before))
            }
            Phase::Waiting if self.would_start(id) => at(instance.not_before),
            Phase::Ready if instance.plan.is_none() => at(instance.next_health),
            Phase::Waiting
            | Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Unresponsive
            | Phase::Excluded => {}
        }
        if let Some(time) = self.wants_a_poll_at(id)
            && self.servers[instance.server].ps.is_none()
        {
            at(time);
        }
        due
    }

    /// Whether nothing but time keeps a waiting instance from being loaded.
    fn would_start(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        instance.is_quiet()
            && instance.digest.is_some()
            && instance.weights.is_some()
            && place.ps.is_none()
            && self.free_loads(instance.server) > 0
    }

    /// Marks the server's part of the snapshot as changed.
    pub(super) fn server_changed(&mut self, server: ServerId) {
        if let Some(view) = self.server_views.get_mut(super::table::Key::row(server)) {
            *view = None;
        }
        self.changed = true;
    }
}
