//! The loop for pending requests: one queue, one load at a time.
//!
//! While it loads, or waits for a runner to go, no other model is loaded. Loaded models are served without it.

use super::runner::Waiter;
use super::{CallId, LOADED_MAX, Process, Rules, RunnerId, Stage};
use crate::api::{Answer, Job};
use std::sync::Arc;

/// What the loop does.
#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Decides what its request needs.
    Ready,
    /// Waits for a lock or a ping.
    Checking,
    /// Looks for an idle runner among these.
    Scanning(Vec<RunnerId>, usize),
    /// Waits for so many runners to go. If somebody takes the mark away, for ever.
    Waiting(usize),
    Loading(RunnerId),
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    state: State,
    current: Option<(CallId, Arc<Job>)>,
    /// Whether the load of this request is tried for the second time, after all others were evicted.
    retried: bool,
    /// Unloads that nobody has waited for yet.
    unloads: usize,
}

impl Pending {
    /// The request that it works on.
    pub(super) fn job(&self) -> Option<Arc<Job>> {
        self.current.as_ref().map(|(_, job)| Arc::clone(job))
    }

    /// Decide anew.
    pub(super) fn again(&mut self) {
        self.state = State::Ready;
    }

    fn wait(&mut self, unloads: usize) {
        let there = self.unloads.min(unloads);
        self.unloads -= there;
        self.state = if there == unloads {
            State::Ready
        } else {
            State::Waiting(unloads - there)
        };
    }

    /// A runner has gone.
    pub(super) fn unloaded(&mut self) {
        match &mut self.state {
            State::Waiting(1) => self.state = State::Ready,
            State::Waiting(count) => *count -= 1,
            State::Idle => {}
            State::Ready | State::Checking | State::Scanning(..) | State::Loading(_) => {
                self.unloads += 1;
            }
        }
    }

    fn done(&mut self) {
        *self = Self::default();
    }
}

impl Rules {
    /// Puts a request into the queue, which may be full.
    pub(crate) fn enqueue(&mut self, call: CallId) {
        let Some(open) = self.calls.get_mut(&call) else {
            return;
        };
        if self.queue.len() >= self.config.environment.max_queue {
            self.reply(call, Answer::busy());
            return;
        }
        open.stage = Stage::Queued;
        self.queue.push_back(call);
    }

    pub(super) fn pump_pending(&mut self) -> bool {
        match self.pending.state {
            State::Idle => {
                let Some(call) = self.queue.pop_front() else {
                    return false;
                };
                // A request whose client went away is skipped.
                if let Some(job) = self.calls.get(&call).and_then(|open| open.job.clone()) {
                    self.pending.current = Some((call, job));
                    self.pending.state = State::Ready;
                }
                true
            }
            State::Ready if !self.completed.is_unloading() => {
                self.decide();
                true
            }
            State::Ready
            | State::Checking
            | State::Scanning(..)
            | State::Waiting(_)
            | State::Loading(_) => false,
        }
    }

    fn decide(&mut self) {
        let Some((call, job)) = self.pending.current.clone() else {
            self.pending.done();
            return;
        };
        if let Some(id) = self.loaded.get(&job.model.blob).copied() {
            self.pending.state = State::Checking;
            self.want_lock(id, Waiter::Check);
            return;
        }
        let most = match self.config.environment.max_loaded_models {
            0 => LOADED_MAX,
            some => some,
        };
        if self.loaded.len() >= most || self.predicted_too_large(&job) {
            self.scan();
            return;
        }
        self.begin_load(call, &job);
    }

    /// Whoever has the shortest time to live goes first, then by the name of the weights; idle ones before busy ones.
    fn scan(&mut self) {
        let mut list: Vec<_> = self.loaded.values().copied().collect();
        list.sort_by_key(|id| {
            let runner = self.runners.get(id);
            // A negative time sorts last, as if it were huge.
            let session = runner.map_or(0, |runner| runner.session.cast_unsigned());
            (session, runner.map(|runner| runner.key().to_owned()))
        });
        if let Some(first) = list.first().copied() {
            self.pending.state = State::Scanning(list, 0);
            self.want_lock(first, Waiter::Scan);
        }
    }

    pub(super) fn pending_scans(&mut self, id: RunnerId) {
        let idle = self.runners.get(&id).is_some_and(|runner| runner.refs == 0);
        let State::Scanning(list, at) = &mut self.pending.state else {
            return;
        };
        *at += 1;
        let next = list.get(*at).copied();
        let first = list.first().copied().unwrap_or(id);
        match next {
            _ if idle => self.pending_marks(id),
            Some(next) => self.want_lock(next, Waiter::Scan),
            None => self.pending_marks(first),
        }
    }

    /// The loop's request can be served by a loaded runner.
    pub(super) fn pending_fits(&mut self, id: RunnerId) {
        let current = self.pending.current.take();
        self.pending.done();
        if let Some((call, _)) = current {
            self.use_runner(id, call);
        }
    }

    /// The runner has to go.
    pub(super) fn pending_marks(&mut self, id: RunnerId) {
        self.pending.state = State::Checking;
        self.want_lock(id, Waiter::Mark);
    }

    pub(super) fn pending_marked(&mut self, id: RunnerId) {
        self.mark(id, false);
        self.pending.wait(1);
    }

    pub(super) fn pending_loads(&mut self, id: RunnerId) {
        self.pending.state = State::Loading(id);
    }

    /// The loop is done with its request.
    pub(super) fn pending_done(&mut self) {
        self.pending.done();
    }

    /// Evicts everything for a second try. False if there is nothing to evict or it was tried before.
    pub(super) fn pending_retries(&mut self) -> bool {
        if self.pending.retried || self.loaded.is_empty() {
            return false;
        }
        let all: Vec<_> = self.loaded.values().copied().collect();
        for id in &all {
            self.mark(*id, false);
        }
        self.pending.retried = true;
        self.pending.wait(all.len());
        true
    }

    /// The client of a load went away: the child is killed.
    pub(super) fn abandon_load(&mut self, call: CallId) {
        if let State::Loading(id) = self.pending.state
            && self
                .pending
                .current
                .as_ref()
                .is_some_and(|(current, _)| *current == call)
        {
            self.drop_load(id);
            self.pending.done();
        }
    }

    /// The runner that is being loaded.
    pub(super) fn loading(&self) -> Option<RunnerId> {
        if let State::Loading(id) = self.pending.state {
            return Some(id);
        }
        None
    }

    pub(super) fn is_dead(&self, id: RunnerId) -> bool {
        let runner = self.runners.get(&id);
        runner.is_none_or(|runner| runner.process == Process::Dead)
    }
}
