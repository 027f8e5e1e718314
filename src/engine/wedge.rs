//! The wedge: Ollama waits for ever for a runner to become idle that is idle, and loads nothing any more, for anybody.
//!
//! From outside it looks like a slow load. Where the runners are seen it is told from one for certain: no socket that
//! could be a runner's is new, none loads, and every resident runner has been idle since. Unloading the idle model in the
//! way ends it.

use super::catalog::Weights;
use super::loss::Evidence;
use super::losses::Gone;
use super::request::{Request, Resident};
use super::sight::{Life, Runner};
use super::time::Mono;
use super::watch::IDLE_FRESH;
use super::{About, Engine, Failure, FailureKind, InstanceId, ServerId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A model in the way has been idle for so long: Ollama, waiting for it, would have ended it within milliseconds.
const RESTS_FOR: Duration = Duration::from_secs(5);

/// Wait after an unload before the next model is taken for the one in the way.
const NEXT_AFTER: Duration = Duration::from_secs(15);

/// A server that loads nothing any more.
#[derive(Clone, Debug)]
pub(super) struct Wedge {
    pub(super) since: Mono,
    /// The idle model in the way.
    pub(super) name: Arc<str>,
    /// Who was unloaded to end it, and when the last one was.
    unloaded: BTreeSet<Arc<str>>,
    unloaded_at: Option<Mono>,
}

impl Engine {
    pub(super) fn run_wedge(&mut self, now: Mono, server: ServerId) {
        let found = self.wedged_load(now, server);
        let Some((load, entry)) = found else {
            self.end_wedge(now, server);
            return;
        };
        if self.servers[server].wedge.is_none() {
            self.note_wedge(now, server, load, &entry.name);
        }
        if self.spec.timing.unwedge {
            self.unwedge(now, server, &entry);
        }
    }

    /// The load that waits for ever and the model in its way; `None` while there is any doubt.
    fn wedged_load(&self, now: Mono, server: ServerId) -> Option<(InstanceId, Resident)> {
        let place = &self.servers[server];
        let watch = &place.watch;
        let load = *place.loads.first()?;
        let since = self.instances[load].load?.working_since?;
        let due = since.max(watch.appeared_at) + self.stall_limit(load);
        let may_start = watch.is_loading() || watch.scene.unclear > 0;
        if now < due || !place.may_ask() || !self.is_observed(server) || may_start {
            return None;
        }
        let mut idle: Vec<_> = Vec::new();
        for entry in &place.resident {
            let weights = place.catalog.weights(&entry.digest);
            let track = watch.tracks.get(&self.well_runner(server, &weights)?.id)?;
            // Ollama may wait for it for a good reason if it was never seen idle meanwhile.
            track.idle_at.filter(|at| *at > since)?;
            if let Some(rests) = track.idle_since
                && now >= rests + RESTS_FOR
                && self.is_addressed_by_name(server, entry)
            {
                idle.push((rests, entry));
            }
        }
        let gone = place.wedge.as_ref().map(|wedge| &wedge.unloaded);
        idle.retain(|(_, entry)| gone.is_none_or(|gone| !gone.contains(&entry.name)));
        // Whoever was busy last was busy when Ollama wanted its place.
        let last = idle.into_iter().max_by_key(|(rests, _)| *rests)?;
        Some((load, last.1.clone()))
    }

    fn well_runner(&self, server: ServerId, weights: &Weights) -> Option<&Runner> {
        self.runner_with(server, weights)
            .filter(|runner| runner.life == Life::Well)
    }

    /// After a pull an old runner's name means another one.
    fn is_addressed_by_name(&self, server: ServerId, entry: &Resident) -> bool {
        let installed = self.servers[server].catalog.installed(&entry.name);
        installed.is_some_and(|found| found.digest == entry.digest)
    }

    fn note_wedge(&mut self, now: Mono, server: ServerId, load: InstanceId, name: &Arc<str>) {
        let place = &mut self.servers[server];
        place.wedges += 1;
        place.wedge = Some(Wedge {
            since: now,
            name: Arc::clone(name),
            unloaded: BTreeSet::new(),
            unloaded_at: None,
        });
        let said = self.describe_wedge(server);
        self.server_changed(server);
        let failure = Failure::new(FailureKind::LoadStalled, &said);
        self.note_server_error(now, server, &failure);
        self.note_error(now, load, &failure);
        if let Some(load) = &mut self.instances[load].load {
            load.stall_reported = true;
        }
        let model = Arc::clone(&self.models[self.instances[load].model].name);
        self.advise(Some(&model), said);
    }

    /// A sentence for people.
    pub(super) fn describe_wedge(&self, server: ServerId) -> String {
        let place = &self.servers[server];
        let name = place.wedge.as_ref().map_or("", |wedge| &*wedge.name);
        let then = if self.spec.timing.unwedge {
            "it is unloaded to end this".to_owned()
        } else {
            format!("`ollama stop {name}` ends this")
        };
        format!(
            "server {} loads nothing any more: it waits for {name} to become idle, which is idle; {then}",
            place.spec.name
        )
    }

    fn end_wedge(&mut self, now: Mono, server: ServerId) {
        let place = &mut self.servers[server];
        let Some(wedge) = &place.wedge else { return };
        // Between the unload and the next runner's socket there is nothing to be seen.
        let waits = wedge.unloaded_at.is_some_and(|at| now < at + NEXT_AFTER);
        if !waits || place.loads.is_empty() || place.watch.appeared_at > wedge.since {
            place.wedge = None;
            self.server_changed(server);
        }
    }

    /// Unloads the model in the way, on a poll that lists it and on a look that has just seen it idle.
    fn unwedge(&mut self, now: Mono, server: ServerId, entry: &Resident) {
        let seen = now < self.servers[server].watch.at + IDLE_FRESH;
        let Some(wedge) = &mut self.servers[server].wedge else {
            return;
        };
        if !seen || wedge.unloaded_at.is_some_and(|at| now < at + NEXT_AFTER) {
            return;
        }
        if self.fresh != Some(server) {
            self.servers[server].poll_now(now);
            return;
        }
        wedge.unloaded_at = Some(now);
        wedge.unloaded.insert(Arc::clone(&entry.name));
        wedge.name = Arc::clone(&entry.name);
        self.server_changed(server);
        let model = Arc::clone(&entry.name);
        self.send(now, server, About::Unwedge, Request::Unload { model });
        let weights = self.servers[server].catalog.weights(&entry.digest);
        for id in self.on(server).iter().copied() {
            let instance = &self.instances[id];
            if instance.weights.as_ref() == Some(&weights) && instance.seen.is_some() {
                let evidence = Evidence {
                    unwedged: true,
                    ..Evidence::default()
                };
                self.lose(now, id, evidence, Gone::FromList);
                self.leave(now, id);
            }
        }
    }
}
