//! Taking in answers: what an answer proves about a server and about the models on it.

use super::instance::Phase;
use super::loss::Evidence;
use super::request::{Answer, Installed, ModelInfo, Resident, Via};
use super::server::Asked;
use super::snapshot::Reach;
use super::time::Mono;
use super::{About, Engine, Failure, FailureKind, InstanceId, Notice, Op, OpId, ServerId};
use super::{Effect, losses::Gone};
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    pub(super) fn answered(&mut self, now: Mono, op: OpId, result: Result<Answer, Failure>) {
        // An operation that was dropped or replaced is not in the table any more: its late answer changes nothing.
        let Some(Op {
            server,
            about,
            sent_at,
        }) = self.ops.remove(&op)
        else {
            return;
        };
        if let Err(failure) = &result
            && failure.kind == FailureKind::Unreachable
        {
            self.refused(now, server, &about, failure);
        }
        let changes_what_is_known =
            !matches!(about, About::Load(_) | About::Ping(_) | About::Step(_));
        match (about, result) {
            (About::Ps, Ok(Answer::Resident(entries))) => {
                self.polled(now, server, Asked { op, at: sent_at }, entries);
            }
            (About::Ps, other) => self.poll_failed(now, server, sent_at, &unexpected(other)),
            (About::Version, Ok(Answer::Version(version))) => self.version_told(server, version),
            (About::Version, other) => {
                self.servers[server].version_asked = None;
                self.note_server_error(now, server, &unexpected(other));
            }
            (About::Tags, Ok(Answer::Installed(models))) => self.tags_told(now, server, models),
            (About::Tags, other) => {
                let retry = now + self.spec.timing.poll_interval;
                let place = &mut self.servers[server];
                place.tags_asked = None;
                place.next_tags = retry;
                self.note_server_error(now, server, &unexpected(other));
            }
            (About::Show { digest }, Ok(Answer::Info(info))) => {
                self.shown(now, server, digest, info);
            }
            (About::Show { digest }, other) => {
                self.show_failed(now, server, digest, &unexpected(other));
            }
            (About::Pull(id), Ok(_)) => self.pulled(now, id),
            (About::Pull(id), Err(failure)) => self.pull_failed(now, id, &failure),
            (About::Unwedge, _) => self.servers[server].poll_now(now),
            (About::Unload(id), result) => self.unloaded(now, id, result.as_ref().map(|_| ())),
            (About::Load(id), Ok(_)) => self.loaded(now, id),
            (About::Load(id), Err(failure)) => self.load_failed(now, id, &failure),
            (About::Ping(id), Ok(_)) => self.pinged(now, id),
            (About::Ping(id), Err(failure)) => self.ping_failed(now, id, &failure),
            (About::Step(id), Ok(Answer::Done(timings))) => self.stepped(now, id, timings),
            (About::Step(id), other) => self.step_failed(now, id, &unexpected(other)),
        }
        if changes_what_is_known {
            self.find_what_to_ask(server);
        }
    }

    /// Whose weights have to be asked for: those of a declared model first, else of what is resident.
    fn find_what_to_ask(&mut self, server: ServerId) {
        let place = &self.servers[server];
        let unknown = |name: &Arc<str>, digest: &Arc<str>| {
            let ask = place.catalog.must_ask(name, digest);
            ask.then(|| (Arc::clone(name), Arc::clone(digest)))
        };
        let declared = self.on_server[server].iter().find_map(|id| {
            let instance = &self.instances[*id];
            unknown(&self.models[instance.model].name, instance.digest.as_ref()?)
        });
        let resident = place
            .resident
            .iter()
            .find_map(|entry| unknown(&entry.name, &entry.digest));
        let place = &mut self.servers[server];
        place.residents_known = resident.is_none();
        place.to_ask = declared.or(resident);
    }

    // === the server as a whole ===

    /// The listener is not there: nothing of what was resident can be relied on, and no retry is used up.
    fn refused(&mut self, now: Mono, server: ServerId, about: &About, failure: &Failure) {
        if !matches!(about, About::Ps | About::Version) {
            // Some other request's connection broke; a poll will tell whether the server is gone.
            self.servers[server].poll_now(now);
            return;
        }
        self.note_server_error(now, server, failure);
        let place = &mut self.servers[server];
        place.was_down = place.was_down || place.answered_at.is_some();
        place.version_asked = None;
        place.version_due = true;
        place.silent_since = None;
        place.catalog.forget_installed();
        if place.reach != Reach::Down {
            let was_up = !matches!(place.reach, Reach::Starting);
            place.reach = Reach::Down;
            if was_up {
                self.say_reach(server, false, Arc::clone(&failure.message));
            }
        }
        self.servers[server].next_poll = now + self.spec.timing.reconnect_interval;
        self.server_changed(server);
        for id in self.on(server).iter().copied() {
            let view = self.error_view(now, id, failure);
            let instance = &mut self.instances[id];
            instance.digest = None;
            instance.held = false;
            instance.sight.slots = None;
            match instance.phase {
                Phase::Retrying(_) | Phase::Failed(_) | Phase::Quarantined(_)
                    if instance.load.is_none() =>
                {
                    instance.phase = Phase::Waiting;
                    instance.attempts = 0;
                    instance.last_error = Some(view);
                }
                Phase::Waiting | Phase::Pulling | Phase::Loading => {
                    instance.last_error = Some(view);
                }
                Phase::Retrying(_)
                | Phase::Failed(_)
                | Phase::Quarantined(_)
                | Phase::Verifying
                | Phase::Ready
                | Phase::Unresponsive
                | Phase::Excluded => {}
            }
            instance.touch();
        }
    }

    fn poll_failed(&mut self, now: Mono, server: ServerId, sent_at: Mono, failure: &Failure) {
        let interval = self.spec.timing.poll_interval;
        let place = &mut self.servers[server];
        place.ps = None;
        if failure.kind == FailureKind::Unreachable {
            return;
        }
        place.silent_since.get_or_insert(sent_at);
        place.next_poll = sent_at + interval;
        self.note_server_error(now, server, failure);
        if matches!(self.servers[server].reach, Reach::Starting) {
            for id in self.on(server).iter().copied() {
                self.note_error(now, id, failure);
            }
        }
    }

    pub(super) fn note_server_error(&mut self, now: Mono, server: ServerId, failure: &Failure) {
        let place = &mut self.servers[server];
        let hint = failure.kind.hint("NAME", &place.spec.url).into();
        let message = Arc::clone(&failure.message);
        place.last_error = Some(super::snapshot::ErrorView {
            kind: failure.kind,
            message,
            hint,
            at: now,
        });
        self.server_changed(server);
    }

    fn version_told(&mut self, server: ServerId, version: Arc<str>) {
        let place = &mut self.servers[server];
        place.version_asked = None;
        if place
            .version
            .as_ref()
            .is_some_and(|known| *known != version)
        {
            place.version_changed = true;
        }
        place.version = Some(version);
        if place.silent_since.is_some() && place.reach != Reach::Starting {
            place.reach = Reach::PsSilent;
        }
        self.server_changed(server);
    }

    pub(super) fn say_reach(&mut self, server: ServerId, up: bool, detail: Arc<str>) {
        let name = Arc::clone(&self.servers[server].spec.name);
        self.out.push(Effect::Log(Notice::Server {
            server: name,
            up,
            detail,
        }));
    }

    fn polled(&mut self, now: Mono, server: ServerId, asked: Asked, mut entries: Vec<Resident>) {
        /// A server lists at most as many runners as fit its memory; anything above this is not an Ollama.
        const ENTRIES_MAX: usize = 1024;
        entries.truncate(ENTRIES_MAX);
        let interval = self.spec.timing.poll_interval;
        let place = &mut self.servers[server];
        place.ps = None;
        place.answered_at = Some(now);
        place.evidence = asked.op;
        place.silent_since = None;
        place.next_poll = asked.at + interval;
        let before = place.reach;
        place.reach = Reach::Up;
        if matches!(before, Reach::Starting | Reach::Down) {
            place.version_due = true;
            place.next_tags = now;
            place.show_not_before = now;
            place.show_failed = false;
        }
        if before != Reach::Up {
            let detail = place.version.clone().unwrap_or_else(|| "answers".into());
            self.say_reach(server, true, detail);
        }
        self.fresh = Some(server);
        self.compare(now, server, asked.op, &entries);
        let place = &mut self.servers[server];
        place.resident = entries;
        place.was_down = false;
        place.version_changed = false;
        self.server_changed(server);
    }

    // === what is installed ===

    fn tags_told(&mut self, now: Mono, server: ServerId, models: Vec<Installed>) {
        /// More installed models than any server holds; the rest is ignored rather than kept in memory.
        const MODELS_MAX: usize = 10_000;
        let next = now + self.spec.timing.tags_interval;
        let place = &mut self.servers[server];
        place.tags_asked = None;
        place.next_tags = next;
        place
            .catalog
            .set_installed(models.into_iter().take(MODELS_MAX).collect());
        for id in self.on(server).iter().copied() {
            let name = Arc::clone(&self.models[self.instances[id].model].name);
            match self.servers[server].catalog.installed(&name).cloned() {
                Some(found) if found.remote => self.exclude(now, id),
                Some(found) => self.found_installed(now, id, found.digest),
                None if is_cloud_name(&name) => self.exclude(now, id),
                None => self.found_missing(now, id, &name),
            }
        }
        self.find_conflicts(now, server);
    }

    fn found_installed(&mut self, now: Mono, id: InstanceId, digest: Arc<str>) {
        let instance = &mut self.instances[id];
        if instance.digest.as_ref() != Some(&digest) {
            let was_missing = instance.digest.replace(digest).is_none();
            let was_the_reason =
                |kind| matches!(kind, FailureKind::ModelNotFound | FailureKind::PullFailed);
            let waits_for_it = matches!(instance.phase, Phase::Failed(_) | Phase::Retrying(_))
                && instance.load.is_none()
                && instance
                    .last_error
                    .as_ref()
                    .is_some_and(|error| was_the_reason(error.kind));
            if was_missing && waits_for_it {
                instance.phase = Phase::Waiting;
                instance.attempts = 0;
                instance.touch();
            }
        }
        self.apply_info(now, id);
    }

    fn found_missing(&mut self, now: Mono, id: InstanceId, name: &str) {
        let failure = Failure::new(
            FailureKind::ModelNotFound,
            format!("model '{name}' not found"),
        );
        let is_pulled = self.is_pulled(id);
        let instance = &mut self.instances[id];
        let had_it = instance.digest.take().is_some();
        match instance.phase {
            Phase::Waiting | Phase::Retrying(_) if instance.mid_attempt => {
                let said = "it was pulled, but the server does not list it";
                self.fail_attempt(now, id, &Failure::new(FailureKind::PullFailed, said));
            }
            Phase::Waiting | Phase::Retrying(_) if instance.load.is_none() && !is_pulled => {
                instance.attempts += 1;
                instance.totals().preload_attempts += 1;
                self.fail_attempt(now, id, &failure);
            }
            Phase::Ready | Phase::Verifying | Phase::Unresponsive if had_it => {
                // It stays resident, but no client can address it by its name any more.
                self.lose(
                    now,
                    id,
                    Evidence {
                        deleted: true,
                        ..Evidence::default()
                    },
                    Gone::Unusable,
                );
                if !is_pulled {
                    self.fail_attempt(now, id, &failure);
                }
            }
            Phase::Waiting
            | Phase::Retrying(_)
            | Phase::Ready
            | Phase::Verifying
            | Phase::Unresponsive
            | Phase::Pulling
            | Phase::Loading
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Excluded => {}
        }
    }

    fn exclude(&mut self, now: Mono, id: InstanceId) {
        if self.instances[id].phase == Phase::Excluded {
            return;
        }
        let name = Arc::clone(&self.models[self.instances[id].model].name);
        self.instances[id].phase = Phase::Excluded;
        let said =
            format!("{name} is a cloud model: it is never resident, so the gate does not count it");
        self.note_error(now, id, &Failure::new(FailureKind::UnsupportedModel, &said));
        self.advise(Some(&name), said);
    }

    fn shown(&mut self, now: Mono, server: ServerId, digest: Arc<str>, info: ModelInfo) {
        let place = &mut self.servers[server];
        place.show_asked = None;
        place.watch.learn_store(info.store.as_ref());
        place.catalog.learn(digest, info);
        for id in self.on(server).iter().copied() {
            self.apply_info(now, id);
        }
        self.find_conflicts(now, server);
        // Who is resident may look different now that these weights are known.
        self.servers[server].poll_now(now);
    }

    fn show_failed(&mut self, now: Mono, server: ServerId, digest: Arc<str>, failure: &Failure) {
        /// Wait before the next `show` after one that failed for a reason that may pass.
        const PAUSE: Duration = Duration::from_secs(1);
        let place = &mut self.servers[server];
        place.show_asked = None;
        place.show_not_before = now + PAUSE;
        place.show_failed = true;
        if !failure.kind.is_retryable() {
            place.catalog.give_up_on(digest);
            for id in self.on(server).iter().copied() {
                self.apply_info(now, id);
            }
        } else if failure.kind != FailureKind::Unreachable {
            self.note_server_error(now, server, failure);
        }
    }

    /// Takes over what is known of an instance's weights.
    fn apply_info(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let catalog = &self.servers[instance.server].catalog;
        let Some(digest) = &instance.digest else {
            return;
        };
        let name = &self.models[instance.model].name;
        if catalog.must_ask(name, digest) {
            return;
        }
        let weights = catalog.weights(digest);
        let info = catalog.info(digest).cloned().unwrap_or_default();
        if info.remote {
            self.exclude(now, id);
            return;
        }
        let instance = &mut self.instances[id];
        instance.via = if info.embedding && !info.completion {
            Via::Embed
        } else {
            Via::Generate
        };
        instance.weights = Some(weights);
    }
}

/// An answer of another kind than asked for is a defect of the client; it is reported, not believed.
fn unexpected(result: Result<Answer, Failure>) -> Failure {
    match result {
        Err(failure) => failure,
        Ok(_) => Failure::new(
            FailureKind::UnexpectedResponse,
            "an answer to another question",
        ),
    }
}

/// Ollama proxies these names to its cloud.
fn is_cloud_name(name: &str) -> bool {
    name.ends_with(":cloud") || name.ends_with("-cloud")
}
