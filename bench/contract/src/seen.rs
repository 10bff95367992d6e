//! What the handlers saw, and the numbers made of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::Notify;

/// What the handlers saw.
#[derive(Debug)]
pub struct Seen {
    handled: AtomicU64,
    wanted: u64,
    enough: Notify,
    /// When each began, in nanoseconds after the epoch below, by `seq`; empty where nobody asks.
    began: Vec<AtomicU64>,
    epoch: Instant,
}

impl Seen {
    pub(crate) fn new(wanted: u64, timed: usize) -> Self {
        let began = (0..timed).map(|_| AtomicU64::new(0)).collect();
        Self { handled: AtomicU64::new(0), wanted, enough: Notify::new(), began, epoch: Instant::now() }
    }

    /// Notes that the handler of this job has begun: all that a measured handler does.
    pub fn handle(&self, seq: u64) {
        if let Some(began) = usize::try_from(seq).ok().and_then(|seq| self.began.get(seq)) {
            began.store(self.nanos().max(1), Ordering::Release);
        }
        if self.handled.fetch_add(1, Ordering::AcqRel) + 1 == self.wanted {
            self.enough.notify_waiters();
        }
    }

    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    pub(crate) fn began(&self) -> impl Iterator<Item = u64> {
        self.began.iter().map(|began| began.load(Ordering::Acquire))
    }

    /// Waits until as many were handled as are wanted.
    pub(crate) async fn until_enough(&self) {
        loop {
            let notified = self.enough.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.handled() >= self.wanted {
                return;
            }
            notified.await;
        }
    }
}

/// Takes three percentiles of times in nanoseconds, in milliseconds.
pub(crate) fn percentiles(mut nanos: Vec<u64>) -> Value {
    nanos.sort_unstable();
    let at = |percent: usize| {
        let at = (nanos.len() * percent).div_ceil(100).saturating_sub(1);
        nanos.get(at).map_or(0.0, |nanos| (*nanos as f64 / 1_000.0).round() / 1_000.0)
    };
    json!({"p50": at(50), "p95": at(95), "p99": at(99)})
}

/// Reads user and system time of this process from `/proc`, which counts in hundredths of a second.
pub(crate) fn process_cpu_secs() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}
