//! How long a failed job waits: exponential, capped, spread.

use std::time::Duration;

/// A wait that doubles with each failure, up to a cap, and is spread by ±25 %.
///
/// With the default: 15 s, 30 s, 1 min, 2 min, 4 min, 8 min, 16 min, 32 min, 1 h, 1 h, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// 15 seconds, doubling up to an hour.
    pub const DEFAULT: Self = Self::new(Duration::from_secs(15), Duration::from_hours(1));

    /// Doubles from `base` up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the wait after the given failure, counted from 1; `spread` in 0..1 picks the jitter.
    pub fn wait(&self, failure: u16, spread: f64) -> Duration {
        let doublings = u32::from(failure.saturating_sub(1)).min(31);
        let wait = self.base.saturating_mul(1 << doublings).min(self.cap);
        wait.mul_f64(0.75 + 0.5 * spread.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let waits: Vec<u64> = (1..=10).map(|n| Backoff::DEFAULT.wait(n, 0.5).as_secs()).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(Backoff::DEFAULT.wait(u16::MAX, 0.5).as_secs(), 3_600);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        assert_eq!(Backoff::DEFAULT.wait(1, 0.0), Duration::from_millis(11_250));
        assert_eq!(Backoff::DEFAULT.wait(1, 1.0), Duration::from_millis(18_750));
    }
}
