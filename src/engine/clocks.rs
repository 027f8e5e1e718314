//! What time alone decides: attempts that took too long, runners that do not answer, verdicts that are overdue.

use super::instance::Phase;
use super::loss::Evidence;
use super::losses::Gone;
use super::time::Mono;
use super::{Engine, Failure, FailureKind, InstanceId};
use std::sync::Arc;
use std::time::Duration;

/// A load that takes longer than this, and than twice the expected time, while all else stands still, is reported.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A cause that is not clear after this time stays unknown.
pub(super) const VERDICT_AFTER: Duration = Duration::from_secs(60);

impl Engine {
    pub(super) fn run_clocks(&mut self, now: Mono, id: InstanceId) {
        self.run_pull_clock(now, id);
        self.run_load_clock(now, id);
        self.run_ping_clock(now, id);
        self.run_step_clock(now, id);
        let instance = &mut self.instances[id];
        let held = instance.held;
        if let Some((_, evidence)) = instance
            .open_loss
            .as_mut()
            .filter(|(at, _)| now >= *at + VERDICT_AFTER)
        {
            // Others stayed, so it was no restart; a client's reload would have ended long ago.
            evidence.stayed_away = held && evidence.stayed > 0;
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

    pub(super) fn stall_limit(&self, id: InstanceId) -> Duration {
        self.instances[id]
            .expected_load
            .map_or(STALLED_AFTER, |expected| STALLED_AFTER.max(expected * 2))
    }

    fn is_stalled(&self, now: Mono, id: InstanceId) -> bool {
        let load = self.instances[id].load;
        let since = load.and_then(|load| load.working_since);
        since.is_some_and(|since| now >= since + self.stall_limit(id)) && self.may_stall(id)
    }

    /// Whether a load that takes long looks as if it stood still. One whose runner is seen loading does not.
    pub(super) fn may_stall(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let place = &self.servers[instance.server];
        let loads = self.is_observed(instance.server) && place.watch.is_loading();
        instance.load.is_some_and(|load| !load.stall_reported)
            && place.may_ask()
            && !place.resident.is_empty()
            && !loads
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
            | Phase::Pulling
            | Phase::Loading
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
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
}
