//! The only file that reads a clock. Everything else gets the time as an argument.

use std::time::Duration;

/// Nanoseconds since 1970: what `expires_at` and `created_at` are made of.
pub type UnixNanos = i128;

/// Time since a start, on tokio's clock, so that tests can pause it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: instant() }
    }

    pub(crate) fn now(self) -> Duration {
        instant().duration_since(self.start)
    }

    pub(crate) fn instant(self, at: Duration) -> tokio::time::Instant {
        self.start + at
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Wall time now.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub(crate) fn wall() -> UnixNanos {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos::try_from(since.as_nanos()).unwrap_or_default()
}
