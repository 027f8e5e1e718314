//! What is due when.

use super::{CallId, RunnerId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A timer that can be cancelled.
pub(crate) type TimerKey = (Duration, u64);

/// What a timer is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// The request has been read.
    Dispatch(CallId),
    /// Nobody answered a ping.
    PingLimit(RunnerId),
    /// The weights are in memory, or were too large for it.
    Loaded(RunnerId),
    /// The runner said nothing for too long while it loaded.
    Stalled(RunnerId),
    /// A time to live ended.
    TimeToLive(RunnerId),
    /// Look again whether a runner that should go is idle.
    ExpireAgain(RunnerId),
    /// The runner's process has ended.
    Ended(RunnerId),
    /// The next step of a computation.
    Step(CallId),
    /// The next line of a pull or a create.
    Line(CallId),
}

/// All timers; those of the same moment in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeMap<TimerKey, Due>,
    next: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Duration, due: Due) -> TimerKey {
        self.next += 1;
        let key = (at, self.next);
        self.set.insert(key, due);
        key
    }

    pub(crate) fn cancel(&mut self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.set.remove(&key);
        }
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.set.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Duration, Due)> {
        let entry = self.set.first_entry()?;
        (entry.key().0 <= now).then(|| {
            let ((at, _), due) = entry.remove_entry();
            (at, due)
        })
    }

    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }
}
