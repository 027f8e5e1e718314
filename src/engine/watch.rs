//! What follows from what is seen of the runners themselves: which runner is a model's, whether it is still the same one,
//! whether it lives, and whether it is idle.
//!
//! A model whose runner is seen needs no pings. Nothing depends on it: what is not seen is asked as before.

use super::catalog::Weights;
use super::instance::{Instance, Phase};
use super::loss::Evidence;
use super::losses::Gone;
use super::sight::{Hidden, Life, Runner, RunnerId, Sight};
use super::time::Mono;
use super::{Engine, Failure, FailureKind, InstanceId, OpId, ServerId};
use std::time::Duration;

/// A runner that was idle at a look so long ago is idle now.
pub(super) const IDLE_FRESH: Duration = Duration::from_millis(250);

/// A poll answered so soon after a look knows the same runners.
const SAME_MOMENT: Duration = Duration::from_millis(500);

/// What is seen of a model's runner itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnSight {
    /// The runner, as last seen.
    pub(super) watched: Option<Watched>,
    /// The runner that was seen is gone.
    pub(super) vanished: Option<Vanished>,
    /// Another runner is seen in its place; polls asked from this operation on tell why.
    pub(super) replaced: Option<OpId>,
    /// The model is listed, and its runner is not seen.
    pub(super) unseen_since: Option<Mono>,
    /// Slots of the runner that was last seen.
    pub(super) slots: Option<usize>,
    /// Only what was seen later proves that it is well.
    pub(super) unproven_since: Mono,
}

/// The runner of a model, as last seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) id: RunnerId,
    pub(super) since: Mono,
    pub(super) seen_at: Mono,
    pub(super) life: Life,
    pub(super) clients: usize,
    pub(super) slots: Option<usize>,
    pub(super) slots_busy: usize,
    /// It is at work and gets no further.
    pub(super) stuck: bool,
}

/// A runner whose socket is gone while its model is listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vanished {
    /// Polls asked from this operation on were asked after it was gone.
    from: OpId,
    /// Such a poll still listed the model: Ollama does not know.
    pub(super) listed: bool,
}

impl Instance {
    /// Whether its runner is seen and the same as ever.
    pub(super) fn is_watched(&self) -> bool {
        self.sight.watched.is_some()
            && self.sight.vanished.is_none()
            && self.sight.replaced.is_none()
    }

    /// Whether its runner was seen well since it last had to prove itself.
    pub(super) fn is_seen_well(&self) -> bool {
        let well = |runner: Watched| {
            runner.life == Life::Well && !runner.stuck && runner.seen_at > self.sight.unproven_since
        };
        self.is_watched() && self.sight.watched.is_some_and(well)
    }

    /// Whether only a ping tells how its runner is, or makes Ollama repair it. One that is stuck in computing answers
    /// pings all the same.
    pub(super) fn needs_pings(&self) -> bool {
        match self.phase {
            Phase::Unresponsive => !self.sight.watched.is_some_and(|runner| runner.stuck),
            Phase::Ready
            | Phase::Verifying
            | Phase::Waiting
            | Phase::Pulling
            | Phase::Loading
            | Phase::Retrying(_)
            | Phase::Failed(_)
            | Phase::Quarantined(_)
            | Phase::Excluded => !self.is_watched(),
        }
    }
}

impl Engine {
    // === taking in ===

    pub(super) fn sighted(&mut self, now: Mono, server: ServerId, sight: Sight) {
        if server.0 as usize >= self.spec.servers.len() {
            return;
        }
        match sight {
            Sight::Hidden(why) => self.hide(server, why),
            Sight::Seen(scene) => {
                let place = &mut self.servers[server];
                if place.watch.take(now, scene) {
                    self.server_changed(server);
                }
                self.count_work(server);
                for id in self.on(server).iter().copied() {
                    self.follow(now, id);
                    self.see_usurper_at_work(now, id);
                }
                self.note_unseen(now, server);
            }
        }
    }

    /// Its runners are not seen any more: pings do the work.
    fn hide(&mut self, server: ServerId, why: Hidden) {
        if !self.servers[server].watch.hide(why) {
            return;
        }
        self.server_changed(server);
        for id in self.on(server).iter().copied() {
            let instance = &mut self.instances[id];
            instance.sight = OwnSight {
                slots: instance.sight.slots,
                unproven_since: instance.sight.unproven_since,
                ..OwnSight::default()
            };
            instance.touch();
        }
    }

    /// What was last seen counts no longer than what was last polled.
    pub(super) fn end_late_sight(&mut self, now: Mono, server: ServerId) {
        let watch = &self.servers[server].watch;
        if watch.hidden.is_none() && now >= watch.at + self.spec.timing.stale_after {
            self.hide(server, Hidden::Late);
        }
    }

    pub(super) fn is_observed(&self, server: ServerId) -> bool {
        self.servers[server].watch.hidden.is_none()
    }

    // === whose runner ===

    /// The one runner with these weights, if it is certainly this server's.
    pub(super) fn runner_with<'a>(
        &'a self,
        server: ServerId,
        weights: &Weights,
    ) -> Option<&'a Runner> {
        let Weights::Blob(blob, _) = weights else {
            return None;
        };
        let mut found = self.servers[server].watch.with(blob);
        let only = found.next()?;
        (found.next().is_none() && self.shares_with(server, blob, only.id).is_none())
            .then_some(only)
    }

    /// Another server to which the same runner may belong: both see it, and both list its weights.
    pub(super) fn shares_with(
        &self,
        server: ServerId,
        blob: &str,
        id: RunnerId,
    ) -> Option<ServerId> {
        let lists = |place: &super::Server| {
            place.resident.iter().any(|entry| {
                matches!(place.catalog.weights(&entry.digest), Weights::Blob(listed, _) if &*listed == blob)
            })
        };
        self.servers
            .iter()
            .filter(|(other, _)| *other != server)
            .find(|(_, place)| place.watch.with(blob).any(|each| each.id == id) && lists(place))
            .map(|(other, _)| other)
    }

    fn runner_of(&self, id: InstanceId) -> Option<&Runner> {
        let instance = &self.instances[id];
        instance.seen.as_ref()?;
        self.runner_with(instance.server, instance.weights.as_ref()?)
    }

    // === from look to look ===

    fn follow(&mut self, now: Mono, id: InstanceId) {
        let instance = &self.instances[id];
        let found = self
            .runner_of(id)
            .map(|runner| self.watched(now, instance, runner));
        let listed = instance.seen.is_some();
        let at_work = matches!(instance.phase, Phase::Ready | Phase::Verifying);
        let before = instance.sight.watched;
        let watch = &self.servers[instance.server].watch;
        let gone = before.is_some_and(|runner| !watch.has(runner.id));
        let unseen = listed && at_work && found.is_none();
        let instance = &mut self.instances[id];
        instance.sight.unseen_since = unseen.then(|| instance.sight.unseen_since.unwrap_or(now));
        match (before, found) {
            (Some(before), Some(found)) if before.id != found.id => {
                self.find_replaced(now, id, found);
            }
            (_, Some(found)) => self.see_runner(now, id, found),
            (Some(_), None) if gone && listed => self.find_vanished(now, id),
            (Some(_), None) => {
                instance.sight.watched = None;
                instance.sight.vanished = None;
                instance.touch();
            }
            (None, None) => {}
        }
    }

    fn watched(&self, now: Mono, instance: &Instance, runner: &Runner) -> Watched {
        let same = instance
            .sight
            .watched
            .filter(|before| before.id == runner.id);
        let track = self.servers[instance.server].watch.tracks.get(&runner.id);
        let still =
            track.is_some_and(|track| track.stands_still(now, self.spec.timing.stuck_after));
        Watched {
            id: runner.id,
            since: same.map_or(now, |before| before.since),
            seen_at: now,
            life: runner.life,
            clients: runner.clients,
            slots: runner.slots,
            slots_busy: runner.slots_busy,
            stuck: still,
        }
    }

    fn see_runner(&mut self, now: Mono, id: InstanceId, found: Watched) {
        let instance = &mut self.instances[id];
        let before = instance.sight.watched.replace(found);
        instance.sight.vanished = None;
        instance.sight.slots = found.slots.or(instance.sight.slots);
        let shown = |runner: Watched| (runner.id, runner.clients, runner.slots, runner.slots_busy);
        if before.map(shown) != Some(shown(found)) {
            instance.touch();
        }
        let verifying = instance.phase == Phase::Verifying;
        let at_work = verifying || instance.phase == Phase::Ready;
        let (server, wait) = (instance.server, self.spec.timing.stuck_after.as_secs());
        if at_work && found.life == Life::Frozen {
            self.find_silent(
                now,
                id,
                "its runner does not answer although its socket is there".into(),
            );
        } else if at_work && found.stuck {
            self.find_silent(
                now,
                id,
                format!("its runner is at work and got no further for {wait} s"),
            );
        } else if before.is_some_and(|before| before.stuck) && !found.stuck {
            self.recover(now, id);
        }
        let instance = &self.instances[id];
        let waits = self.wants_idle_from(id).is_some_and(|from| now >= from) && found.clients == 0;
        let unproven = verifying && instance.plan.is_none();
        let held = before.is_none() && instance.plan.is_some();
        if waits || unproven || held || instance.phase == Phase::Unresponsive {
            self.servers[server].poll_now(now);
        }
    }

    fn find_silent(&mut self, now: Mono, id: InstanceId, said: String) {
        let evidence = Evidence {
            silent: true,
            ..Evidence::default()
        };
        self.lose(now, id, evidence, Gone::Silent);
        self.note_error(now, id, &Failure::new(FailureKind::RunnerHung, said));
    }

    /// It got further after all.
    fn recover(&mut self, now: Mono, id: InstanceId) {
        if self.instances[id].phase == Phase::Unresponsive {
            self.verify_again(now, id);
        }
    }

    /// Another process has its weights. A poll made after this look tells what can be told about the reason.
    fn find_replaced(&mut self, now: Mono, id: InstanceId, found: Watched) {
        let next_op = OpId(self.next_op);
        let instance = &mut self.instances[id];
        instance.sight.watched = Some(found);
        instance.sight.slots = found.slots.or(instance.sight.slots);
        instance.touch();
        let ours = instance.load.is_some() || instance.phase == Phase::Unresponsive;
        if instance
            .sight
            .vanished
            .take()
            .is_none_or(|vanished| !vanished.listed)
            && !ours
        {
            instance.sight.replaced = Some(next_op);
        }
        let server = instance.server;
        self.servers[server].poll_now(now);
    }

    /// Its process is gone and Ollama lists the model. Ollama removes a runner that it ends itself from its list before
    /// the next poll is answered, so a poll that still lists it, with no other runner in its place, proves a crash.
    fn find_vanished(&mut self, now: Mono, id: InstanceId) {
        let from = OpId(self.next_op);
        let instance = &mut self.instances[id];
        let server = instance.server;
        let vanished = *instance.sight.vanished.get_or_insert(Vanished {
            from,
            listed: false,
        });
        if vanished.listed {
            self.find_crashed(now, id);
        }
        self.servers[server].poll_now(now);
    }

    /// A poll was answered: judges what the looks before could not.
    pub(super) fn judge_runner(&mut self, now: Mono, id: InstanceId, asked: OpId) {
        let server = self.instances[id].server;
        let place = &self.servers[server];
        let watch = &place.watch;
        let certain = !watch.is_loading() && watch.scene.unclear == 0;
        let certain = certain && now < watch.at + SAME_MOMENT;
        let server_was_down = place.was_down;
        let instance = &mut self.instances[id];
        if let Some(vanished) = &mut instance.sight.vanished
            && asked >= vanished.from
        {
            vanished.listed = true;
            if certain {
                self.find_crashed(now, id);
            }
        }
        let instance = &mut self.instances[id];
        if instance.sight.replaced.is_none_or(|from| asked < from) {
            return;
        }
        instance.sight.replaced = None;
        let pinned = instance.seen.as_ref().is_some_and(|seen| seen.view.pinned);
        let at_work = matches!(instance.phase, Phase::Ready | Phase::Verifying);
        if !at_work || instance.load.is_some() {
            return;
        }
        instance.ours &= pinned;
        instance.needs_pin = !pinned;
        let evidence = Evidence {
            server_was_down,
            replaced: true,
            ..Evidence::default()
        };
        self.lose(now, id, evidence, Gone::StillResident);
    }

    fn find_crashed(&mut self, now: Mono, id: InstanceId) {
        let instance = &mut self.instances[id];
        instance.sight.vanished = None;
        instance.sight.watched = None;
        instance.touch();
        if !matches!(instance.phase, Phase::Ready | Phase::Verifying) || instance.load.is_some() {
            return;
        }
        let evidence = Evidence {
            ended: true,
            ..Evidence::default()
        };
        self.lose(now, id, evidence, Gone::Silent);
        let said = "its runner has ended; Ollama loads it again when it is asked";
        self.note_error(now, id, &Failure::new(FailureKind::RunnerCrashed, said));
    }
}
