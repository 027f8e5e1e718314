//! The rules, and those who wait for their answers.

use crate::clock::{Clock, wall};
use crate::config::Config;
use crate::rules::{Call, CallId, Fault, FaultError, Output, Reply, Rules};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// Pieces of one answer that wait for a slow reader; then its connection is cut.
const PIECES_MAX: usize = 1024;

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Frame {
    Reply(Reply),
    Begin(u16, Option<&'static str>),
    Data(Bytes),
    End,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    sinks: HashMap<CallId, mpsc::Sender<Frame>>,
    next: CallId,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    changed: Notify,
    /// Whether the server should listen.
    pub(super) wanted: watch::Sender<bool>,
    /// Whether it does.
    pub(super) listening: watch::Sender<bool>,
    pub(super) loopback: bool,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let loopback = config.listen.ip().is_loopback();
        let state = State {
            rules: Rules::new(config, wall()),
            sinks: HashMap::new(),
            next: 0,
        };
        Self {
            state: Mutex::new(state),
            clock: Clock::start(),
            changed: Notify::new(),
            wanted: watch::Sender::new(true),
            listening: watch::Sender::new(true),
            loopback,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Rules) -> T) -> T {
        read(&self.lock().rules)
    }

    pub(super) fn fault(&self, fault: &Fault) -> Result<(), FaultError> {
        let mut state = self.lock();
        let (result, out) = state.rules.fault(self.now(), fault);
        self.deliver(&mut state, out);
        result
    }

    /// Lets a fault happen by itself after a while.
    pub(super) fn later(&self, seconds: f64, fault: Fault) {
        let mut state = self.lock();
        let at = self.now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
        state.rules.script(at, fault);
        self.changed.notify_one();
    }

    /// Passes a request on. The frames of its answer come out of the receiver; its end without one means: cut.
    pub(super) fn call(&self, call: Call) -> (CallId, mpsc::Receiver<Frame>) {
        let (sink, frames) = mpsc::channel(PIECES_MAX);
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.sinks.insert(id, sink);
        let out = state.rules.call(self.now(), id, call);
        self.deliver(&mut state, out);
        (id, frames)
    }

    /// The client is gone, or has its answer.
    pub(super) fn gone(&self, id: CallId) {
        let mut state = self.lock();
        if state.sinks.remove(&id).is_some() {
            let out = state.rules.gone(self.now(), id);
            self.deliver(&mut state, out);
        }
    }

    fn deliver(&self, state: &mut State, out: Vec<Output>) {
        for output in out {
            let (id, frame, last) = match output {
                Output::Reply(id, reply) => (id, Frame::Reply(reply), true),
                Output::Begin(id, status, kind) => (id, Frame::Begin(status, kind), false),
                Output::Data(id, piece) => (id, Frame::Data(piece), false),
                Output::End(id) => (id, Frame::End, true),
                Output::Cut(id) => {
                    state.sinks.remove(&id);
                    continue;
                }
                Output::Listening(listens) => {
                    self.wanted.send_replace(listens);
                    continue;
                }
            };
            let sent = state
                .sinks
                .get(&id)
                .is_some_and(|sink| sink.try_send(frame).is_ok());
            if last {
                state.sinks.remove(&id);
            } else if !sent && state.sinks.remove(&id).is_some() {
                let more = state.rules.gone(self.now(), id);
                self.deliver(state, more);
            }
        }
        self.changed.notify_one();
    }

    /// Waits until the server listens, or does not.
    pub(super) async fn listens(&self, wanted: bool) {
        let mut listening = self.listening.subscribe();
        // The sender lives in this very struct, so waiting cannot fail.
        if listening
            .wait_for(|listens| *listens == wanted)
            .await
            .is_err()
        {
            tracing::debug!("the simulation has ended");
        }
    }
}

/// Lets happen what is due.
pub(super) async fn drive(shared: std::sync::Arc<Shared>) {
    loop {
        let due = shared.read(Rules::next_due);
        if let Some(at) = due {
            tokio::select! {
                () = shared.changed.notified() => continue,
                () = tokio::time::sleep_until(shared.clock.instant(at)) => {}
            }
        } else {
            shared.changed.notified().await;
            continue;
        }
        let mut state = shared.lock();
        let out = state.rules.tick(shared.now());
        shared.deliver(&mut state, out);
    }
}
