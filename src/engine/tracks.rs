//! What is kept of a server's runners from look to look.

use super::sight::{Hidden, Life, Runner, RunnerId, Scene, Work};
use super::time::Mono;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What was last seen of a server's runners.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Why nothing is seen.
    pub(super) hidden: Option<Hidden>,
    /// The last look.
    pub(super) scene: Scene,
    pub(super) at: Mono,
    /// When a socket that may be a runner's was last new.
    pub(super) appeared_at: Mono,
    pub(super) tracks: BTreeMap<RunnerId, Track>,
    /// The folder of its models.
    store: Option<Arc<str>>,
    /// Which listed model is not seen all the same, for people.
    pub(super) note: Option<Arc<str>>,
}

/// One runner from look to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    /// Since when it is idle; `None` while it is busy.
    pub(super) idle_since: Option<Mono>,
    /// When it was last seen idle.
    pub(super) idle_at: Option<Mono>,
    progress: Option<u64>,
    /// When it came to work or got further.
    moved_at: Mono,
    /// What of its work is counted.
    pub(super) counted: Option<Work>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            hidden: Some(Hidden::Off),
            scene: Scene::default(),
            at: Mono::ZERO,
            appeared_at: Mono::ZERO,
            tracks: BTreeMap::new(),
            store: None,
            note: None,
        }
    }
}

impl Watch {
    /// Takes in a look. Returns whether people see a difference.
    pub(super) fn take(&mut self, now: Mono, scene: Scene) -> bool {
        if scene.appeared {
            self.appeared_at = now;
        }
        let before = (self.hidden.take(), self.counts());
        let mut tracks = std::mem::take(&mut self.tracks);
        self.tracks = scene
            .runners
            .iter()
            .map(|runner| {
                (
                    runner.id,
                    Track::next(now, runner, tracks.remove(&runner.id)),
                )
            })
            .collect();
        self.at = now;
        self.scene = scene;
        before != (None, self.counts())
    }

    /// Nothing is seen any more. Returns whether people see a difference. What was counted of runners stays known.
    pub(super) fn hide(&mut self, why: Hidden) -> bool {
        self.scene = Scene::default();
        self.note = None;
        self.hidden.replace(why) != Some(why)
    }

    /// All blobs of a server are in one folder, so the first one tells.
    pub(super) fn learn_store(&mut self, store: Option<&Arc<str>>) {
        if self.store.is_none() {
            self.store = store.cloned();
        }
    }

    /// Runners in all, and those of them that load.
    pub(super) fn counts(&self) -> (usize, usize) {
        let runners = self.scene.runners.iter();
        let loading = runners.filter(|runner| runner.life == Life::Loading);
        (self.scene.runners.len(), loading.count())
    }

    /// Whether somebody's load is seen in progress.
    pub(super) fn is_loading(&self) -> bool {
        self.counts().1 > 0
    }

    pub(super) fn has(&self, id: RunnerId) -> bool {
        self.scene.runners.iter().any(|runner| runner.id == id)
    }

    /// The runners with these weights, of this server's store.
    pub(super) fn with<'a, 'b>(
        &'a self,
        blob: &'b str,
    ) -> impl Iterator<Item = &'a Runner> + use<'a, 'b> {
        self.scene.runners.iter().filter(move |runner| {
            runner.weights.as_ref().is_some_and(|file| {
                &*file.blob == blob && self.store.as_ref().is_none_or(|store| *store == file.store)
            })
        })
    }
}

impl Track {
    fn next(now: Mono, runner: &Runner, before: Option<Self>) -> Self {
        let idle = runner.clients == 0;
        let was_idle_since = before.and_then(|track| track.idle_since);
        let still =
            before.filter(|track| track.idle_since.is_none() && track.progress == runner.progress);
        Self {
            idle_since: idle.then(|| was_idle_since.unwrap_or(now)),
            idle_at: if idle {
                Some(now)
            } else {
                before.and_then(|track| track.idle_at)
            },
            progress: runner.progress,
            moved_at: still.map_or(now, |track| track.moved_at),
            counted: before.and_then(|track| track.counted),
        }
    }

    /// Whether it is at work, tells how far it is, and got no further for `limit`.
    pub(super) fn stands_still(&self, now: Mono, limit: Duration) -> bool {
        self.idle_since.is_none() && self.progress.is_some() && now >= self.moved_at + limit
    }
}
