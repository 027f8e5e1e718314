//! The verdict: states of all instances, readiness of all models, the gate. Computed here and nowhere else.

use super::instance::{Instance, Phase};
use super::snapshot::{Gate, Reason, State};
use super::spec::{ReadinessPolicy, ReadinessScope};
use super::time::Mono;
use super::{Effect, Engine, InstanceId, ModelId, Notice};
use std::sync::Arc;

impl Engine {
    /// Brings every derived fact up to date after an event.
    pub(super) fn settle(&mut self, now: Mono) {
        let timing = self.spec.timing;
        for server in self.servers.keys() {
            let counts = self.servers[server].evidence_counts(now, &timing);
            self.servers[server].evidence_counted = counts;
        }
        for id in self.instances.keys() {
            self.settle_instance(now, id);
        }
        if self.changed {
            self.settle_gate(now);
        }
    }

    fn settle_instance(&mut self, now: Mono, id: InstanceId) {
        let counts = self.servers[self.instances[id].server].evidence_counted;
        let instance = &mut self.instances[id];
        let state = state_of(instance, counts);
        let ready = state == State::Ready;
        if instance.view.is_none() {
            self.changed = true;
        }
        if state == instance.state {
            return;
        }
        let from = std::mem::replace(&mut instance.state, state);
        instance.state_since = now;
        Arc::make_mut(&mut instance.history).note(now, state);
        instance.ready = ready;
        instance.touch();
        self.changed = true;
        self.say_state(id, from);
    }

    fn say_state(&mut self, id: InstanceId, from: State) {
        let instance = &self.instances[id];
        let to = instance.state;
        let failed = matches!(
            to,
            State::Retrying | State::Failed | State::Unresponsive | State::Quarantined
        );
        let failure = instance
            .last_error
            .as_ref()
            .filter(|_| failed)
            .map(|error| super::Failure {
                kind: error.kind,
                message: Arc::clone(&error.message),
            });
        let duration = match (from, to) {
            (State::Loading, State::Verifying | State::Ready) => instance.load_duration,
            (State::Verifying, State::Ready) => instance.warmup_duration,
            _ => None,
        };
        self.out.push(Effect::Log(Notice::State {
            model: Arc::clone(&self.models[instance.model].name),
            server: Arc::clone(&self.servers[instance.server].spec.name),
            from,
            to,
            attempt: instance.attempts,
            duration,
            failure,
        }));
    }

    /// Whether enough servers have the model ready.
    pub(super) fn is_model_ready(&self, model: ModelId) -> bool {
        let ids = &self.of_model[model];
        let ready = ids.iter().filter(|id| self.instances[**id].ready).count();
        ready >= self.models[model].min_servers.max(1).min(ids.len().max(1))
    }

    /// A model is excluded when no server could ever have it resident.
    pub(super) fn is_excluded(&self, model: ModelId) -> bool {
        let ids = &self.of_model[model];
        !ids.is_empty()
            && ids
                .iter()
                .all(|id| self.instances[*id].phase == Phase::Excluded)
    }

    /// The state that stands for a model over all its servers: ready if it is ready, else what promises most.
    pub(super) fn model_state(&self, model: ModelId) -> State {
        const PROMISE: [State; 10] = [
            State::Verifying,
            State::Loading,
            State::Pulling,
            State::Retrying,
            State::Pending,
            State::Unresponsive,
            State::Unknown,
            State::Quarantined,
            State::Failed,
            State::Ready,
        ];
        if self.is_model_ready(model) {
            return State::Ready;
        }
        let states = || {
            self.of_model[model]
                .iter()
                .map(|id| self.instances[*id].state)
        };
        PROMISE
            .into_iter()
            .find(|state| states().any(|each| each == *state))
            .unwrap_or(State::Pending)
    }

    fn settle_gate(&mut self, now: Mono) {
        let (open, reasons) = self.judge_gate();
        if open == self.gate.ready && reasons == self.gate.reasons {
            return;
        }
        let flipped = open != self.gate.ready;
        let mut history = Arc::clone(&self.gate.history);
        Arc::make_mut(&mut history).note(now, open);
        self.gate = Gate {
            ready: open,
            reasons,
            since: if flipped { now } else { self.gate.since },
            opened: self.gate.opened + u64::from(flipped && open),
            closed: self.gate.closed + u64::from(flipped && !open),
            history,
        };
        if flipped {
            let blocking = self.gate.reasons.iter().filter(|reason| reason.blocking);
            let reasons = blocking.map(|reason| Arc::clone(&reason.message)).collect();
            self.out.push(Effect::Log(Notice::Gate {
                ready: open,
                reasons,
            }));
        }
    }

    fn judge_gate(&self) -> (bool, Vec<Reason>) {
        if self.shutting_down {
            return (false, vec![reason(None, true, "shutting down")]);
        }
        let counted = || self.models.keys().filter(|model| !self.is_excluded(*model));
        let required = || counted().filter(|model| self.models[*model].required);
        let total = required().count();
        let ready = required()
            .filter(|model| self.is_model_ready(*model))
            .count();
        let needed = match self.spec.readiness.policy {
            ReadinessPolicy::All => total,
            ReadinessPolicy::Any => total.min(1),
            ReadinessPolicy::Quorum(wanted) => wanted.min(total),
            ReadinessPolicy::None => 0,
        };
        let satisfied = ready >= needed;
        let held_open =
            self.spec.readiness.scope == ReadinessScope::Startup && self.gate.opened > 0;
        let mut reasons: Vec<Reason> = counted()
            .filter(|model| !self.is_model_ready(*model))
            .map(|model| {
                let blocking = !satisfied && !held_open && self.models[model].required;
                self.why_not(model, blocking)
            })
            .collect();
        if !satisfied && held_open {
            reasons.push(reason(None, false, "held open: readiness.scope is startup"));
        }
        (satisfied || held_open, reasons)
    }

    /// Its load waits for a server that loads nothing any more.
    fn why_wedged(&self, model: ModelId) -> Option<String> {
        let mut instances = self.of_model[model].iter().map(|id| &self.instances[*id]);
        let waits = instances.find(|instance| {
            instance.load.is_some() && self.servers[instance.server].wedge.is_some()
        })?;
        Some(self.describe_wedge(waits.server))
    }

    fn why_not(&self, model: ModelId, blocking: bool) -> Reason {
        let name = &self.models[model].name;
        let state = self.model_state(model);
        let said = match self.explain(model, state) {
            Some(why) => format!("{name} is {state}: {why}"),
            None => format!("{name} is {state}"),
        };
        reason(Some(Arc::clone(name)), blocking, &said)
    }

    /// What a model in that state waits for.
    fn explain(&self, model: ModelId, state: State) -> Option<String> {
        let instances = || self.of_model[model].iter().map(|id| &self.instances[*id]);
        let pending = state == State::Pending;
        if pending && instances().any(|instance| instance.held) {
            return Some(
                "it seems that a client unloaded it, and residency.onUnload is hold".to_owned(),
            );
        }
        let usurper = instances().find_map(|instance| instance.usurper.as_ref());
        if let Some(usurper) = usurper.filter(|_| pending) {
            return Some(format!("{} took its place and is in use", usurper.name));
        }
        if let Some(why) = self.why_wedged(model) {
            return Some(why);
        }
        let tells = matches!(
            state,
            State::Pending
                | State::Retrying
                | State::Failed
                | State::Quarantined
                | State::Unresponsive
        );
        instances()
            .filter(|instance| tells && instance.state == state)
            .find_map(|instance| instance.last_error.as_ref())
            .map(|error| error.message.to_string())
    }
}

fn reason(model: Option<Arc<str>>, blocking: bool, message: &str) -> Reason {
    Reason {
        model,
        blocking,
        message: message.into(),
    }
}

/// The wire state. What rests on what was seen of the server holds only while that counts.
fn state_of(instance: &Instance, evidence_counts: bool) -> State {
    match instance.phase {
        Phase::Waiting | Phase::Excluded => State::Pending,
        Phase::Pulling => State::Pulling,
        Phase::Loading => State::Loading,
        Phase::Retrying(_) => State::Retrying,
        Phase::Failed(_) => State::Failed,
        Phase::Quarantined(_) => State::Quarantined,
        Phase::Verifying | Phase::Ready | Phase::Unresponsive if !evidence_counts => State::Unknown,
        Phase::Verifying => State::Verifying,
        Phase::Ready => State::Ready,
        Phase::Unresponsive => State::Unresponsive,
    }
}
