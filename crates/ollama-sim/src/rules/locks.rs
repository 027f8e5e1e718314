//! The lock of each runner: requests, both loops, `/api/ps` and time-outs queue for it, and a ping holds it.

use super::runner::{Ping, Process, Waiter};
use super::timers::Due;
use super::{CallId, Rules, RunnerId, Stage};
use crate::config::Era;

/// What became of the question whether a runner can serve a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    Fits,
    Reload,
    /// A ping is under way.
    Pinging,
}

impl Rules {
    pub(crate) fn want_lock(&mut self, id: RunnerId, waiter: Waiter) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.waiters.push_back(waiter);
        } else {
            self.without_runner(&waiter);
        }
    }

    /// Gives one free lock to the first that waits for it.
    pub(super) fn pump_locks(&mut self) -> bool {
        let ready = |runner: &&mut super::Runner| !runner.is_locked() && !runner.waiters.is_empty();
        let Some(runner) = self.runners.values_mut().find(ready) else {
            return false;
        };
        let id = runner.id;
        let next = runner.waiters.pop_front();
        runner.starving &= !runner.waiters.is_empty();
        if let Some(waiter) = next {
            self.with_lock(id, &waiter);
        }
        true
    }

    fn with_lock(&mut self, id: RunnerId, waiter: &Waiter) {
        match *waiter {
            Waiter::Front(call) => self.check_front(id, call),
            Waiter::Check => match self.check(id, None) {
                Check::Fits => self.pending_fits(id),
                Check::Reload => self.pending_marks(id),
                Check::Pinging => {}
            },
            Waiter::Scan => self.pending_scans(id),
            Waiter::Mark => self.pending_marked(id),
            Waiter::Finish => self.finish(id),
            Waiter::Expire => self.expire(id),
            Waiter::TimeToLive => {
                if let Some(runner) = self.runners.get_mut(&id) {
                    self.timers.cancel(runner.timer.take());
                    self.completed.expired(id);
                }
            }
            Waiter::List(call) => self.list_next(call),
            Waiter::Unload(call) => {
                self.mark(id, true);
                self.unload_answered(call);
            }
        }
    }

    /// The runner went while somebody waited for its lock.
    pub(super) fn without_runner(&mut self, waiter: &Waiter) {
        match *waiter {
            Waiter::Front(call) => self.enqueue(call),
            Waiter::Check | Waiter::Scan | Waiter::Mark => self.pending.again(),
            Waiter::Finish | Waiter::Expire => self.completed.free(),
            Waiter::TimeToLive => {}
            Waiter::List(call) => self.list_next(call),
            Waiter::Unload(call) => self.unload_answered(call),
        }
    }

    fn check_front(&mut self, id: RunnerId, call: CallId) {
        if !self.calls.contains_key(&call) {
            return;
        }
        match self.check(id, Some(call)) {
            Check::Fits => self.use_runner(id, call),
            Check::Reload => self.enqueue(call),
            Check::Pinging => {}
        }
    }

    /// Compares the options and pings. `call` = `None`: for the pending loop's request.
    fn check(&mut self, id: RunnerId, call: Option<CallId>) -> Check {
        let job = match call {
            Some(call) => self.calls.get(&call).and_then(|open| open.job.clone()),
            None => self.pending.job(),
        };
        let (Some(job), Some(runner)) = (job, self.runners.get_mut(&id)) else {
            return Check::Reload;
        };
        let train = runner.model.spec.context;
        if runner.options.differ(&job.options, train)
            || runner.model.spec.adapters != job.model.spec.adapters
        {
            return Check::Reload;
        }
        match runner.process {
            Process::Runs => Check::Fits,
            Process::Dead => Check::Reload,
            Process::Frozen => {
                let at = self.now + self.config.timing.ping_limit;
                let timer = self.timers.set(at, Due::PingLimit(id));
                runner.ping = Some(Ping { call, timer });
                Check::Pinging
            }
        }
    }

    /// A ping is answered, or nobody will answer it any more.
    pub(super) fn ping_ends(&mut self, id: RunnerId, answered: bool) {
        let Some(ping) = self
            .runners
            .get_mut(&id)
            .and_then(|runner| runner.ping.take())
        else {
            return;
        };
        self.timers.cancel(Some(ping.timer));
        match (ping.call, answered) {
            (Some(call), true) => self.use_runner(id, call),
            (Some(call), false) => {
                self.enqueue(call);
                self.overtake(id);
            }
            (None, true) => self.pending_fits(id),
            (None, false) => self.pending_marks(id),
        }
    }

    /// When a ping of a request has failed, the pending loop gets the lock before those who have waited for it: a
    /// lock of Go's goes to who runs, not to who was woken. Those who lost once are not overtaken again.
    fn overtake(&mut self, id: RunnerId) {
        while self.pump_pending() {}
        if let Some(runner) = self.runners.get_mut(&id)
            && !runner.starving
            && runner.waiters.back() == Some(&Waiter::Check)
            && runner.waiters.len() > 1
        {
            runner.waiters.rotate_right(1);
            runner.starving = true;
        }
    }

    /// The client that pinged went away.
    pub(super) fn abandon_ping(&mut self, call: CallId) {
        let pings = |runner: &&super::Runner| {
            runner
                .ping
                .as_ref()
                .is_some_and(|ping| ping.call == Some(call))
        };
        if let Some(id) = self.runners.values().find(pings).map(|runner| runner.id) {
            self.ping_ends(id, false);
        }
    }

    /// The request gets the runner, which is not unloaded before it ends.
    pub(super) fn use_runner(&mut self, id: RunnerId, call: CallId) {
        let (Some(open), Some(runner)) = (self.calls.get_mut(&call), self.runners.get_mut(&id))
        else {
            return;
        };
        runner.refs += 1;
        self.timers.cancel(runner.timer.take());
        if let Some(nanos) = open.job.as_ref().and_then(|job| job.keep_alive) {
            runner.session = nanos;
        }
        open.holds = Some(runner.key().to_owned());
        self.proceed(id, call);
    }

    /// Sets the time to live to nothing, as an unload, an eviction or a reload does. If requests run, the runner goes
    /// when they end, unless somebody's `keep_alive` overwrites the mark meanwhile.
    pub(super) fn mark(&mut self, id: RunnerId, show: bool) {
        let wall = self.wall();
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        self.timers.cancel(runner.timer.take());
        runner.session = 0;
        if show {
            runner.expires = Some(wall);
        }
        if runner.refs == 0 {
            self.completed.expired(id);
        }
    }

    /// Begins to list what is loaded.
    pub(crate) fn list(&mut self, call: CallId) {
        let mut ids: Vec<RunnerId> = self.loaded.values().copied().collect();
        ids.sort_unstable();
        if self.config.era == Era::V024 {
            self.listed(call, &self.runners.keys().copied().collect::<Vec<_>>());
            return;
        }
        let first = ids.first().copied();
        if let Some(open) = self.calls.get_mut(&call) {
            open.stage = Stage::Listing(ids, 0);
        }
        match first {
            Some(first) => self.want_lock(first, Waiter::List(call)),
            None => self.listed(call, &[]),
        }
    }

    /// One lock after the other, then the answer.
    fn list_next(&mut self, call: CallId) {
        let Some(Stage::Listing(ids, at)) = self.calls.get_mut(&call).map(|open| &mut open.stage)
        else {
            return;
        };
        *at += 1;
        if let Some(next) = ids.get(*at).copied() {
            self.want_lock(next, Waiter::List(call));
        } else {
            let ids = std::mem::take(ids);
            self.listed(call, &ids);
        }
    }
}
