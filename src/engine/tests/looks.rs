//! A world whose runners are looked at every second.

use super::world::*;
use crate::engine::sight::{Hidden, Life, Runner, RunnerId, Scene, Sight, WeightsFile, Work};
use crate::engine::snapshot::{LossCause, State};
use crate::engine::spec::Spec;
use crate::engine::{Event, ServerId};

/// The well runner number `id` of a model of the world, idle.
pub(super) fn runner(id: u64, name: &str) -> Runner {
    Runner {
        id: RunnerId(id),
        weights: Some(WeightsFile {
            store: "/models/blobs".into(),
            blob: format!("sha256-{name}").into(),
        }),
        life: Life::Well,
        clients: 0,
        slots: Some(1),
        slots_busy: 0,
        progress: Some(0),
        work: None,
        old: false,
    }
}

/// A runner that loads, for whomever.
pub(super) fn loader(id: u64) -> Runner {
    Runner {
        weights: None,
        life: Life::Loading,
        slots: None,
        progress: None,
        ..runner(id, "")
    }
}

pub(super) struct Looked {
    pub(super) world: World,
    pub(super) scene: Scene,
}

impl Looked {
    /// All models are ready and their runners, numbered from 1, are seen.
    pub(super) fn all_ready(spec: Spec) -> Self {
        let names: Vec<_> = spec.models.iter().map(|model| model.name.clone()).collect();
        let world = World::all_ready(spec);
        let runners = names.iter().zip(1..).map(|(name, id)| runner(id, name));
        let scene = Scene {
            runners: runners.collect(),
            ..Scene::default()
        };
        let mut looked = Self { world, scene };
        looked.look();
        looked.pass(1);
        looked
    }

    pub(super) fn look(&mut self) {
        let sight = Sight::Seen(self.scene.clone());
        self.tell(sight);
        self.scene.appeared = false;
    }

    fn tell(&mut self, sight: Sight) {
        let server = ServerId(0);
        self.world.tell(Event::Sighted { server, sight });
    }

    pub(super) fn hide(&mut self, why: Hidden) {
        self.tell(Sight::Hidden(why));
    }

    /// Lets seconds pass, each with a look at its end.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.pass(1000);
            self.look();
        }
    }

    /// Lets seconds pass until a request with these words was sent.
    pub(super) fn pass_until_sent(&mut self, words: &str, limit: u64) {
        for _ in 0..limit {
            if self.world.count_sent(words) > 0 {
                return;
            }
            self.pass(1);
        }
        panic!("no {words:?} within {limit} s: {:?}", self.world.sent);
    }

    pub(super) fn runner(&mut self, id: u64) -> &mut Runner {
        let found = self
            .scene
            .runners
            .iter_mut()
            .find(|each| each.id == RunnerId(id));
        found.unwrap()
    }

    /// The runner's process ends; Ollama does not know.
    pub(super) fn kill(&mut self, id: u64) {
        self.scene.runners.retain(|each| each.id != RunnerId(id));
    }

    /// A new runner's socket appears.
    pub(super) fn start(&mut self, new: Runner) {
        self.scene.runners.push(new);
        self.scene.appeared = true;
    }

    pub(super) fn computed(&mut self, id: u64, prompt: f64, cached: f64, generated: f64) {
        self.runner(id).work = Some(Work {
            prompt_tokens: prompt,
            prompt_tokens_cached: cached,
            generated_tokens: generated,
            prompt_seconds: prompt / 100.0,
            generation_seconds: generated / 10.0,
        });
    }

    pub(super) fn state(&mut self, name: &str) -> State {
        self.world.state(name)
    }

    pub(super) fn cause(&mut self, name: &str) -> Option<LossCause> {
        let loss = self.world.view(name).last_loss.clone();
        loss.map(|loss| loss.cause)
    }

    pub(super) fn losses(&mut self, name: &str) -> u64 {
        self.world.view(name).totals.losses.iter().sum()
    }

    pub(super) fn pings(&self, name: &str) -> usize {
        self.world.count_sent(&format!("ping {name}"))
    }
}
