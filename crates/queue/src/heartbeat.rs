//! A loop's sign of life, for those who watch it from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When a loop last came round, on the process's monotonic clock.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Makes one that has just beaten.
    pub fn new() -> Self {
        let heartbeat = Self(Arc::default());
        heartbeat.beat();
        heartbeat
    }

    /// Says that the loop has come round.
    pub fn beat(&self) {
        self.0.store(millis(START.elapsed()), Ordering::Relaxed);
    }

    /// Returns how long ago the loop came round.
    pub fn last(&self) -> Duration {
        Duration::from_millis(millis(START.elapsed()).saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_how_long_ago_the_loop_came_round() {
        let heartbeat = Heartbeat::new();
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(heartbeat.clone().last() >= Duration::from_millis(29));
        heartbeat.beat();
        assert!(heartbeat.last() < Duration::from_millis(29));
    }
}
