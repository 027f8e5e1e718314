//! The engine decides; it does nothing. Pure: std only, no clock, no I/O, no randomness of its own.
//!
//! [`Event`]s go in with the time they happened, [`Effect`]s come out. The driver carries them out and reports back.
//! One engine serves all servers, so limits such as "two loads at a time" are decided in one place.
//!
//! Rooms: `observe` takes in answers and judges what they prove, `watch` what is seen of the runners themselves; `losses` says what a lost model means; `act` brings
//! about what is wanted, idempotently, whatever woke the engine; `gate` and `views` make what others see.

mod act;
mod answers;
mod catalog;
mod clocks;
mod conflicts;
mod due;
mod enforce;
pub mod event;
pub mod failure;
mod gate;
mod history;
mod instance;
mod loads;
mod looks;
mod loss;
mod losses;
mod memory;
mod observe;
mod pulls;
pub mod request;
mod residency;
mod schedule;
mod server;
pub mod sight;
pub mod snapshot;
pub mod spec;
mod table;
mod thrash;
pub mod time;
mod totals;
mod tracks;
mod views;
mod watch;
mod wedge;
mod words;
mod work;

pub use event::{Effect, Event, ModelId, Notice, OpId, ServerId};
pub use failure::{Failure, FailureKind};
pub use memory::{Memory, Remembered};
pub use request::{Answer, Request};
pub use snapshot::Snapshot;
pub use spec::Spec;
pub use time::{Mono, UnixMillis};

use instance::{Instance, Phase};
use schedule::Rng;
use server::Server;
use snapshot::{ErrorView, Gate, ModelView, ServerView};
use spec::ModelSpec;
use std::collections::BTreeMap;
use std::sync::Arc;
use table::{Key, Table};

/// A model on a server, by its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct InstanceId(usize);

impl Key for InstanceId {
    fn from_row(row: usize) -> Self {
        Self(row)
    }
    fn row(self) -> usize {
        self.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rows are counted by the configuration's limits, far below 2^32"
)]
impl Key for ServerId {
    fn from_row(row: usize) -> Self {
        Self(row as u32)
    }
    fn row(self) -> usize {
        self.0 as usize
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rows are counted by the configuration's limits, far below 2^32"
)]
impl Key for ModelId {
    fn from_row(row: usize) -> Self {
        Self(row as u32)
    }
    fn row(self) -> usize {
        self.0 as usize
    }
}

/// What an open operation is about.
#[derive(Clone, Debug)]
enum About {
    Version,
    Ps,
    Tags,
    Show { digest: Arc<str> },
    Load(InstanceId),
    Pull(InstanceId),
    Unload(InstanceId),
    Unwedge,
    Ping(InstanceId),
    Step(InstanceId),
}

/// An open operation.
#[derive(Clone, Debug)]
struct Op {
    server: ServerId,
    about: About,
    sent_at: Mono,
}

/// The decisions about all declared models on all servers.
#[derive(Debug)]
pub struct Engine {
    spec: Spec,
    rng: Rng,
    epoch: UnixMillis,
    next_op: u64,
    ops: BTreeMap<OpId, Op>,
    servers: Table<ServerId, Server>,
    models: Table<ModelId, ModelSpec>,
    instances: Table<InstanceId, Instance>,
    /// The instances of each server, those that load first first.
    on_server: Table<ServerId, Arc<[InstanceId]>>,
    of_model: Table<ModelId, Vec<InstanceId>>,
    shutting_down: bool,
    gate: Gate,
    /// The server whose poll is being handled: what may only follow a poll is sent now or not at all.
    fresh: Option<ServerId>,
    out: Vec<Effect>,

    revision: u64,
    changed: bool,
    server_views: Vec<Option<Arc<ServerView>>>,
    model_views: Vec<Arc<ModelView>>,
}

impl Engine {
    /// An engine at its start: nothing is known, nothing is ready. `seed` decides the jitter of all waits.
    pub fn new(spec: Spec, seed: u64) -> Self {
        let servers: Table<ServerId, _> = spec.servers.iter().cloned().map(Server::new).collect();
        let models: Table<ModelId, _> = spec.models.iter().cloned().collect();
        let mut rows = Vec::new();
        for (model, wanted) in models.iter() {
            for (server, place) in servers.iter() {
                let chosen = wanted
                    .servers
                    .as_ref()
                    .is_none_or(|names| names.contains(&place.spec.name));
                if chosen {
                    rows.push(Instance::new(model, server));
                }
            }
        }
        let instances: Table<InstanceId, _> = rows.into_iter().collect();
        let on_server = servers
            .keys()
            .map(|server| {
                let mut ids: Vec<_> = instances
                    .iter()
                    .filter(|(_, instance)| instance.server == server)
                    .map(|(id, _)| id)
                    .collect();
                ids.sort_by_key(|id| std::cmp::Reverse(models[instances[*id].model].priority));
                Arc::from(ids)
            })
            .collect();
        let of_model = models
            .keys()
            .map(|model| {
                instances
                    .iter()
                    .filter(|(_, instance)| instance.model == model)
                    .map(|(id, _)| id)
                    .collect()
            })
            .collect();
        let mut engine = Self {
            rng: Rng::new(seed),
            epoch: UnixMillis::default(),
            next_op: 1,
            ops: BTreeMap::new(),
            server_views: vec![None; spec.servers.len()],
            model_views: Vec::new(),
            servers,
            models,
            instances,
            on_server,
            of_model,
            shutting_down: false,
            gate: Gate::default(),
            fresh: None,
            out: Vec::new(),
            revision: 0,
            changed: true,
            spec,
        };
        engine.settle(Mono::ZERO);
        engine.out.clear();
        engine
    }

    /// Takes in what happened at `now` and says what has to be done. `now` must not fall.
    pub fn handle(&mut self, now: Mono, event: Event) -> Vec<Effect> {
        match event {
            Event::Tick => {}
            Event::Clock(wall) => self.set_clock(now, wall),
            Event::Answered { op, result } => self.answered(now, op, result),
            Event::Progress {
                op,
                completed,
                total,
            } => self.pull_progressed(now, op, completed, total),
            Event::Sighted { server, sight } => self.sighted(now, server, sight),
            Event::Kick(model) => self.kick(now, model),
            Event::Shutdown => self.shut_down(),
        }
        if !self.shutting_down {
            for server in self.servers.keys() {
                self.act(now, server);
            }
        }
        self.fresh = None;
        self.settle(now);
        std::mem::take(&mut self.out)
    }

    /// The declared models by their ids.
    pub fn model_ids(&self) -> impl Iterator<Item = (ModelId, &Arc<str>)> {
        self.models.iter().map(|(id, model)| (id, &model.name))
    }

    fn set_clock(&mut self, now: Mono, wall: UnixMillis) {
        let epoch = wall.minus(now);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.changed = true;
        }
    }

    /// A person or a configuration change wants it tried now.
    fn kick(&mut self, now: Mono, model: Option<ModelId>) {
        for id in self.instances.keys() {
            let instance = &mut self.instances[id];
            if model.is_some_and(|wanted| wanted != instance.model) {
                continue;
            }
            instance.not_before = now;
            instance.usurper = None;
            instance.held = false;
            instance.barred = None;
            if matches!(
                instance.phase,
                Phase::Failed(_) | Phase::Retrying(_) | Phase::Quarantined(_)
            ) {
                instance.phase = if instance.load.is_some() {
                    Phase::Loading
                } else {
                    Phase::Waiting
                };
                instance.attempts = 0;
                instance.touch();
            }
        }
    }

    /// Drops what is open: Ollama frees what a dropped request holds, and nobody will read the answers.
    fn shut_down(&mut self) {
        self.shutting_down = true;
        self.changed = true;
        for op in std::mem::take(&mut self.ops).into_keys() {
            self.out.push(Effect::Drop(op));
        }
    }

    fn send(&mut self, now: Mono, server: ServerId, about: About, request: Request) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(
            op,
            Op {
                server,
                about,
                sent_at: now,
            },
        );
        self.out.push(Effect::Send {
            op,
            server,
            request,
        });
        op
    }

    /// Forgets an operation and closes its connection.
    fn drop_op(&mut self, op: OpId) {
        if self.ops.remove(&op).is_some() {
            self.out.push(Effect::Drop(op));
        }
    }

    /// Marks the server's part of the snapshot as changed.
    fn server_changed(&mut self, server: ServerId) {
        if let Some(view) = self.server_views.get_mut(server.row()) {
            *view = None;
        }
        self.changed = true;
    }

    fn error_view(&self, now: Mono, id: InstanceId, failure: &Failure) -> ErrorView {
        let instance = &self.instances[id];
        let url = &self.servers[instance.server].spec.url;
        let hint = failure.kind.hint(&self.models[instance.model].name, url);
        ErrorView {
            kind: failure.kind,
            message: Arc::clone(&failure.message),
            hint: hint.into(),
            at: now,
        }
    }

    /// Notes a failure of an instance, for people.
    fn note_error(&mut self, now: Mono, id: InstanceId, failure: &Failure) {
        let view = self.error_view(now, id, failure);
        let instance = &mut self.instances[id];
        instance.last_error = Some(view);
        instance.touch();
    }

    fn advise(&mut self, model: Option<&Arc<str>>, text: impl Into<Arc<str>>) {
        self.out.push(Effect::Log(Notice::Advice {
            model: model.cloned(),
            text: text.into(),
        }));
    }

    /// Whether an expiry is our mark: 285 years from about now. See [`request::PIN_SECONDS`].
    fn is_our_pin(&self, now: Mono, expires_at: UnixMillis) -> bool {
        /// A runner that nobody has asked for two years still carries our mark.
        const TOLERANCE_SECONDS: i64 = 2 * 366 * 86_400;
        let left = expires_at.0.saturating_sub(self.epoch.plus(now).0) / 1000;
        (left - request::PIN_SECONDS).abs() <= TOLERANCE_SECONDS
    }

    /// The instances on a server, those that load first first.
    fn on(&self, server: ServerId) -> Arc<[InstanceId]> {
        Arc::clone(&self.on_server[server])
    }
}

/// Adds one to the counter of `key` in an array ordered as `all`.
fn count<K: PartialEq, const N: usize>(counters: &mut [u64; N], all: &[K; N], key: &K) {
    if let Some(counter) = all
        .iter()
        .position(|each| each == key)
        .and_then(|index| counters.get_mut(index))
    {
        *counter += 1;
    }
}

#[cfg(test)]
mod tests;
