//! `connections.clean`: removes consents that came to nothing a day ago, and tokens that nobody needed for a week:
//! rotated ones that came late, and those that no provider has taken back.
//!
//! It looks at the state, so it may run at any time, twice, or late.

use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Connections;
use crate::store::{orphans, revocations, states};

const BATCH: i64 = 1_000;

/// Looks for what has served its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Clean {}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cleaned {
    /// Consents that expired, used or not.
    pub states: u64,
    /// Tokens that had come late.
    pub orphans: u64,
    /// Tokens that no provider has taken back.
    pub revocations: u64,
}

impl Job for Clean {
    const KIND: &'static str = "connections.clean";
    const POLICY: Policy = Policy::on("housekeeping").cron("40 2 * * *").max_attempts(3);
    type State = Connections;
    type Report = Cleaned;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<Cleaned>, Stop> {
        let mut cleaned = Cleaned::default();
        let mut conn = connections.pool.acquire().await?;
        loop {
            ctx.check()?;
            let states = states::remove_expired(&mut conn, BATCH).await?;
            let orphans = orphans::remove_old(&mut conn, BATCH).await?;
            let revocations = revocations::remove_old(&mut conn, BATCH).await?;
            cleaned.states += states;
            cleaned.orphans += orphans;
            cleaned.revocations += revocations;
            if states + orphans + revocations == 0 {
                return Ok(cleaned.into());
            }
        }
    }
}
