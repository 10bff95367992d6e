//! Whether a loop still turns: it beats, and whoever asks for its health sees how long ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The beat of one loop, on this process's monotonic clock; clones are of the same loop.
///
/// It tells that the loop turns, and not that what it does succeeds: a database that is away is no
/// reason to start a process anew.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    born: Instant,
    /// Milliseconds from the birth to the last beat.
    beat: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Makes the beat of a loop that is about to begin, which counts as its first.
    pub fn new() -> Self {
        Self { born: Instant::now(), beat: Arc::default() }
    }

    /// Tells that the loop turned once more.
    pub fn beat(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.fetch_max(millis, Ordering::Relaxed);
    }

    /// Returns how long ago the last beat was.
    pub fn last(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stopped_is_told_by_its_last_beat() {
        let born = Instant::now() - Duration::from_secs(30);
        let heartbeat = Heartbeat { born, ..Heartbeat::new() };
        assert!(heartbeat.last() >= Duration::from_secs(30));
        heartbeat.clone().beat();
        assert!(heartbeat.last() < Duration::from_secs(10));
    }
}
