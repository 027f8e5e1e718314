//! Making the snapshot. Only what changed is made anew; the rest is shared with the snapshot before.

use super::instance::{Instance, Phase};
use super::snapshot::{
    InstanceView, ModelView, RunnerView, RunnersView, ServerView, Snapshot, WedgeView,
};
use super::table::Key;
use super::time::Mono;
use super::tracks::Watch;
use super::{Engine, InstanceId, ModelId, ServerId};
use std::sync::Arc;

impl Engine {
    /// Rises with every change of what [`Engine::snapshot`] shows.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Everything as it is now. The revision rises when anything changed since the last call.
    pub fn snapshot(&mut self, now: Mono) -> Snapshot {
        if std::mem::take(&mut self.changed) {
            self.revision += 1;
        }
        Snapshot {
            revision: self.revision,
            at: now,
            epoch: self.epoch,
            gate: self.gate.clone(),
            servers: self
                .servers
                .keys()
                .map(|server| self.server_view(server))
                .collect(),
            models: self
                .models
                .keys()
                .map(|model| self.model_view(now, model))
                .collect(),
        }
    }

    fn server_view(&mut self, server: ServerId) -> Arc<ServerView> {
        let Some(slot) = self.server_views.get_mut(server.row()) else {
            return self.new_server_view(server);
        };
        if let Some(view) = slot {
            return Arc::clone(view);
        }
        let view = self.new_server_view(server);
        if let Some(slot) = self.server_views.get_mut(server.row()) {
            *slot = Some(Arc::clone(&view));
        }
        view
    }

    fn new_server_view(&self, server: ServerId) -> Arc<ServerView> {
        let place = &self.servers[server];
        Arc::new(ServerView {
            name: Arc::clone(&place.spec.name),
            url: Arc::clone(&place.spec.url),
            reach: place.reach,
            version: place.version.clone(),
            last_poll: place.answered_at,
            loads_in_flight: place.loads.len(),
            last_error: place.last_error.clone(),
            resident: place.resident.len(),
            runners: runners_view(&place.watch),
            wedged: place.wedge.as_ref().map(|wedge| WedgeView {
                since: wedge.since,
                model: Arc::clone(&wedge.name),
            }),
            wedges: place.wedges,
        })
    }

    fn model_view(&mut self, now: Mono, model: ModelId) -> Arc<ModelView> {
        let ids = self.of_model[model].clone();
        let unchanged = ids.iter().all(|id| self.instances[*id].view.is_some());
        if unchanged && let Some(view) = self.model_views.get(model.row()) {
            return Arc::clone(view);
        }
        let instances = ids.iter().map(|id| self.instance_view(now, *id)).collect();
        let spec = &self.models[model];
        let view = Arc::new(ModelView {
            name: Arc::clone(&spec.name),
            display_name: Arc::clone(&spec.display_name),
            required: spec.required,
            excluded: self.is_excluded(model),
            state: self.model_state(model),
            ready: self.is_model_ready(model),
            instances,
        });
        match self.model_views.get_mut(model.row()) {
            Some(slot) => *slot = Arc::clone(&view),
            // Views are made in the order of the table, so the next free place is this one's.
            None => self.model_views.push(Arc::clone(&view)),
        }
        view
    }

    fn instance_view(&mut self, now: Mono, id: InstanceId) -> Arc<InstanceView> {
        let instance = &self.instances[id];
        if let Some(view) = &instance.view {
            return Arc::clone(view);
        }
        let view = Arc::new(self.new_instance_view(now, instance));
        self.instances[id].view = Some(Arc::clone(&view));
        view
    }

    fn new_instance_view(&self, now: Mono, instance: &Instance) -> InstanceView {
        let next_retry_at = match instance.phase {
            Phase::Retrying(due) | Phase::Failed(due) | Phase::Quarantined(due) => {
                Some(due.max(instance.not_before))
            }
            Phase::Waiting if instance.not_before > instance.state_since => {
                Some(instance.not_before)
            }
            Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Unresponsive
            | Phase::Excluded => None,
        };
        InstanceView {
            server: Arc::clone(&self.servers[instance.server].spec.name),
            state: instance.state,
            state_since: instance.state_since,
            history: Arc::clone(&instance.history),
            activity: instance.activity(now),
            preloaded_at: instance.preloaded_at,
            last_checked: instance.last_checked,
            ready_at: instance.ready_at,
            attempts: instance.attempts,
            max_retries: self.models[instance.model].max_retries,
            load_duration: instance.load_duration,
            expected_load: instance.expected_load,
            next_retry_at,
            resident_since: instance.seen.as_ref().map(|seen| seen.since),
            residency: instance.seen.as_ref().map(|seen| seen.view),
            runner: instance.sight.watched.map(|runner| RunnerView {
                since: runner.since,
                clients: runner.clients,
                slots: runner.slots,
                slots_busy: runner.slots_busy,
            }),
            prompt_warm: instance.prompt_warm,
            warmup_duration: instance.warmup_duration,
            outdated_bytes: instance.outdated_bytes,
            drift: instance.drift.clone(),
            drift_detail: instance.drift_detail.clone(),
            last_loss: instance.last_loss.clone(),
            last_error: instance.last_error.clone(),
            totals: Arc::clone(&instance.totals),
        }
    }
}

fn runners_view(watch: &Watch) -> RunnersView {
    let (there, loading) = watch.counts();
    let hidden = watch.hidden.map(|why| Arc::from(why.sentence()));
    RunnersView {
        observed: hidden.is_none(),
        reason: hidden.or_else(|| watch.note.clone()),
        there,
        loading,
    }
}
