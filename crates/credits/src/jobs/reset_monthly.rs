//! `credits.reset_monthly`: begins the new period of every account whose time has come.
//!
//! Set by set, a commit each, so it may be killed anywhere, run twice or on several workers, and be away for months. An
//! account that the database refuses is told and left, and holds up nobody else.

use std::time::Instant;

use greenroom_model::UserId;
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use greenroom_sync::{Counts, Subject, runs};
use serde::{Deserialize, Serialize};

use super::Credits;
use crate::CreditsError;
use crate::reset::{Reset, align_batch, first_due, reset_batch};
use crate::settings::ResetMode;

/// Looks for accounts whose period is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ResetMonthly {}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeriodsBegun {
    /// Accounts whose period began.
    pub accounts: u64,
    /// What they were given, in credits.
    pub granted: String,
    /// What expired, in credits.
    pub expired: String,
    /// Accounts that the database refused.
    pub refused: Vec<UserId>,
}

impl Job for ResetMonthly {
    const KIND: &'static str = "credits.reset_monthly";
    const POLICY: Policy = Policy::on("credits").cron("* * * * *").max_attempts(5).timeout(super::HOUR);
    type State = Credits;
    type Report = PeriodsBegun;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, credits: &Credits, ctx: &Context) -> Result<Done<PeriodsBegun>, Stop> {
        let settings = &credits.settings;
        let mut conn = credits.pool.acquire().await?;
        if settings.reset_mode == ResetMode::Calendar {
            while align_batch(&mut conn, settings.reset_batch.into()).await? > 0 {
                ctx.check()?;
            }
        }
        let due = first_due(&mut conn, &[]).await?;
        let Some((_, since)) = due else {
            metrics::gauge!("greenroom_credits_reset_lag_seconds").set(0.0);
            return Ok(PeriodsBegun::default().into());
        };
        let lag = (ctx.now().await? - since).as_seconds_f64();
        metrics::gauge!("greenroom_credits_reset_lag_seconds").set(lag);
        let run =
            runs::open(&mut conn, ctx.id(), Self::KIND, Subject::Many).await.map_err(CreditsError::from)?;
        let (begun, mut all, mut refused) = (Instant::now(), Reset::default(), Vec::new());
        loop {
            ctx.check()?;
            let batch = i64::from(settings.reset_batch);
            let some = match reset_batch(&mut conn, settings, batch, &refused).await {
                Ok(some) => some,
                Err(error @ sqlx::Error::Database(_)) => {
                    tracing::warn!(%error, "A set of resets was refused; going on one by one");
                    one_by_one(credits, &mut refused).await?
                }
                Err(error) => return Err(error.into()),
            };
            if some.accounts == 0 {
                break;
            }
            all.accounts += some.accounts;
            all.granted = all.granted + some.granted;
            all.expired = all.expired + some.expired;
        }
        metrics::histogram!("greenroom_credits_reset_seconds").record(begun.elapsed().as_secs_f64());
        metrics::counter!("greenroom_credits_resets_total").increment(all.accounts);
        let mut tx = credits.pool.begin().await?;
        ctx.fence(&mut tx).await?;
        runs::succeed(&mut tx, run.id, Counts::default()).await.map_err(CreditsError::from)?;
        let report = PeriodsBegun {
            accounts: all.accounts,
            granted: all.granted.to_string(),
            expired: all.expired.to_string(),
            refused,
        };
        let done = ctx.complete(&mut tx, report).await?;
        tx.commit().await?;
        Ok(done)
    }
}

/// Resets accounts one at a time, as long as it takes to come past those that are refused.
async fn one_by_one(credits: &Credits, refused: &mut Vec<UserId>) -> Result<Reset, CreditsError> {
    let mut all = Reset::default();
    for _ in 0..credits.settings.reset_batch {
        let mut conn = credits.pool.acquire().await?;
        let Some((user, _)) = first_due(&mut conn, refused).await? else { break };
        match reset_batch(&mut conn, &credits.settings, 1, refused).await {
            Ok(one) => {
                all.accounts += one.accounts;
                all.granted = all.granted + one.granted;
                all.expired = all.expired + one.expired;
            }
            Err(error @ sqlx::Error::Database(_)) => {
                tracing::error!(user.id = %user, %error, "An account could not be reset: audit it");
                refused.push(user);
            }
            Err(error) => return Err(error.into()),
        }
    }
    // One that was refused is progress too: the next look passes over it.
    all.accounts = all.accounts.max(1);
    Ok(all)
}
