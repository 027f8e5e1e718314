//! An Ollama that answers everything at once, for the benchmarks: it keeps the engine at work and records what it told.

use model_preloader::engine::request::{
    Answer, Installed, ModelInfo, PIN_SECONDS, Request, Resident, Timings,
};
use model_preloader::engine::snapshot::State;
use model_preloader::engine::spec::{
    DriftPolicy, ModelSpec, PullPolicy, ReadinessPolicy, ReadinessScope, ReadinessSpec, ServerSpec,
    Timing, Verify, WarmupReadiness,
};
use model_preloader::engine::{Effect, Engine, Event, Mono, Spec, UnixMillis};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Decides the jitter; the same for the recording and the replay.
pub(crate) const SEED: u64 = 1;
/// 2026-11-24T08:00:00Z.
const WALL: i64 = 1_795_507_200_000;
/// Longer than any number of models here takes to load.
const READY_WITHIN: Duration = Duration::from_secs(3600);

/// One server and so many models, with the default waits.
pub(crate) fn spec(models: usize) -> Spec {
    let model = |number: usize| {
        let name: Arc<str> = name(number).into();
        ModelSpec {
            display_name: Arc::clone(&name),
            name,
            required: true,
            priority: 0,
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            verify: Verify::Token,
            warmup: Vec::new(),
            warmup_parallel: 1,
            options: Arc::default(),
            pull: PullPolicy::Never,
            drift: DriftPolicy::Report,
            servers: None,
            min_servers: 1,
        }
    };
    Spec {
        servers: vec![ServerSpec {
            name: "ollama".into(),
            url: "http://127.0.0.1:11434".into(),
        }],
        models: (0..models).map(model).collect(),
        readiness: ReadinessSpec {
            policy: ReadinessPolicy::All,
            scope: ReadinessScope::Continuous,
            warmup: WarmupReadiness::Require,
        },
        timing: Timing::default(),
    }
}

fn name(number: usize) -> String {
    format!("model-{number:03}:latest")
}

/// Digests differ in their first characters, as real ones do.
fn digest(number: usize) -> String {
    /// 2^64 divided by the golden ratio: spreads small numbers over all bits.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    format!("{:016x}", (number as u64 + 1).wrapping_mul(SPREAD)).repeat(4)
}

/// The engine, its Ollama, and everything the engine was told.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Mono,
    pub(crate) told: Vec<(Mono, Event)>,
    installed: Vec<Installed>,
    resident: Vec<Resident>,
}

impl World {
    /// A world in which all models are ready.
    pub(crate) fn ready(models: usize) -> Self {
        let installed = (0..models)
            .map(|number| Installed {
                name: name(number).into(),
                digest: digest(number).into(),
                size: 1 << 30,
                remote: false,
            })
            .collect();
        let mut world = Self {
            engine: Engine::new(spec(models), SEED),
            now: Mono::ZERO,
            told: Vec::new(),
            installed,
            resident: Vec::new(),
        };
        world.tell(Event::Clock(UnixMillis(WALL)));
        let end = world.now + READY_WITHIN;
        while !world.all_ready() {
            world.wake(end);
            assert!(world.now < end, "{models} models were never ready");
        }
        world
    }

    /// Lets time pass, waking the engine whenever it asked for it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wake(end);
        }
    }

    fn all_ready(&mut self) -> bool {
        let snapshot = self.engine.snapshot(self.now);
        snapshot
            .models
            .iter()
            .all(|model| model.state == State::Ready)
    }

    fn wake(&mut self, end: Mono) {
        self.now = self.engine.next_due().map_or(end, |due| due.min(end));
        self.tell(Event::Tick);
    }

    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.told.push((self.now, event.clone()));
            for effect in self.engine.handle(self.now, event) {
                if let Effect::Send { op, request, .. } = effect {
                    let result = Ok(self.answer(&request));
                    events.push_back(Event::Answered { op, result });
                }
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Version => Answer::Version("0.33.0".into()),
            Request::Ps => Answer::Resident(self.resident.clone()),
            Request::Tags => Answer::Installed(self.installed.clone()),
            Request::Show { model } => Answer::Info(ModelInfo {
                blob: Some(format!("sha256-{model}").into()),
                completion: true,
                ..ModelInfo::default()
            }),
            Request::Load(target) => {
                self.list(&target.model);
                Answer::Done(Timings::default())
            }
            Request::Ping(target) | Request::Pin(target) | Request::Probe(target) => {
                let asked = |entry: &&mut Resident| entry.name == target.model;
                if let Some(entry) = self.resident.iter_mut().find(asked) {
                    // A runner's expiry moves with every request.
                    entry.expires_nanos += 1;
                }
                Answer::Done(Timings::default())
            }
            Request::Warmup { .. } | Request::Unload { .. } | Request::Pull { .. } => {
                Answer::Done(Timings::default())
            }
        }
    }

    fn list(&mut self, model: &Arc<str>) {
        let Some(installed) = self.installed.iter().find(|entry| entry.name == *model) else {
            return;
        };
        let since_start = i64::try_from(self.now.since_start().as_millis()).unwrap_or(i64::MAX);
        self.resident.push(Resident {
            name: Arc::clone(model),
            digest: Arc::clone(&installed.digest),
            size: 1 << 30,
            size_vram: 0,
            context_length: 4096,
            expires_at: UnixMillis(WALL + since_start + PIN_SECONDS * 1000),
            expires_nanos: 0,
        });
    }
}
