//! Servers for tests: one that all test processes of a user share, and one of a test's own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cluster::{Data, Plan, Postgres};
use crate::{Error, server::Durability};

/// Long enough to bridge the gap between two test binaries, and the compiler's pause between two runs.
const LINGER: Duration = Duration::from_secs(5);

impl Postgres {
    /// Attaches to the server that all tests of this user share, or starts it.
    ///
    /// It is fast and forgets everything: no fsync, data in memory where there is a GiB for it. Some
    /// seconds after its last user is gone, however he went, server and data are gone.
    pub async fn throwaway() -> Result<Self, Error> {
        Self::enter(Plan {
            name: "test".into(),
            data: Data::Throwaway,
            durability: Durability::None,
            linger: LINGER,
        })
        .await
    }

    /// Starts a server that nobody else uses and that survives a `crash`, for tests of what survives.
    pub async fn alone() -> Result<Self, Error> {
        Self::enter(alone(Data::Throwaway)).await
    }

    /// Starts a standby of this server, for tests of a failover; `promote` makes a primary of it.
    pub async fn standby(&self) -> Result<Self, Error> {
        Self::enter(alone(Data::Following(self.room().to_owned()))).await
    }
}

fn alone(data: Data) -> Plan {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Plan {
        name: format!("alone-{}-{count}", std::process::id()),
        data,
        durability: Durability::Crash,
        linger: Duration::ZERO,
    }
}
