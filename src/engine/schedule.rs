//! When the next attempt is due: exponential backoff with jitter, and the source of the jitter.

use super::spec::Timing;
use std::time::Duration;

/// A small deterministic generator (splitmix64): the same seed gives the same schedule, so a simulation can be replayed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in 0..1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The wait after failure number `failures` (from 1): `first × 2^(failures-1)`, at most `timing.max_retry_delay`, plus up
/// to `timing.jitter_percent` of it, so that several sidecars do not knock at the same moment.
pub(super) fn backoff(first: Duration, failures: u32, timing: &Timing, rng: &mut Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let wait = first
        .saturating_mul(1 << doublings)
        .min(timing.max_retry_delay.max(first));
    wait.mul_f64(1.0 + f64::from(timing.jitter_percent) / 100.0 * rng.unit())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use super::*;

    fn waits(first_ms: u64, jitter_percent: u8) -> Vec<u64> {
        let timing = Timing {
            jitter_percent,
            ..Timing::default()
        };
        let mut rng = Rng::new(7);
        (1..=8)
            .map(|n| {
                backoff(Duration::from_millis(first_ms), n, &timing, &mut rng).as_millis() as u64
            })
            .collect()
    }

    #[test]
    fn doubles_up_to_the_limit() {
        assert_eq!(
            waits(2000, 0),
            [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
        );
    }

    #[test]
    fn a_first_wait_above_the_limit_is_kept() {
        assert_eq!(waits(90_000, 0), [90_000; 8]);
    }

    #[test]
    fn jitter_only_ever_adds_and_stays_within_its_share() {
        for (plain, jittered) in waits(1000, 0).into_iter().zip(waits(1000, 25)) {
            assert!(
                (plain..=plain * 5 / 4).contains(&jittered),
                "{plain} → {jittered}"
            );
        }
    }

    #[test]
    fn very_many_failures_do_not_overflow() {
        let timing = Timing {
            jitter_percent: 0,
            ..Timing::default()
        };
        let wait = backoff(Duration::from_secs(1), u32::MAX, &timing, &mut Rng::new(1));
        assert_eq!(wait, timing.max_retry_delay);
    }
}
