//! Where Rust code gets the time from, so that tests and simulations can move it.
//!
//! SQL asks `greenroom.now()`; Rust asks a [`Clock`]. In production both are the machine's time. A
//! test shifts both by the same offset (`greenroom-testkit`), so leases, ticks and due times agree.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The current instant, possibly shifted; clones share the shift.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_micros: Arc<AtomicI64>,
}

impl Clock {
    /// Returns the machine's own time.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns the current instant in UTC.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::microseconds(self.offset_micros.load(Ordering::Relaxed))
    }

    /// Moves this clock and all its clones forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns how far this clock runs ahead of the machine's, in microseconds.
    pub fn offset_micros(&self) -> i64 {
        self.offset_micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_move_together() {
        let clock = Clock::system();
        let clone = clock.clone();
        let before = clone.now();
        clock.advance(Duration::from_hours(1));
        assert!(clone.now() - before >= TimeDelta::hours(1));
        assert_eq!(clone.offset_micros(), 3_600_000_000);
    }
}
