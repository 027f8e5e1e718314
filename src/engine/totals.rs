//! What is counted for each model on each server.

use super::failure::FailureKind;
use super::sight::Work;
use super::words::LossCause;
use std::time::Duration;

/// Counters and histograms of one model on one server. They never fall.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Load attempts begun.
    pub preload_attempts: u64,
    /// Load attempts failed, by kind, in the order of [`FailureKind::ALL`].
    pub preload_failures: [u64; FailureKind::ALL.len()],
    /// Attempts beyond the first of a preload.
    pub preload_retries: u64,
    /// Pulls begun; each is the first part of an attempt.
    pub pulls: u64,
    /// Seconds of successful loads.
    pub preload_seconds: Histogram,
    /// Seconds of successful warm-ups.
    pub warmup_seconds: Histogram,
    /// Warm-ups failed, by kind.
    pub warmup_failures: [u64; FailureKind::ALL.len()],
    /// Health checks begun.
    pub health_checks: u64,
    /// Health checks failed, by kind.
    pub health_check_failures: [u64; FailureKind::ALL.len()],
    /// Seconds of successful health checks.
    pub health_check_seconds: Histogram,
    /// Losses, by cause, in the order of [`LossCause::ALL`].
    pub losses: [u64; LossCause::ALL.len()],
    /// What its runners have computed, as far as they were seen.
    pub work: Work,
}

/// A histogram with the fixed bounds [`Histogram::BOUNDS`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Histogram {
    /// Observations per bucket, not cumulated; the last one is above all bounds.
    pub buckets: [u64; Histogram::BOUNDS.len() + 1],
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Upper bounds, in seconds: from a warm ping to the largest model on a slow disk.
    pub const BOUNDS: [f64; 14] = [
        0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0,
    ];

    /// Adds one observation.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let index = Self::BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(Self::BOUNDS.len());
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum += seconds;
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
