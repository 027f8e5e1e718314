//! The only file that reads a clock. Everything else gets the time as an argument.

use crate::engine::{Mono, UnixMillis};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The process's monotonic clock. It stands on tokio's clock, so that tests can pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self { start: instant() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Mono {
        Mono::from_start(instant().duration_since(self.start))
    }

    /// The instant of the runtime's timer for `at`.
    pub fn instant(&self, at: Mono) -> tokio::time::Instant {
        self.start + at.since_start()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Wall time now.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub fn wall() -> UnixMillis {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// A duration in whole milliseconds, as status, log and files give it.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A date as RFC 3339 in UTC with milliseconds, such as `2026-11-24T08:30:00.123Z`. Dates outside the years 0–9999 are
/// given as the nearest one inside.
pub fn rfc3339(at: UnixMillis) -> String {
    /// 9999-12-31T23:59:59.999Z.
    const LAST: i64 = 253_402_300_799_999;
    let millis = at.0.clamp(0, LAST);
    let nanos = i128::from(millis) * 1_000_000;
    let seconds =
        OffsetDateTime::from_unix_timestamp_nanos(nanos - nanos.rem_euclid(1_000_000_000));
    let whole = seconds
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default();
    let date = whole.strip_suffix('Z').unwrap_or(&whole);
    format!("{date}.{:03}Z", millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_milliseconds_and_are_in_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_507_200_123, "2026-11-24T08:00:00.123Z"),
            (10_795_507_200_007, "2312-02-06T00:00:00.007Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (-5, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UnixMillis(millis)), text);
        }
    }
}
