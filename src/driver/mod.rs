//! The imperative shell around the engine: carries out its effects, tells it what happened, publishes its snapshots.
//!
//! One task owns the engine. It decides nothing: which request is sent, dropped or tried again is the engine's word.

mod log;

use crate::clock::{self, Clock, millis};
use crate::engine::sight::Sight;
use crate::engine::{
    Answer, Effect, Engine, Event, Failure, Memory, ModelId, OpId, Request, ServerId, Snapshot,
    Spec, UnixMillis,
};
use crate::ollama::{Ollama, Progress};
use crate::runners::{Observer, SIGHTS_QUEUED};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Wishes waiting for the engine. A kick is idempotent, so one that finds the queue full changes nothing.
const KICKS_QUEUED: usize = 16;

/// Reports of pulls waiting for the engine. One that finds the queue full is followed by the next.
const REPORTS_QUEUED: usize = 16;

/// Ollama reports a pull many times a second; people look at it twice.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// A difference between wall and monotonic time that is a step of the clock and not its drift, in milliseconds.
const CLOCK_STEP_MILLIS: i64 = 500;

/// Asks the engine to try models now that wait for their next attempt.
#[derive(Clone, Debug)]
pub struct Kick(mpsc::Sender<Option<ModelId>>);

impl Kick {
    /// Kicks one model, or all of them. Returns whether the wish was taken; a full queue means that others wait already.
    pub fn kick(&self, model: Option<ModelId>) -> bool {
        self.0.try_send(model).is_ok()
    }
}

/// The shell of one engine.
#[derive(Debug)]
pub struct Driver<O> {
    engine: Engine,
    clients: Vec<Arc<O>>,
    clock: Clock,
    epoch: Option<UnixMillis>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    kicks: mpsc::Receiver<Option<ModelId>>,
    reporter: mpsc::Sender<(OpId, Progress)>,
    reports: mpsc::Receiver<(OpId, Progress)>,
    sights: mpsc::Receiver<(ServerId, Sight)>,
    observer: Option<(Observer, mpsc::Sender<(ServerId, Sight)>)>,
    operations: JoinSet<Result<Answer, Failure>>,
    ops: HashMap<Id, OpId>,
    handles: HashMap<OpId, AbortHandle>,
}

impl<O: Ollama> Driver<O> {
    /// A driver with one client per server of `spec`, in the same order. `seed` decides the jitter of waits.
    pub fn new(
        spec: Spec,
        clients: Vec<O>,
        seed: u64,
        clock: Clock,
    ) -> (Self, Kick, watch::Receiver<Arc<Snapshot>>) {
        let mut engine = Engine::new(spec, seed);
        let (snapshots, watched) = watch::channel(Arc::new(engine.snapshot(clock.now())));
        let (sender, kicks) = mpsc::channel(KICKS_QUEUED);
        let (reporter, reports) = mpsc::channel(REPORTS_QUEUED);
        let driver = Self {
            engine,
            clients: clients.into_iter().map(Arc::new).collect(),
            clock,
            epoch: None,
            snapshots,
            kicks,
            reporter,
            reports,
            sights: mpsc::channel(1).1,
            observer: None,
            operations: JoinSet::new(),
            ops: HashMap::new(),
            handles: HashMap::new(),
        };
        (driver, Kick(sender), watched)
    }

    /// Takes over what an earlier process learned; before [`Driver::run`].
    pub fn recall(&mut self, memory: &Memory) {
        self.engine.recall(memory);
        let snapshot = self.engine.snapshot(self.clock.now());
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Lets the runners themselves be seen, from [`Driver::run`] on. Without it the engine asks by pings only.
    pub fn observe(&mut self, observer: Observer) {
        let (sender, sights) = mpsc::channel(SIGHTS_QUEUED);
        self.sights = sights;
        self.observer = Some((observer, sender));
    }

    /// Runs until `shutdown` is done. Then the gate is closed, every open request is dropped, and nothing new is sent.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        // It ends with this function, and never before.
        let mut observers = JoinSet::new();
        if let Some((observer, sender)) = self.observer.take() {
            observers.spawn(observer.run(sender));
        }
        self.tell_time();
        self.tell(Event::Tick);
        loop {
            let due = self.engine.next_due().map(|at| self.clock.instant(at));
            let event = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = self.operations.join_next_with_id() => match self.ended(ended) {
                    Some(event) => event,
                    None => continue,
                },
                Some((server, sight)) = self.sights.recv() => Event::Sighted { server, sight },
                Some(model) = self.kicks.recv() => Event::Kick(model),
                Some((op, Progress { completed, total })) = self.reports.recv() => {
                    Event::Progress { op, completed, total }
                }
                () = sleep_until(due) => Event::Tick,
            };
            self.tell_time();
            self.tell(event);
        }
        self.tell(Event::Shutdown);
    }

    /// Tells the engine the wall time when the clock was set, and at the start.
    fn tell_time(&mut self) {
        let wall = clock::wall();
        let epoch = wall.minus(self.clock.now());
        let stepped = self
            .epoch
            .is_none_or(|known| (known.0 - epoch.0).abs() > CLOCK_STEP_MILLIS);
        if stepped {
            self.epoch = Some(epoch);
            self.tell(Event::Clock(wall));
        }
    }

    fn tell(&mut self, event: Event) {
        let now = self.clock.now();
        for effect in self.engine.handle(now, event) {
            match effect {
                Effect::Send {
                    op,
                    server,
                    request,
                } => self.send(op, server, request),
                Effect::Drop(op) => {
                    if let Some(handle) = self.handles.remove(&op) {
                        handle.abort();
                    }
                }
                Effect::Log(notice) => log::write(&notice),
            }
        }
        if self.engine.has_changed() {
            self.snapshots
                .send_replace(Arc::new(self.engine.snapshot(now)));
        }
    }

    fn send(&mut self, op: OpId, server: ServerId, request: Request) {
        let Some(client) = usize::try_from(server.0)
            .ok()
            .and_then(|row| self.clients.get(row))
        else {
            return;
        };
        let client = Arc::clone(client);
        let report = self.report_of(op);
        let handle = self
            .operations
            .spawn(async move { client.call(request, report).await });
        self.ops.insert(handle.id(), op);
        self.handles.insert(op, handle);
    }

    /// Tells the engine how far an operation is, but not more often than anybody looks.
    fn report_of(&self, op: OpId) -> impl Fn(Progress) + Send + Sync + 'static {
        let (reporter, clock) = (self.reporter.clone(), self.clock);
        let next = AtomicU64::new(0);
        move |progress: Progress| {
            let now = millis(clock.now().since_start());
            let is_last = progress.completed == progress.total;
            if (now >= next.load(Ordering::Relaxed) || is_last)
                && reporter.try_send((op, progress)).is_ok()
            {
                next.store(now + millis(REPORT_EVERY), Ordering::Relaxed);
            }
        }
    }

    /// The end of an operation as an event; one that was dropped has none.
    fn ended(&mut self, ended: Result<(Id, Result<Answer, Failure>), JoinError>) -> Option<Event> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let op = self.ops.remove(&id)?;
        self.handles.remove(&op);
        match ended {
            Ok((_, result)) => Some(Event::Answered { op, result }),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
