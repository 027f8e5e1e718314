//! What was: the last changes of a value, for the people who come after the incident. Bounded, and small enough to be
//! kept for every model on every server.

use super::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// The last changes of one value, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History<T> {
    changes: VecDeque<Change<T>>,
}

/// Eight bytes, so that a long history of many models stays small; milliseconds are what people are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change<T> {
    seconds: u32,
    millis: u16,
    to: T,
}

/// Changes kept of one value. A load and its loss are four changes, so this is fifty incidents of a model; 200 models
/// hold less than half a megabyte.
pub const CHANGES_MAX: usize = 200;

impl<T: Copy + PartialEq> History<T> {
    /// A history that begins at `at` with `value`.
    pub fn starting(at: Mono, value: T) -> Self {
        let mut history = Self {
            changes: VecDeque::new(),
        };
        history.note(at, value);
        history
    }

    /// Notes what the value is since `at`; the oldest change goes when there are too many.
    pub fn note(&mut self, at: Mono, value: T) {
        if self.changes.back().is_some_and(|last| last.to == value) {
            return;
        }
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
        }
        let since_start = at.since_start();
        self.changes.push_back(Change {
            seconds: u32::try_from(since_start.as_secs()).unwrap_or(u32::MAX),
            millis: u16::try_from(since_start.subsec_millis()).unwrap_or_default(),
            to: value,
        });
    }

    /// When it became what, the oldest first. Never empty; the value before the first is not known.
    pub fn changes(&self) -> impl Iterator<Item = (Mono, T)> {
        self.changes.iter().map(|change| {
            let whole = Duration::from_secs(change.seconds.into());
            let at = whole + Duration::from_millis(change.millis.into());
            (Mono::from_start(at), change.to)
        })
    }
}

impl<T: Copy + PartialEq + Default> Default for History<T> {
    fn default() -> Self {
        Self::starting(Mono::ZERO, T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::State;
    use super::*;

    #[test]
    fn only_changes_are_kept_and_only_the_last_ones() {
        let mut history = History::starting(Mono::ZERO, 0);
        history.note(Mono::millis(5), 0);
        assert_eq!(history.changes().collect::<Vec<_>>(), [(Mono::ZERO, 0)]);
        for number in 1..=300 {
            history.note(Mono::millis(number * 1001), number);
            history.note(Mono::millis(number * 1001 + 1), number);
        }
        let kept: Vec<_> = history.changes().collect();
        assert_eq!(kept.len(), CHANGES_MAX);
        assert_eq!(kept.first(), Some(&(Mono::millis(101 * 1001), 101)));
        assert_eq!(kept.last(), Some(&(Mono::millis(300 * 1001), 300)));
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Change<State>>(), 8);
        let mut history = History::starting(Mono::ZERO, false);
        for number in 0..10_000 {
            history.note(Mono::millis(number), number % 2 == 0);
        }
        let bytes = history.changes.capacity() * size_of::<Change<bool>>();
        assert!(bytes * 200 <= 1 << 20, "{bytes} bytes for each of 200");
    }

    #[test]
    fn a_century_fits() {
        let late = Mono::from_start(Duration::from_secs(u64::from(u32::MAX) * 2));
        let mut history = History::starting(Mono::ZERO, 0);
        history.note(late, 1);
        let last = history.changes().last().map(|(at, _)| at);
        assert!(last >= Some(Mono::from_start(Duration::from_secs(100 * 365 * 86_400))));
    }
}
