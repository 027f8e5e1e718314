//! Answers to our own requests for a model: what a load, a ping, a probe or a conversation proved.

use super::instance::{Instance, Phase, Plan, Purpose};
use super::loss::Evidence;
use super::losses::Gone;
use super::request::Timings;
use super::spec::WarmupReadiness;
use super::time::Mono;
use super::{Engine, Failure, FailureKind, InstanceId, OpId, count};
use std::sync::Arc;
use std::time::Duration;

/// A ping of a well runner takes 2 ms, also while it generates; a repaired one took longer than 0.5 s.
const SLOW_PING: Duration = Duration::from_millis(250);

/// A prompt from the cache is computed this many times faster than a cold one; measured: 60 to 90 times.
const WARM_SPEEDUP: u32 = 4;

/// A prompt computed faster than this is warm whatever it was before.
const WARM_PROMPT: Duration = Duration::from_millis(50);

impl Engine {
    pub(super) fn loaded(&mut self, now: Mono, id: InstanceId) {
        let working_since = self.end_load(now, id);
        let spec = &self.models[self.instances[id].model];
        let plan = Instance::plan_for(spec, Purpose::Verify, now);
        let background = self.spec.readiness.warmup == WarmupReadiness::Background;
        let next_op = OpId(self.next_op);
        let instance = &mut self.instances[id];
        let took = now.since(working_since.unwrap_or(now));
        instance.totals().preload_seconds.observe(took);
        instance.load_duration = Some(took);
        instance.expected_load = Some(took);
        instance.preloaded_at = Some(now);
        instance.last_checked = Some(now);
        instance.polls_count_from = next_op;
        instance.ours = true;
        instance.seen = None;
        instance.sight.watched = None;
        instance.sight.vanished = None;
        instance.sight.replaced = None;
        instance.sight.unproven_since = now;
        instance.loaded_context = None;
        instance.teaches = true;
        instance.loaded_gpu_share = None;
        instance.needs_pin = false;
        instance.slow_ping = false;
        instance.usurper = None;
        instance.plan = plan;
        if plan.is_none() || background {
            if let Some(plan) = &mut instance.plan {
                plan.purpose = Purpose::Rewarm;
            }
            self.become_ready(now, id);
        } else {
            instance.phase = Phase::Verifying;
        }
        self.conclude_loss(id);
        let server = self.instances[id].server;
        self.servers[server].poll_now(now);
    }

    pub(super) fn load_failed(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        self.end_load(now, id);
        if failure.kind == FailureKind::Unreachable {
            // Waiting for the server is no failure of an attempt.
            self.note_error(now, id, failure);
            let instance = &mut self.instances[id];
            instance.attempts = instance.attempts.saturating_sub(1);
            instance.phase = Phase::Waiting;
        } else {
            self.conclude_loss(id);
            self.fail_attempt(now, id, failure);
        }
    }

    /// Takes the load off the server's list; the next one in line is worked on from now on.
    pub(super) fn end_load(&mut self, now: Mono, id: InstanceId) -> Option<Mono> {
        let instance = &mut self.instances[id];
        let load = instance.load.take()?;
        instance.touch();
        let server = instance.server;
        let place = &mut self.servers[server];
        place.loads.retain(|each| *each != id);
        if let Some(next) = place.loads.first().copied()
            && let Some(open) = &mut self.instances[next].load
            && open.working_since.is_none()
        {
            open.working_since = Some(now);
            open.attempt_clock = Some(now);
            self.instances[next].touch();
        }
        self.server_changed(server);
        load.working_since
    }

    pub(super) fn pinged(&mut self, now: Mono, id: InstanceId) {
        let instance = &mut self.instances[id];
        let Some(ping) = instance.ping.take() else {
            return;
        };
        instance.last_checked = Some(now);
        instance.touch();
        let slow = now.since(ping.at) > SLOW_PING;
        instance.slow_ping |= slow;
        if ping.is_pin {
            instance.needs_pin = false;
            instance.ours = true;
        }
        let wants_idle = self.wants_idle_from(id).is_some_and(|from| now >= from);
        let instance = &mut self.instances[id];
        if wants_idle && !slow {
            instance.idle_test = Some(ping.expiry_before);
        }
        let proven = instance.phase == Phase::Verifying && instance.plan.is_none() && !slow;
        let poll = slow || wants_idle || ping.is_pin || instance.phase != Phase::Ready;
        let server = instance.server;
        if instance.phase == Phase::Unresponsive {
            if instance
                .plan
                .is_some_and(|plan| plan.open.is_some() && plan.overdue)
            {
                // It answers pings and computes nothing: only the answer of what is overdue can clear it.
                return;
            }
            // Ollama may have killed and loaded it anew before it answered.
            self.verify_again(now, id);
        } else if proven {
            self.become_ready(now, id);
        }
        if poll {
            self.servers[server].poll_now(now);
        }
    }

    pub(super) fn ping_failed(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let instance = &mut self.instances[id];
        instance.ping = None;
        let server = instance.server;
        self.servers[server].poll_now(now);
        match failure.kind {
            FailureKind::Unreachable => {}
            FailureKind::ModelNotFound => {
                self.lose(
                    now,
                    id,
                    Evidence {
                        deleted: true,
                        ..Evidence::default()
                    },
                    Gone::Unusable,
                );
                self.fail_attempt(now, id, failure);
            }
            FailureKind::Timeout
            | FailureKind::InvalidRequest
            | FailureKind::OutOfMemory
            | FailureKind::ServerBusy
            | FailureKind::RunnerCrashed
            | FailureKind::RunnerHung
            | FailureKind::LoadStalled
            | FailureKind::VerificationFailed
            | FailureKind::PullFailed
            | FailureKind::UnsupportedModel
            | FailureKind::UnexpectedResponse
            | FailureKind::ServerError => self.died(now, id, failure),
        }
    }

    /// A request failed although the runner was listed: the runner is not what the list says.
    fn died(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let said = Some(Arc::clone(&failure.message));
        self.lose(
            now,
            id,
            Evidence {
                died_under_request: said,
                ..Evidence::default()
            },
            Gone::Unusable,
        );
        self.fail_attempt(now, id, failure);
    }

    pub(super) fn stepped(&mut self, now: Mono, id: InstanceId, timings: Timings) {
        let instance = &mut self.instances[id];
        let server = instance.server;
        let Some(mut plan) = instance.plan else {
            return;
        };
        let started = plan.open.take().map_or(now, |(_, at)| at);
        instance.last_checked = Some(now);
        if plan.conversations > 0 && plan.next == 0 {
            self.judge_prompt(id, plan.purpose, timings.prompt_eval);
        }
        self.servers[server].poll_now(now);
        if plan.restart {
            plan = Plan {
                next: 0,
                started: None,
                overdue: false,
                restart: false,
                ..plan
            };
            let instance = &mut self.instances[id];
            instance.plan = Some(plan);
            instance.touch();
            return;
        }
        plan.next += 1;
        let instance = &mut self.instances[id];
        if plan.next < plan.conversations {
            // Users may have come meanwhile: from the second conversation on, none of ours goes before theirs.
            plan.needs_idle = true;
            instance.plan = Some(plan);
            instance.touch();
            return;
        }
        instance.plan = None;
        instance.touch();
        let took = now.since(plan.started.unwrap_or(started));
        if plan.conversations > 0 && plan.purpose == Purpose::Verify {
            instance.totals().warmup_seconds.observe(took);
            instance.warmup_duration = Some(took);
        }
        if plan.purpose == Purpose::Health {
            instance
                .totals()
                .health_check_seconds
                .observe(now.since(started));
        }
        let place = &mut self.servers[server];
        place.warming = place.warming.filter(|warming| *warming != id);
        match self.instances[id].phase {
            Phase::Verifying => self.become_ready(now, id),
            // It may have been killed and loaded anew before it answered.
            Phase::Unresponsive => self.verify_again(now, id),
            Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Ready
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Excluded => {}
        }
    }

    /// The time of the first conversation tells whether its prompt was in the cache.
    fn judge_prompt(&mut self, id: InstanceId, purpose: Purpose, took: Option<Duration>) {
        let Some(took) = took else { return };
        let instance = &mut self.instances[id];
        let warm = took <= WARM_PROMPT
            || instance
                .cold_prompt
                .is_some_and(|cold| took * WARM_SPEEDUP <= cold);
        if !warm {
            instance.cold_prompt = Some(took);
        }
        // A verification has just made it warm, whatever it found.
        instance.prompt_warm = Some(warm || purpose == Purpose::Verify);
        instance.touch();
    }

    pub(super) fn step_failed(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let instance = &mut self.instances[id];
        let server = instance.server;
        let Some(plan) = instance.plan.take() else {
            return;
        };
        instance.touch();
        let place = &mut self.servers[server];
        place.warming = place.warming.filter(|warming| *warming != id);
        place.poll_now(now);
        if failure.kind == FailureKind::Unreachable {
            // The server went away under it; what is resident afterwards is verified again.
            self.instances[id].plan = Some(Plan { open: None, ..plan });
            return;
        }
        self.count_step_failure(id, &plan, failure.kind);
        match self.instances[id].phase {
            Phase::Ready => self.died(now, id, failure),
            Phase::Verifying | Phase::Unresponsive => self.fail_attempt(now, id, failure),
            Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Excluded => {}
        }
    }

    pub(super) fn count_step_failure(&mut self, id: InstanceId, plan: &Plan, kind: FailureKind) {
        let totals = self.instances[id].totals();
        if plan.purpose == Purpose::Health {
            count(&mut totals.health_check_failures, &FailureKind::ALL, &kind);
        } else if plan.conversations > 0 {
            count(&mut totals.warmup_failures, &FailureKind::ALL, &kind);
        }
    }

    pub(super) fn become_ready(&mut self, now: Mono, id: InstanceId) {
        let health = now + self.spec.timing.health_interval;
        let instance = &mut self.instances[id];
        instance.phase = Phase::Ready;
        instance.ready_at = Some(now);
        instance.last_checked = Some(now);
        instance.next_health = health;
        instance.attempts = instance.attempts.max(1);
        instance.touch();
    }
}
