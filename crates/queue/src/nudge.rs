//! Keeps a runtime turning while a handler computes.
//!
//! tokio's threads take turns to wait for network and time. A handler that computes without a pause may
//! sit on the thread whose turn it was: then nobody waits, and claims, leases and signals stand still
//! although other threads are free. A word from outside the runtime wakes one of those, and that takes the
//! turn. Where handlers sit on all threads nothing helps, and the worker's heartbeat tells.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::runtime::Handle;

const INTERVAL: Duration = Duration::from_millis(200);

/// Ends with this value.
pub(crate) struct Nudge {
    _lives: Sender<()>,
}

impl Nudge {
    /// Begins to nudge the runtime it is called from.
    pub(crate) fn start() -> Self {
        let (lives, alive) = channel();
        let runtime = Handle::current();
        std::thread::spawn(move || {
            while alive.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                runtime.spawn(std::future::ready(()));
            }
        });
        Self { _lives: lives }
    }
}
