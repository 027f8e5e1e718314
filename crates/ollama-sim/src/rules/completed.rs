//! The loop for completed requests: counts who uses a runner, sets its time to live, unloads it.

use super::runner::{Process, Waiter};
use super::timers::Due;
use super::{Rules, RunnerId};
use crate::clock::UnixNanos;
use crate::journal::EventKind;
use std::collections::VecDeque;
use std::time::Duration;

/// How long until it is looked at again whether a runner that should go is idle.
const AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
enum Done {
    /// A request on the runner of these weights has ended.
    Finished(String),
    /// A runner is to be unloaded.
    Expired(RunnerId),
}

#[derive(Debug, Default)]
pub(super) struct Completed {
    queue: VecDeque<Done>,
    /// It waits for a lock, or for a process to end.
    busy: bool,
    unloading: bool,
}

impl Completed {
    pub(super) fn finished(&mut self, key: String) {
        self.queue.push_back(Done::Finished(key));
    }

    pub(super) fn expired(&mut self, id: RunnerId) {
        self.queue.push_back(Done::Expired(id));
    }

    pub(super) fn free(&mut self) {
        self.busy = false;
    }

    /// While a runner's process is being ended, nobody learns what is loaded.
    pub(super) fn is_unloading(&self) -> bool {
        self.unloading
    }
}

impl Rules {
    pub(super) fn pump_completed(&mut self) -> bool {
        if self.completed.busy {
            return false;
        }
        let Some(done) = self.completed.queue.pop_front() else {
            return false;
        };
        match done {
            Done::Finished(key) => {
                if let Some(id) = self.loaded.get(&key).copied() {
                    self.completed.busy = true;
                    self.want_lock(id, Waiter::Finish);
                }
            }
            Done::Expired(id) => {
                if self.runners.contains_key(&id) {
                    self.completed.busy = true;
                    self.want_lock(id, Waiter::Expire);
                }
            }
        }
        true
    }

    pub(super) fn finish(&mut self, id: RunnerId) {
        self.completed.busy = false;
        let wall = self.wall();
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        runner.refs = runner.refs.saturating_sub(1);
        if runner.refs > 0 {
            return;
        }
        self.timers.cancel(runner.timer.take());
        match u64::try_from(runner.session) {
            Ok(nanos) if nanos > 0 => {
                let at = self.now.saturating_add(Duration::from_nanos(nanos));
                runner.timer = Some(self.timers.set(at, Due::TimeToLive(id)));
                runner.expires = Some(wall + UnixNanos::from(nanos));
            }
            _ => self.completed.expired(id),
        }
    }

    pub(super) fn expire(&mut self, id: RunnerId) {
        self.completed.busy = false;
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        if runner.refs > 0 {
            self.timers.set(self.now + AGAIN, Due::ExpireAgain(id));
            return;
        }
        runner.unloading = true;
        runner.process = Process::Dead;
        self.timers.cancel(runner.timer.take());
        self.completed.busy = true;
        self.completed.unloading = true;
        let at = self.now + self.config.timing.unload;
        self.timers.set(at, Due::Ended(id));
    }

    /// The process of an unloaded runner has ended.
    pub(super) fn unloaded(&mut self, id: RunnerId) {
        self.completed.busy = false;
        self.completed.unloading = false;
        if let Some(runner) = self.runners.remove(&id) {
            self.loaded.remove(runner.key());
            self.note(EventKind::Unloaded, &runner.model.name.to_string());
            for waiter in &runner.waiters {
                self.without_runner(waiter);
            }
        }
        self.pending.unloaded();
        for call in std::mem::take(&mut self.barred) {
            self.dispatch(call);
        }
    }
}
