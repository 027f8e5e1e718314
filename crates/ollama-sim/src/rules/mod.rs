//! The rules: what Ollama does, without sockets and without a clock.
//!
//! Requests and faults go in with the time at which they happen, answers come out; [`Rules::next_due`] tells when
//! something happens by itself. Everything is one state machine with one owner, so that a run can be repeated exactly.
//! The parts are named after what they stand for in Ollama: a loop for pending requests (`pending`), a loop for
//! completed ones (`completed`), and a lock per runner (`locks`) for which both and the requests queue.

mod completed;
mod compute;
mod fault;
pub(crate) mod keep_alive;
mod locks;
mod options;
mod pending;
mod process;
mod runner;
mod timers;
mod words;

pub use fault::{Fault, FaultError};
pub use words::{Body, Call, Output, Reply, Resident};

use crate::api::{Answer, Job, Progress};
use crate::clock::UnixNanos;
use crate::config::Config;
use crate::journal::{Event, EventKind, Journal, Received};
use crate::store::Store;
use crate::store::name::Name;
use bytes::Bytes;
pub(crate) use compute::Run;
pub(crate) use options::{RunnerOptions, check as check_options};
pub(crate) use runner::{Process, Runner, Waiter};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use timers::{Due, TimerKey, Timers};

/// Names one request; the caller chooses it and does not use it twice.
pub type CallId = u64;

/// Names one runner; as good as its process id.
pub(crate) type RunnerId = u64;

/// Runners on a CPU if nobody says otherwise.
const LOADED_MAX: usize = 3;

/// An open request.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) call: Call,
    pub(crate) begun: Duration,
    pub(crate) job: Option<Arc<Job>>,
    pub(crate) stage: Stage,
    /// The weights of the runner that this request keeps from being unloaded.
    pub(crate) holds: Option<String>,
    /// When it got its runner.
    pub(crate) got_runner: Duration,
    pub(crate) streaming: bool,
}

/// Where a request is.
#[derive(Debug)]
pub(crate) enum Stage {
    Arriving(TimerKey),
    /// Waits for a runner's lock, or for the end of an unload.
    Waiting,
    Queued,
    /// Waits for a slot.
    Slot(RunnerId),
    Running(RunnerId, Box<Run>),
    /// The runners that `/api/ps` looks at, and which one now.
    Listing(Vec<RunnerId>, usize),
    Progress(Box<Progress>, TimerKey),
}

/// The state of the server process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    Runs,
    /// Accepts connections and answers nothing.
    Frozen,
    Down,
}

/// A simulated server without sockets.
#[derive(Debug)]
pub struct Rules {
    pub(crate) config: Config,
    pub(crate) epoch: UnixNanos,
    pub(crate) store: Store,
    pub(crate) now: Duration,
    pub(crate) server: Server,
    pub(crate) online: bool,
    memory: Option<u64>,
    /// Memory of runners whose server was killed.
    orphans: Vec<u64>,
    timers: Timers,
    out: Vec<Output>,
    pub(crate) calls: BTreeMap<CallId, Open>,
    /// What came while the server was frozen.
    held: Vec<(CallId, Call)>,
    pub(crate) runners: BTreeMap<RunnerId, Runner>,
    /// Weights → runner.
    pub(crate) loaded: BTreeMap<String, RunnerId>,
    next_runner: RunnerId,
    queue: VecDeque<CallId>,
    pending: pending::Pending,
    completed: completed::Completed,
    /// Requests that came while a runner was being unloaded.
    barred: Vec<CallId>,
    script: VecDeque<crate::config::Scripted>,
    journal: Journal,
}

impl Rules {
    /// A server that runs and has loaded nothing. `epoch` is the wall time at time zero.
    pub fn new(config: Config, epoch: UnixNanos) -> Self {
        let mut store = Store::default();
        for spec in &config.models {
            if let Some(name) = Name::parse(&spec.name) {
                store.put(name, spec.clone(), epoch);
            }
        }
        let mut script: Vec<_> = config.script.clone();
        script.sort_by_key(|one| one.at);
        Self {
            epoch,
            store,
            now: Duration::ZERO,
            server: Server::Runs,
            online: config.online,
            memory: config.memory,
            orphans: Vec::new(),
            timers: Timers::default(),
            out: Vec::new(),
            calls: BTreeMap::new(),
            held: Vec::new(),
            runners: BTreeMap::new(),
            loaded: BTreeMap::new(),
            next_runner: 1,
            queue: VecDeque::new(),
            pending: pending::Pending::default(),
            completed: completed::Completed::default(),
            barred: Vec::new(),
            script: script.into(),
            journal: Journal::default(),
            config,
        }
    }

    /// A request has arrived.
    pub fn call(&mut self, now: Duration, id: CallId, call: Call) -> Vec<Output> {
        self.advance(now);
        self.journal.received(now, &call);
        match self.server {
            Server::Runs => self.arrive(id, call),
            Server::Frozen => self.held.push((id, call)),
            Server::Down => self.out.push(Output::Cut(id)),
        }
        self.flush()
    }

    /// The client has closed its connection, or got its whole answer.
    pub fn gone(&mut self, now: Duration, id: CallId) -> Vec<Output> {
        self.advance(now);
        self.held.retain(|(held, _)| *held != id);
        self.leave(id);
        self.flush()
    }

    /// A fault happens.
    pub fn fault(&mut self, now: Duration, fault: &Fault) -> (Result<(), FaultError>, Vec<Output>) {
        self.advance(now);
        let result = self.apply(fault);
        (result, self.flush())
    }

    /// Lets a fault happen later.
    pub fn script(&mut self, at: Duration, fault: Fault) {
        let place = self.script.partition_point(|one| one.at <= at);
        self.script
            .insert(place, crate::config::Scripted { at, fault });
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Output> {
        self.advance(now);
        self.flush()
    }

    /// When something happens next, if nobody does anything.
    pub fn next_due(&self) -> Option<Duration> {
        let script = self.script.front().map(|one| one.at);
        let timers = match self.server {
            Server::Runs => self.timers.next_due(),
            Server::Frozen | Server::Down => None,
        };
        script.into_iter().chain(timers).min()
    }

    /// What was received, the oldest first; bounded.
    pub fn received(&self) -> impl Iterator<Item = &Received> {
        self.journal.requests()
    }

    /// What happened to models, the oldest first; bounded.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.journal.events()
    }

    /// What is loaded, by the name of whoever loaded it first.
    pub fn resident(&self) -> Vec<Resident> {
        let runners = self.loaded.values().filter_map(|id| self.runners.get(id));
        runners.map(Resident::of).collect()
    }

    /// Requests that wait for their model to be loaded.
    pub fn waiting(&self) -> usize {
        self.queue.len() + usize::from(self.pending.job().is_some())
    }

    /// Requests that have no answer yet.
    pub fn open(&self) -> usize {
        self.calls.len() + self.held.len()
    }

    /// Wall time of the simulation.
    pub fn wall(&self) -> UnixNanos {
        self.epoch + UnixNanos::try_from(self.now.as_nanos()).unwrap_or_default()
    }

    pub(crate) fn note(&mut self, kind: EventKind, model: &str) {
        self.journal.event(self.now, kind, model);
    }

    /// Does everything that is due until `now`, each thing at its own time.
    fn advance(&mut self, now: Duration) {
        while let Some(at) = self.next_due().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            let scripted = self.script.front().is_some_and(|one| one.at <= at);
            if let Some(one) = scripted.then(|| self.script.pop_front()).flatten() {
                if let Err(error) = self.apply(&one.fault) {
                    tracing::warn!(%error, "a scripted fault could not happen");
                }
            } else if let Some((_, due)) = self.timers.pop(at) {
                self.due(&due);
            }
            self.settle();
        }
        self.now = self.now.max(now);
    }

    fn due(&mut self, due: &Due) {
        match *due {
            Due::Dispatch(id) => self.dispatch(id),
            Due::PingLimit(id) => self.ping_ends(id, false),
            Due::Loaded(id) => self.load_ends(id),
            Due::Stalled(id) => self.load_stalls(id),
            Due::TimeToLive(id) => self.want_lock(id, Waiter::TimeToLive),
            Due::ExpireAgain(id) => self.completed.expired(id),
            Due::Ended(id) => self.unloaded(id),
            Due::Step(id) => self.step(id),
            Due::Line(id) => self.line(id),
        }
    }

    fn flush(&mut self) -> Vec<Output> {
        self.settle();
        std::mem::take(&mut self.out)
    }

    /// Lets both loops and all that wait for locks go on as far as they can.
    fn settle(&mut self) {
        while self.server == Server::Runs
            && (self.pump_locks() || self.pump_completed() || self.pump_pending())
        {}
    }

    fn arrive(&mut self, id: CallId, call: Call) {
        let takes = crate::api::takes(&self.config.timing, &call);
        let timer = self.timers.set(self.now + takes, Due::Dispatch(id));
        let open = Open {
            call,
            begun: self.now,
            job: None,
            stage: Stage::Arriving(timer),
            holds: None,
            got_runner: self.now,
            streaming: false,
        };
        self.calls.insert(id, open);
    }

    /// The whole answer of a request.
    pub(crate) fn reply(&mut self, id: CallId, answer: Answer) {
        let Some(open) = self.calls.get(&id) else {
            return;
        };
        let openai = open.call.path.starts_with("/v1/");
        if open.streaming {
            let piece = answer.into_piece(openai);
            self.out.extend(piece.map(|piece| Output::Data(id, piece)));
            self.out.push(Output::End(id));
        } else {
            self.out.push(Output::Reply(id, answer.into_reply(openai)));
        }
        self.close(id);
    }

    /// A piece of the answer of a request.
    pub(crate) fn send(&mut self, id: CallId, content_type: &'static str, piece: Bytes) {
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        if !open.streaming {
            open.streaming = true;
            self.out.push(Output::Begin(id, 200, Some(content_type)));
        }
        self.out.push(Output::Data(id, piece));
    }

    /// The end of an answer that was sent in pieces.
    pub(crate) fn end(&mut self, id: CallId) {
        self.out.push(Output::End(id));
        self.close(id);
    }

    pub(crate) fn is_unloading(&self) -> bool {
        self.completed.is_unloading()
    }

    /// The request goes on when the runner that is being unloaded has gone.
    pub(crate) fn bar(&mut self, id: CallId) {
        self.barred.push(id);
    }

    pub(crate) fn line_timer(&mut self, id: CallId, after: Duration) -> TimerKey {
        self.timers.set(self.now + after, Due::Line(id))
    }

    /// The request is over: whatever it kept is free again.
    fn close(&mut self, id: CallId) {
        let Some(open) = self.calls.remove(&id) else {
            return;
        };
        if let Some(key) = open.holds {
            self.completed.finished(key);
        }
    }

    /// The client does not want the answer any more.
    fn leave(&mut self, id: CallId) {
        let Some(open) = self.calls.get_mut(&id) else {
            return;
        };
        match &mut open.stage {
            Stage::Arriving(timer) | Stage::Progress(_, timer) => {
                let timer = *timer;
                self.timers.cancel(Some(timer));
            }
            Stage::Slot(runner) => {
                let runner = *runner;
                if let Some(runner) = self.runners.get_mut(&runner) {
                    runner.queue.retain(|waits| *waits != id);
                }
            }
            Stage::Running(runner, _) => {
                let runner = *runner;
                self.stop_run(id, runner);
            }
            Stage::Waiting | Stage::Queued | Stage::Listing(..) => {}
        }
        self.close(id);
        self.abandon_ping(id);
        self.abandon_load(id);
    }
}
