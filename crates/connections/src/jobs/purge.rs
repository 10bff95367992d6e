//! `connections.purge`: removes connections that ended some days ago, and everything that was synced through them.
//!
//! Platforms let their data be kept only while its owner allows it. A connection's rows go with it, by their foreign
//! keys, one connection a transaction. Whoever connects again before that finds everything as it was. Run twice or
//! late, it does the same.

use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Connections;
use crate::store::{instagram, youtube};

/// Looks for connections that ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Purge {}

/// How many were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purged {
    /// Connections, with all that hung on them.
    pub connections: u64,
}

impl Job for Purge {
    const KIND: &'static str = "connections.purge";
    const POLICY: Policy = Policy::on("housekeeping").cron("20 3 * * *").max_attempts(3);
    type State = Connections;
    type Report = Purged;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<Purged>, Stop> {
        let days = i32::try_from(connections.settings.purge_after_days).unwrap_or(i32::MAX);
        let mut purged = Purged::default();
        loop {
            ctx.check()?;
            let mut conn = connections.pool.acquire().await?;
            let one =
                youtube::purge_one(&mut conn, days).await? || instagram::purge_one(&mut conn, days).await?;
            if !one {
                return Ok(purged.into());
            }
            purged.connections += 1;
        }
    }
}
