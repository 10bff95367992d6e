//! `credits.audit`: holds every account against its ledgers, each night.
//!
//! It changes no account, so it may run at any time, twice, or be killed. What it finds is an error in the log, a metric,
//! an entry of `audit_logs`, a notice to the admins, and its result; `greenroom credits audit --fix` mends.

use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Credits;
use crate::audit::{AuditWalk, Discrepancy};
use crate::notices;

/// Discrepancies that a result names; all of them are counted.
const NAMED: usize = 100;

/// Looks at every account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Audit {}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountsAudited {
    /// Accounts looked at.
    pub accounts: u64,
    /// Rules that an account breaks.
    pub discrepancies: u64,
    /// The first of them.
    pub named: Vec<Discrepancy>,
}

impl Job for Audit {
    const KIND: &'static str = "credits.audit";
    const POLICY: Policy = Policy::on("credits").cron("10 3 * * *").max_attempts(3).timeout(super::HOUR);
    type State = Credits;
    type Report = AccountsAudited;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, credits: &Credits, ctx: &Context) -> Result<Done<AccountsAudited>, Stop> {
        let mut walk = AuditWalk::default();
        loop {
            ctx.check()?;
            if !walk.step(&mut *credits.pool.acquire().await?).await? {
                break;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("greenroom_credits_discrepancies").set(walk.found.len() as f64);
        for wrong in walk.found.iter().take(NAMED) {
            tracing::error!(user.id = %wrong.user_id, "an account does not add up: {wrong:?}");
        }
        let discrepancies = walk.found.len() as u64;
        if discrepancies > 0 {
            let (now, mut conn) = (ctx.now().await?, credits.pool.acquire().await?);
            notices::discrepancies(&mut conn, now, walk.accounts, discrepancies).await?;
        }
        walk.found.truncate(NAMED);
        Ok(AccountsAudited { accounts: walk.accounts, discrepancies, named: walk.found }.into())
    }
}
