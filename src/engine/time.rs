//! Monotonic time as a number. The engine never reads a clock: every `now` is an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time since the process started; nanosecond resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(Duration);

impl Mono {
    /// The start of the process.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The instant `since_start` after the start of the process.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Milliseconds since the start of the process as an instant; for tests and tables.
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Time since the start of the process.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

/// Wall time as milliseconds since the Unix epoch. Year 2319 is far inside its range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The date of `at`, where `self` is that of [`Mono::ZERO`].
    #[must_use]
    pub fn plus(self, at: Mono) -> Self {
        Self(self.0.saturating_add(at.as_millis()))
    }

    /// The date of [`Mono::ZERO`], where `self` is that of `at`.
    #[must_use]
    pub fn minus(self, at: Mono) -> Self {
        Self(self.0.saturating_sub(at.as_millis()))
    }
}
