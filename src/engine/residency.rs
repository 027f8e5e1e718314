//! What a poll proves about each model: listed or not, still the same runner or another one, as desired or drifted.

use super::instance::{Instance, Phase, Purpose, Seen};
use super::loss::Evidence;
use super::losses::Gone;
use super::request::Resident;
use super::snapshot::Drift;
use super::time::Mono;
use super::{Engine, InstanceId, OpId, ServerId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A loss of GPU share smaller than this is rounding in Ollama's estimate.
const GPU_SHARE_TOLERANCE: f64 = 0.01;

impl Engine {
    pub(super) fn compare(
        &mut self,
        now: Mono,
        server: ServerId,
        asked: OpId,
        entries: &[Resident],
    ) {
        let catalog = &self.servers[server].catalog;
        let by_weights: BTreeMap<_, _> = entries
            .iter()
            .map(|entry| (catalog.weights(&entry.digest), entry))
            .collect();
        // Listed under a name that stands for something else by now: few or none, so that no model has to look at all.
        let stale: Vec<_> = entries
            .iter()
            .filter(|entry| {
                let installed = catalog.installed(&entry.name);
                installed.is_none_or(|found| found.digest != entry.digest)
            })
            .collect();
        let crowd = self.crowd(server, entries);
        for id in self.on(server).iter().copied() {
            let instance = &self.instances[id];
            // What happened after the poll was asked is not in its answer.
            if instance.phase == Phase::Excluded || asked < instance.polls_count_from {
                continue;
            }
            self.watch_usurper(now, id, entries);
            self.note_outdated(id, &stale);
            let Some(weights) = &self.instances[id].weights else {
                continue;
            };
            match by_weights.get(weights) {
                Some(entry) => {
                    self.listed(now, id, entry);
                    self.judge_runner(now, id, asked);
                }
                None => self.unlisted(now, id, &crowd),
            }
        }
    }

    fn listed(&mut self, now: Mono, id: InstanceId, entry: &Resident) {
        let pinned = self.is_our_pin(now, entry.expires_at);
        let instance = &mut self.instances[id];
        let before = instance.seen.clone();
        instance.held = false;
        instance.see(entry, pinned, now);
        if instance.phase == Phase::Ready {
            instance.last_checked = Some(now);
        }
        let slow_ping = std::mem::take(&mut instance.slow_ping);
        let expiry = (entry.expires_at, entry.expires_nanos);
        instance.idle_proof = instance.idle_until.take() == Some(expiry);
        if instance
            .idle_test
            .take()
            .is_some_and(|before| before != expiry)
        {
            instance.idle_until = Some(expiry);
            let server = instance.server;
            self.servers[server].poll_now(now);
        }
        let instance = &mut self.instances[id];
        if instance.load.is_some() {
            let context = before.as_ref().map(|seen| seen.view.context_length);
            self.note_reload_of_lost(id, context, entry);
            return;
        }
        if instance.ours && std::mem::take(&mut instance.teaches) {
            instance.loaded_context = Some(entry.context_length);
            instance.loaded_gpu_share = Some(gpu_share(entry.size_vram, entry.size));
        }
        self.update_drift(now, id);
        let Some(before) = before else {
            if self.is_observed(self.instances[id].server) {
                self.note_reload_of_lost(id, None, entry);
            }
            return;
        };
        let Some(evidence) = reloaded(&before, entry, slow_ping, pinned) else {
            let suspicious =
                (before.view.pinned && !pinned) || self.servers[self.instances[id].server].was_down;
            // Where its runner is seen, another one is seen as well.
            let suspicious = suspicious && self.instances[id].sight.watched.is_none();
            if suspicious && self.instances[id].phase == Phase::Ready {
                self.rewarm(now, id);
            }
            self.instances[id].needs_pin |= !pinned;
            return;
        };
        if evidence.reloaded_under_ping {
            self.note_hidden_reload(now, id);
        }
        let instance = &mut self.instances[id];
        instance.ours = false;
        instance.teaches = false;
        instance.needs_pin = !pinned;
        instance.sight.watched = None;
        self.lose(now, id, evidence, Gone::StillResident);
    }

    fn take_drift(&mut self, id: InstanceId, drift: Vec<Drift>, detail: Option<Arc<str>>) {
        let instance = &mut self.instances[id];
        instance.drift = drift;
        let before = std::mem::replace(&mut instance.drift_detail, detail.clone());
        instance.touch();
        if let Some(said) = detail.filter(|said| before.as_ref() != Some(said)) {
            let name = Arc::clone(&self.models[instance.model].name);
            self.advise(Some(&name), said);
        }
    }

    /// A ping of ours made Ollama load the model anew, although what `/api/ps` shows was repeated. Twice within the
    /// window means options that it does not show: pings would only go on taking the model from its other user.
    fn note_hidden_reload(&mut self, now: Mono, id: InstanceId) {
        let window = self.spec.timing.conflict_window;
        let instance = &mut self.instances[id];
        instance.hidden_reloads.retain(|at| now.since(*at) < window);
        instance.hidden_reloads.push(now);
        if instance.hidden_reloads.len() < 2 {
            return;
        }
        instance.hidden_reloads.clear();
        instance.no_pings_before = now + window;
        let name = Arc::clone(&self.models[instance.model].name);
        let said = "another client loads it with options that /api/ps does not show (num_thread, use_mmap, …); \
                    pings are paused so that they do not load it again";
        self.advise(Some(&name), said);
    }

    /// It may have been loaded anew, or a client only sent a `keep_alive`: running the prompts again costs 0.1 s if
    /// nothing was lost, and its time tells which it was.
    fn rewarm(&mut self, now: Mono, id: InstanceId) {
        let spec = &self.models[self.instances[id].model];
        let plan = Instance::plan_for(spec, Purpose::Rewarm, now);
        let instance = &mut self.instances[id];
        if instance.plan.is_none_or(|plan| plan.open.is_none()) {
            instance.plan = plan;
            instance.touch();
        }
    }

    /// A runner of the weights that the model had before somebody replaced them: no name reaches it any more, so nobody
    /// can unload it, and it keeps its memory.
    fn note_outdated(&mut self, id: InstanceId, stale: &[&Resident]) {
        let instance = &self.instances[id];
        let Some(current) = &instance.weights else {
            return;
        };
        let catalog = &self.servers[instance.server].catalog;
        let name = &self.models[instance.model].name;
        let outdated = |entry: &&&Resident| {
            entry.name.eq_ignore_ascii_case(name) && catalog.weights(&entry.digest) != *current
        };
        let bytes: u64 = stale.iter().filter(outdated).map(|entry| entry.size).sum();
        if bytes == instance.outdated_bytes {
            return;
        }
        let (name, megabytes) = (Arc::clone(name), bytes / 1_000_000);
        let instance = &mut self.instances[id];
        let is_new = std::mem::replace(&mut instance.outdated_bytes, bytes) == 0;
        instance.touch();
        if is_new {
            let said = format!(
                "the runner of its old weights keeps {megabytes} MB and no name reaches it any more; restart Ollama to free them"
            );
            self.advise(Some(&name), said);
        }
    }

    fn update_drift(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let spec = &self.models[instance.model];
        let Some(seen) = &instance.seen else { return };
        let mut drift = Vec::new();
        let mut detail = None;
        let expected = spec
            .context()
            .or(instance.loaded_context)
            .filter(|_| seen.view.context_length != 0);
        if expected.is_some_and(|context| context != seen.view.context_length) {
            drift.push(Drift::Context);
            detail = expected.map(|context| self.describe_context_drift(id, context));
        }
        if !seen.view.pinned {
            drift.push(Drift::Pin);
        }
        let share = gpu_share(seen.view.size_vram, seen.view.size);
        if instance
            .loaded_gpu_share
            .is_some_and(|loaded| share + GPU_SHARE_TOLERANCE < loaded)
        {
            drift.push(Drift::GpuShare);
        }
        if instance.outdated_bytes > 0 {
            drift.push(Drift::Digest);
        }
        if instance.no_pings_before > now {
            drift.push(Drift::HiddenOptions);
        }
        if drift != instance.drift || detail != instance.drift_detail {
            self.take_drift(id, drift, detail);
        }
    }
}

/// The part of a runner that is in the GPU's memory, 0–1.
fn gpu_share(vram: u64, size: u64) -> f64 {
    if size == 0 {
        0.0
    } else {
        vram as f64 / size as f64
    }
}

/// What proves that a listed runner is another one than before; `None` where nothing does.
fn reloaded(before: &Seen, entry: &Resident, slow_ping: bool, pinned: bool) -> Option<Evidence> {
    let how = if before.view.context_length != entry.context_length {
        let (now, then) = (entry.context_length, before.view.context_length);
        Some(format!("with a context of {now} instead of {then}"))
    } else if before.listed_as != entry.name {
        Some(format!("as {}", entry.name))
    } else {
        None
    };
    if how.is_some() {
        return Some(Evidence {
            reloaded_as: how.map(Arc::from),
            ..Evidence::default()
        });
    }
    if !slow_ping || pinned {
        return None;
    }
    if before.view.pinned {
        return Some(Evidence {
            repaired_under_ping: true,
            ..Evidence::default()
        });
    }
    let moved = before.expiry != (entry.expires_at, entry.expires_nanos);
    moved.then(|| Evidence {
        reloaded_under_ping: true,
        ..Evidence::default()
    })
}
