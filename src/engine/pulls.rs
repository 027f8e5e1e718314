//! Pulling what is declared and not installed, where the operator allows it. A pull is the first part of an attempt; the
//! load follows it. Ollama keeps what was pulled before a failure, so the next attempt goes on from there.

use super::instance::Phase;
use super::request::Request;
use super::snapshot::PullView;
use super::spec::PullPolicy;
use super::time::Mono;
use super::{About, Engine, Failure, FailureKind, InstanceId, OpId, ServerId};
use std::sync::Arc;

/// Pulls at the same time on one server: they share its network, so a second one would only delay the first.
const PULLS_MAX: usize = 1;

/// The open pull of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPull {
    pub(super) op: OpId,
    pub(super) since: Mono,
    /// When it last got further.
    pub(super) moved_at: Mono,
    /// Bytes there and in all, as last reported.
    progress: Option<(u64, u64)>,
    /// The first report: what was there before this attempt says nothing about its speed.
    first: Option<(Mono, u64)>,
}

impl OpenPull {
    pub(super) fn view(&self, now: Mono) -> PullView {
        let (completed, total) = self.progress.unzip();
        let rate = self
            .first
            .zip(completed)
            .and_then(|((at, before), completed)| {
                let seconds = now.since(at).as_secs_f64();
                let bytes = completed.saturating_sub(before);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a positive number of bytes in a second, far below 2^63"
                )]
                let rate = (bytes as f64 / seconds) as u64;
                (seconds >= 1.0 && rate > 0).then_some(rate)
            });
        PullView {
            since: self.since,
            completed: completed.unwrap_or(0),
            total,
            bytes_per_second: rate,
        }
    }
}

impl Engine {
    /// Whether a model that is not installed is pulled rather than failed.
    pub(super) fn is_pulled(&self, id: InstanceId) -> bool {
        self.models[self.instances[id].model].pull != PullPolicy::Never
    }

    /// Whether the model has to be pulled before it can be loaded.
    pub(super) fn is_missing(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let catalog = &self.servers[instance.server].catalog;
        let name = &self.models[instance.model].name;
        self.is_pulled(id) && catalog.is_known() && catalog.installed(name).is_none()
    }

    /// Whether the model is brought up to date before its next load. What is resident is in use and left alone.
    pub(super) fn is_updated_first(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        self.models[instance.model].pull == PullPolicy::Always && !instance.pulled
    }

    pub(super) fn has_free_pull(&self, server: ServerId) -> bool {
        let on_server = self.on_server[server].iter();
        let open = on_server.filter(|id| self.instances[**id].pull.is_some());
        open.count() < PULLS_MAX
    }

    /// When a pull of a missing model may begin; `None` where nothing is missing, or something else comes first.
    pub(super) fn pull_due(&self, id: InstanceId) -> Option<Mono> {
        let instance = &self.instances[id];
        let due = match instance.phase {
            Phase::Waiting => instance.not_before,
            Phase::Retrying(due) | Phase::Failed(due) | Phase::Quarantined(due) => due,
            Phase::Pulling
            | Phase::Loading
            | Phase::Verifying
            | Phase::Ready
            | Phase::Unresponsive
            | Phase::Excluded => return None,
        };
        let may = instance.is_quiet() && self.is_missing(id);
        (may && self.has_free_pull(instance.server)).then_some(due)
    }

    /// Begins the pulls of what is missing, in the order of loading.
    pub(super) fn pull_in_turn(&mut self, now: Mono, server: ServerId) {
        for id in self.on(server).iter().copied() {
            if self.pull_due(id).is_some_and(|due| now >= due) {
                self.send_pull(now, id);
            }
        }
    }

    pub(super) fn send_pull(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let model = Arc::clone(&self.models[instance.model].name);
        let request = Request::Pull { model };
        let op = self.send(now, instance.server, About::Pull(id), request);
        let instance = &mut self.instances[id];
        instance.begin_attempt();
        instance.phase = Phase::Pulling;
        instance.totals().pulls += 1;
        instance.pull = Some(OpenPull {
            op,
            since: now,
            moved_at: now,
            progress: None,
            first: None,
        });
    }

    pub(super) fn pull_progressed(&mut self, now: Mono, op: OpId, completed: u64, total: u64) {
        let Some(About::Pull(id)) = self.ops.get(&op).map(|open| open.about.clone()) else {
            return;
        };
        let instance = &mut self.instances[id];
        let Some(pull) = &mut instance.pull else {
            return;
        };
        if pull.progress != Some((completed, total)) {
            pull.moved_at = now;
            pull.progress = Some((completed, total));
            pull.first.get_or_insert((now, completed));
            instance.touch();
        }
    }

    pub(super) fn pulled(&mut self, now: Mono, id: InstanceId) {
        let instance = &mut self.instances[id];
        instance.pull = None;
        instance.pulled = true;
        instance.mid_attempt = true;
        instance.digest = None;
        instance.phase = Phase::Waiting;
        instance.touch();
        // What is installed is another thing now; nothing is decided before it is known.
        let place = &mut self.servers[instance.server];
        place.catalog.forget_installed();
        place.next_tags = now;
    }

    pub(super) fn pull_failed(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let instance = &mut self.instances[id];
        instance.pull = None;
        instance.touch();
        if failure.kind == FailureKind::Unreachable {
            // Waiting for the server is no failure of an attempt.
            self.note_error(now, id, failure);
            let instance = &mut self.instances[id];
            instance.attempts = instance.attempts.saturating_sub(1);
            instance.phase = Phase::Waiting;
            return;
        }
        self.instances[id].phase = Phase::Waiting;
        self.fail_attempt(now, id, failure);
    }

    pub(super) fn run_pull_clock(&mut self, now: Mono, id: InstanceId) {
        let limit = self.spec.timing.pull_timeout;
        let overdue = |pull: &OpenPull| now >= pull.moved_at + limit;
        let Some(pull) = self.instances[id].pull.filter(overdue) else {
            return;
        };
        self.drop_op(pull.op);
        let said = format!(
            "no progress for {} s; the pull was dropped",
            limit.as_secs()
        );
        self.pull_failed(now, id, &Failure::new(FailureKind::PullFailed, said));
    }
}
