//! A tiny Ollama for the engine's tests: polls, tags, shows, versions and pings are answered at once; loads, probes and
//! warm-ups wait until the test answers them.

use crate::engine::request::{
    Answer, Installed, ModelInfo, PIN_SECONDS, Request, Resident, Timings,
};
use crate::engine::snapshot::{InstanceView, ModelView, Snapshot, State};
use crate::engine::spec::*;
use crate::engine::{Effect, Engine, Event, Failure, FailureKind, Mono, Notice, OpId, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-24T08:00:00Z.
pub(super) const WALL: i64 = 1_795_507_200_000;

pub(super) fn model(name: &str) -> ModelSpec {
    crate::testing::spec(&[name]).models.remove(0)
}

pub(super) fn spec(models: Vec<ModelSpec>) -> Spec {
    Spec {
        models,
        ..crate::testing::spec(&[])
    }
}

pub(super) fn warmed(name: &str, conversations: usize) -> ModelSpec {
    let warmup = (0..conversations)
        .map(|number| Conversation {
            name: number.to_string().into(),
            json: "{}".into(),
        })
        .collect();
    ModelSpec {
        verify: Verify::Prompt,
        warmup,
        ..model(name)
    }
}

/// How the stand-in answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mood {
    Well,
    Refusing,
    PsSilent,
    Silent,
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Mono,
    pub(super) mood: Mood,
    pub(super) installed: Vec<Installed>,
    pub(super) infos: BTreeMap<String, ModelInfo>,
    pub(super) resident: Vec<Resident>,
    /// Pings of these models stay open.
    pub(super) frozen: Vec<String>,
    /// Pings of these models do not move the expiry.
    pub(super) busy: Vec<String>,
    pub(super) open: BTreeMap<OpId, Request>,
    /// Every request but polls, with its time in milliseconds.
    pub(super) sent: Vec<(u64, String)>,
    pub(super) dropped: Vec<OpId>,
    pub(super) notices: Vec<Notice>,
    pub(super) polls: usize,
    /// The options of the last ping or pin.
    pub(super) pinged_with: Arc<Options>,
    /// Runners are busy since their load, so that every poll shows another expiry.
    pub(super) never_idle: bool,
}

impl World {
    pub(super) fn new(spec: Spec) -> Self {
        let mut world = Self {
            installed: Vec::new(),
            infos: BTreeMap::new(),
            engine: Engine::new(spec.clone(), 1),
            now: Mono::ZERO,
            mood: Mood::Well,
            resident: Vec::new(),
            frozen: Vec::new(),
            busy: Vec::new(),
            open: BTreeMap::new(),
            sent: Vec::new(),
            dropped: Vec::new(),
            notices: Vec::new(),
            polls: 0,
            pinged_with: Arc::default(),
            never_idle: false,
        };
        for model in &spec.models {
            world.install(&model.name, &format!("sha256-{}", model.name));
        }
        world
    }

    pub(super) fn install(&mut self, name: &str, blob: &str) {
        let digest: Arc<str> = format!("{name}={blob}").into();
        self.installed.retain(|model| &*model.name != name);
        self.installed.push(Installed {
            name: name.into(),
            digest,
            size: 1,
            remote: false,
        });
        let info = ModelInfo {
            blob: Some(blob.into()),
            completion: true,
            ..ModelInfo::default()
        };
        self.infos.insert(name.into(), info);
    }

    pub(super) fn start(spec: Spec) -> Self {
        let mut world = Self::new(spec);
        world.tell(Event::Clock(UnixMillis(WALL)));
        world
    }

    /// Makes it resident as a load of `keep_alive` seconds would.
    pub(super) fn list(&mut self, name: &str, keep_alive: i64) {
        let digest = self
            .installed
            .iter()
            .find(|model| &*model.name == name)
            .map(|model| Arc::clone(&model.digest));
        self.resident.retain(|entry| &*entry.name != name);
        self.resident.push(Resident {
            name: name.into(),
            digest: digest.unwrap_or_else(|| "?".into()),
            size: 100,
            size_vram: 0,
            context_length: 4096,
            expires_at: self.wall(keep_alive),
            expires_nanos: 0,
        });
    }

    pub(super) fn unlist(&mut self, name: &str) {
        self.resident.retain(|entry| &*entry.name != name);
    }

    fn wall(&self, seconds_ahead: i64) -> UnixMillis {
        UnixMillis(WALL + self.now.since_start().as_millis() as i64 + seconds_ahead * 1000)
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.engine.handle(self.now, event) {
                match effect {
                    Effect::Send { op, request, .. } => {
                        self.note(&request);
                        match self.reply(&request) {
                            Some(result) => events.insert(0, Event::Answered { op, result }),
                            None => drop(self.open.insert(op, request)),
                        }
                    }
                    Effect::Drop(op) => {
                        self.open.remove(&op);
                        self.dropped.push(op);
                    }
                    Effect::Log(notice) => self.notices.push(notice),
                }
            }
        }
        if let Some(due) = self.engine.next_due() {
            assert!(
                due > self.now,
                "the engine would be woken for ever: due {due:?} at {:?}",
                self.now
            );
        }
    }

    fn note(&mut self, request: &Request) {
        let words = match request {
            Request::Version => "version".into(),
            Request::Ps => {
                self.polls += 1;
                return;
            }
            Request::Tags => "tags".into(),
            Request::Show { model } => format!("show {model}"),
            Request::Load(target) => format!("load {}", target.model),
            Request::Pin(target) => format!("pin {}", target.model),
            Request::Ping(target) => format!("ping {}", target.model),
            Request::Probe(target) => format!("probe {}", target.model),
            Request::Warmup {
                target,
                conversation,
                copies,
            } => {
                format!("warmup {} {} x{copies}", target.model, conversation.name)
            }
            Request::Unload { model } => format!("unload {model}"),
            Request::Pull { model } => format!("pull {model}"),
        };
        self.sent
            .push((self.now.since_start().as_millis() as u64, words));
    }

    fn reply(&mut self, request: &Request) -> Option<Result<Answer, Failure>> {
        match self.mood {
            Mood::Refusing => {
                return Some(Err(Failure::new(
                    FailureKind::Unreachable,
                    "connection refused",
                )));
            }
            Mood::Silent => return None,
            Mood::PsSilent if *request == Request::Ps => return None,
            Mood::PsSilent | Mood::Well => {}
        }
        if self.never_idle && *request == Request::Ps {
            for entry in &mut self.resident {
                entry.expires_nanos += 1;
            }
        }
        let done = Some(Ok(Answer::Done(Timings::default())));
        match request {
            Request::Version => Some(Ok(Answer::Version("0.33.0".into()))),
            Request::Ps => Some(Ok(Answer::Resident(self.resident.clone()))),
            Request::Tags => Some(Ok(Answer::Installed(self.installed.clone()))),
            Request::Show { model } => Some(match self.infos.get(&**model) {
                Some(info) => Ok(Answer::Info(info.clone())),
                None => Err(Failure::new(FailureKind::ModelNotFound, "not found")),
            }),
            Request::Ping(target) | Request::Pin(target) => {
                self.pinged_with = Arc::clone(&target.options);
                if self.frozen.iter().any(|name| **name == *target.model) {
                    return None;
                }
                let pin = matches!(request, Request::Pin(_));
                let moves = !self.busy.iter().any(|name| **name == *target.model);
                let pinned = self.wall(PIN_SECONDS);
                for entry in self
                    .resident
                    .iter_mut()
                    .filter(|entry| entry.name == target.model && moves)
                {
                    entry.expires_nanos += 1;
                    if pin {
                        entry.expires_at = pinned;
                    }
                }
                done
            }
            Request::Load(_)
            | Request::Probe(_)
            | Request::Warmup { .. }
            | Request::Unload { .. }
            | Request::Pull { .. } => None,
        }
    }

    /// Lets time pass, waking the engine whenever it asked for it.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut wakes = 0;
        while let Some(due) = self.engine.next_due().filter(|due| *due <= end) {
            self.now = due;
            self.tell(Event::Tick);
            wakes += 1;
            assert!(wakes < 100_000, "woken {wakes} times in {ms} ms");
        }
        self.now = end;
        self.tell(Event::Tick);
    }

    fn find(&self, words: &str) -> OpId {
        let found = self
            .open
            .iter()
            .find(|(_, request)| match (request, words.split_once(' ')) {
                (Request::Load(target), Some(("load", name)))
                | (Request::Ping(target), Some(("ping", name)))
                | (Request::Pin(target), Some(("pin", name)))
                | (Request::Probe(target), Some(("probe", name)))
                | (Request::Warmup { target, .. }, Some(("warmup", name))) => {
                    &*target.model == name
                }
                (Request::Pull { model }, Some(("pull", name)))
                | (Request::Unload { model }, Some(("unload", name))) => &**model == name,
                _ => false,
            });
        *found
            .unwrap_or_else(|| panic!("no open {words:?} in {:?}", self.open))
            .0
    }

    pub(super) fn finish_probes(&mut self) {
        let open: Vec<_> = self
            .open
            .iter()
            .filter(|(_, request)| matches!(request, Request::Probe(_)))
            .map(|(op, _)| *op)
            .collect();
        for op in open {
            self.open.remove(&op);
            self.tell(Event::Answered {
                op,
                result: Ok(Answer::Done(Timings::default())),
            });
        }
    }

    pub(super) fn first_open_load(&self) -> Option<Arc<str>> {
        self.open.values().find_map(|request| match request {
            Request::Load(target) => Some(Arc::clone(&target.model)),
            _ => None,
        })
    }

    pub(super) fn is_open(&self, kind: &str) -> usize {
        self.open
            .values()
            .filter(|request| format!("{request:?}").to_lowercase().starts_with(kind))
            .count()
    }

    /// The open pull reports how far it is.
    pub(super) fn progress(&mut self, name: &str, completed: u64, total: u64) {
        let op = self.find(&format!("pull {name}"));
        self.tell(Event::Progress {
            op,
            completed,
            total,
        });
    }

    /// A pull succeeds: installed from now on.
    pub(super) fn finish_pull(&mut self, name: &str) {
        self.install(name, &format!("sha256-{name}"));
        self.answer(
            &format!("pull {name}"),
            Ok(Answer::Done(Timings::default())),
        );
    }

    pub(super) fn uninstall(&mut self, name: &str) {
        self.installed.retain(|model| &*model.name != name);
    }

    pub(super) fn answer(&mut self, words: &str, result: Result<Answer, Failure>) -> OpId {
        let op = self.find(words);
        self.open.remove(&op);
        self.tell(Event::Answered { op, result });
        op
    }

    /// A load succeeds: resident with our pin.
    pub(super) fn finish_load(&mut self, name: &str) {
        self.list(name, PIN_SECONDS);
        self.answer(
            &format!("load {name}"),
            Ok(Answer::Done(Timings::default())),
        );
    }

    pub(super) fn finish(&mut self, words: &str, prompt_ms: u64) {
        let timings = Timings {
            prompt_eval: Some(Duration::from_millis(prompt_ms)),
            ..Timings::default()
        };
        self.answer(words, Ok(Answer::Done(timings)));
    }

    pub(super) fn fail(&mut self, words: &str, kind: FailureKind) {
        self.answer(words, Err(Failure::new(kind, "scripted")));
    }

    /// All declared models loaded, one after the other, and ready.
    pub(super) fn all_ready(spec: Spec) -> Self {
        let names: Vec<_> = spec
            .models
            .iter()
            .map(|model| Arc::clone(&model.name))
            .collect();
        let mut world = Self::start(spec);
        for name in names {
            world.pass(100);
            world.finish_load(&name);
        }
        world.pass(100);
        world
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.engine.snapshot(self.now)
    }

    pub(super) fn model(&mut self, name: &str) -> Arc<ModelView> {
        let snapshot = self.snapshot();
        let found = snapshot.models.iter().find(|model| &*model.name == name);
        Arc::clone(found.unwrap_or_else(|| panic!("{name} is not declared")))
    }

    pub(super) fn view(&mut self, name: &str) -> Arc<InstanceView> {
        Arc::clone(&self.model(name).instances[0])
    }

    pub(super) fn state(&mut self, name: &str) -> State {
        self.view(name).state
    }

    pub(super) fn is_ready(&mut self) -> bool {
        self.snapshot().gate.ready
    }

    /// What was sent since `mark`, without pings.
    pub(super) fn sent_since(&self, mark: usize) -> Vec<&str> {
        self.sent
            .iter()
            .skip(mark)
            .map(|(_, words)| &**words)
            .filter(|words| !words.starts_with("ping"))
            .collect()
    }

    /// The time of the last request with these words.
    pub(super) fn last_sent(&self, words: &str) -> Option<u64> {
        self.sent
            .iter()
            .rev()
            .find(|(_, sent)| sent == words)
            .map(|(at, _)| *at)
    }

    pub(super) fn count_sent(&self, words: &str) -> usize {
        self.sent.iter().filter(|(_, sent)| sent == words).count()
    }
}
