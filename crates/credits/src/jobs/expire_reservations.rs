//! `credits.expire_reservations`: frees credits that a job set aside and never came back for.
//!
//! It looks at the state, so it may run at any time, twice, or late; a settlement that comes after it
//! still counts.

use greenroom_queue::{Context, Done, Job, JobError, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Credits;
use crate::store::reservations;
use crate::{CreditsError, expire};

const BATCH: i64 = 500;

/// Looks for reservations whose time is up and whose job is not at work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExpireReservations {}

/// How many were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationsExpired {
    /// Reservations freed.
    pub expired: u64,
}

impl JobError for CreditsError {}

impl Job for ExpireReservations {
    const KIND: &'static str = "credits.expire_reservations";
    const POLICY: Policy = Policy::on("housekeeping").cron("*/5 * * * *").max_attempts(3);
    type State = Credits;
    type Report = ReservationsExpired;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, credits: &Credits, ctx: &Context) -> Result<Done<ReservationsExpired>, Stop> {
        let mut report = ReservationsExpired { expired: 0 };
        loop {
            ctx.check()?;
            match expire(&credits.pool, BATCH).await? {
                0 => break,
                expired => report.expired += expired,
            }
        }
        metrics::counter!("greenroom_credits_reservations_expired_total").increment(report.expired);
        let held = reservations::held(&mut *credits.pool.acquire().await?).await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("greenroom_credits_reservations_held").set(held as f64);
        Ok(report.into())
    }
}
