//! `connections.reencrypt`: seals what is under an old key again, once a week.
//!
//! A rotation of keys is an operator's act and ends with `greenroom tokens reencrypt`; this job sees to it that one
//! which was forgotten half-way ends as well, and that tokens of before there was encryption do not stay plain.

use std::time::Duration;

use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Connections;
use crate::gauges::tokens_by_key;
use crate::rotation::{Position, Report, Walk};

/// Walks over every stored token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reencrypt {}

impl Job for Reencrypt {
    const KIND: &'static str = "connections.reencrypt";
    const POLICY: Policy =
        Policy::on("housekeeping").cron("20 3 * * sun").max_attempts(5).timeout(Duration::from_hours(6));
    type State = Connections;
    type Report = Report;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<Report>, Stop> {
        let walk = Walk {
            pool: &connections.pool,
            vault: &connections.vault,
            table: None,
            reseals: true,
            pause: connections.settings.reencrypt_pause(),
        };
        let mut at = ctx.checkpoint::<Position>()?.unwrap_or_default();
        while walk.step(&mut at).await? {
            ctx.check()?;
            ctx.save_checkpoint(&mut *connections.pool.acquire().await?, &at).await?;
        }
        let report = at.into_report();
        tokens_by_key(&report);
        Ok(report.into())
    }
}
