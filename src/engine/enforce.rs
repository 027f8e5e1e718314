//! `drift: enforce`: a model that another client loaded with another context is unloaded and loaded again as declared,
//! once it is idle, and at most once per conflict window. Whoever keeps changing it back is reported, not fought.

use super::instance::Phase;
use super::request::Request;
use super::snapshot::Drift;
use super::spec::DriftPolicy;
use super::time::Mono;
use super::{About, Engine, Failure, InstanceId};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an unloaded runner to leave the list; measured: 0.6 s.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

impl Engine {
    /// From when on the model shall be unloaded as soon as its runner is seen idle; `None` where nothing is to be
    /// enforced.
    pub(super) fn enforcement_due(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let spec = &self.models[instance.model];
        let seen = instance.seen.as_ref()?;
        // A context that our own load brought about is all that this server gives.
        let others = !instance.ours || instance.loaded_context != Some(seen.view.context_length);
        let due = spec.drift == DriftPolicy::Enforce
            && others
            && instance.drift.contains(&Drift::Context)
            && instance.phase == Phase::Ready
            && instance.plan.is_none();
        due.then_some(instance.enforce_not_before)
    }

    pub(super) fn send_enforcement(&mut self, now: Mono, id: InstanceId, idle: bool) {
        let instance = &self.instances[id];
        let due = self.enforcement_due(id).is_some_and(|due| now >= due);
        if !idle || !instance.is_quiet() || !due {
            return;
        }
        let (server, model) = (instance.server, instance.model);
        let model = Arc::clone(&self.models[model].name);
        let detail = instance.drift_detail.clone().unwrap_or_default();
        self.advise(
            Some(&model),
            format!("unloading it, to load it as declared: {detail}"),
        );
        let op = self.send(now, server, About::Unload(id), Request::Unload { model });
        let window = self.spec.timing.conflict_window;
        let instance = &mut self.instances[id];
        instance.unload = Some(op);
        instance.enforce_not_before = now + window;
        instance.phase = Phase::Waiting;
        instance.attempts = 0;
        instance.ours = false;
        instance.needs_pin = false;
        instance.touch();
    }

    pub(super) fn unloaded(&mut self, now: Mono, id: InstanceId, result: Result<(), &Failure>) {
        let instance = &mut self.instances[id];
        instance.unload = None;
        let server = instance.server;
        self.servers[server].poll_now(now);
        match result {
            Ok(()) => self.leave(now, id),
            Err(failure) => self.note_error(now, id, failure),
        }
    }

    /// It was unloaded by us: what is still listed is on its way out.
    pub(super) fn leave(&mut self, now: Mono, id: InstanceId) {
        self.instances[id].leaving_until = Some(now + LEAVES_WITHIN);
    }

    /// Whether a runner that is still listed is on its way out, so that it is not taken for ours again.
    pub(super) fn is_leaving(&self, now: Mono, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        instance.leaving_until.is_some_and(|until| now < until)
    }

    /// What is wanted and what is there, and what to set, so that both sides want the same.
    pub(super) fn describe_context_drift(&self, id: InstanceId, wanted: u64) -> Arc<str> {
        let instance = &self.instances[id];
        let there = instance
            .seen
            .as_ref()
            .map_or(0, |seen| seen.view.context_length);
        let spec = &self.models[instance.model];
        let declared = match spec.context() {
            Some(_) => "declared",
            None => "its load gave",
        };
        format!(
            "its runner has a context of {there} tokens, {declared} {wanted}: another client asks for {there}; to agree, \
             set OLLAMA_CONTEXT_LENGTH or `PARAMETER num_ctx` in its Modelfile and let no client send num_ctx, or declare \
             `options: {{num_ctx: {there}}}`"
        )
        .into()
    }
}
