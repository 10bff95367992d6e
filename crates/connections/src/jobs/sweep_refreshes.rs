//! `connections.sweep_refreshes`: enqueues a refresh for each connection whose time has come, and closes runs of
//! refreshes that ended without a word.
//!
//! Run twice, the unique key of a refresh keeps it from being enqueued twice. Never run, tokens are fetched when they
//! are needed, and only a refresh token that nobody uses for months is in danger.

use greenroom_queue::{Context, Done, Job, NewJob, Policy, Stop, enqueue};
use greenroom_sync::runs;
use serde::{Deserialize, Serialize};

use super::Connections;
use super::refresh_token::RefreshToken;
use crate::error::RefreshError;
use crate::store::youtube::leases;

const PAGE: i64 = 500;

/// Looks for connections whose refresh is due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SweepRefreshes {}

/// How many were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshesEnqueued {
    /// Connections that were due.
    pub due: u64,
    /// Refreshes that were not open already.
    pub enqueued: u64,
    /// Runs closed as failed.
    pub closed: u64,
}

impl Job for SweepRefreshes {
    const KIND: &'static str = "connections.sweep_refreshes";
    const POLICY: Policy = Policy::on("tokens").cron("* * * * *").max_attempts(3);
    type State = Connections;
    type Report = RefreshesEnqueued;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<RefreshesEnqueued>, Stop> {
        let mut report = RefreshesEnqueued { due: 0, enqueued: 0, closed: close_runs(connections).await? };
        let mut after = None;
        loop {
            ctx.check()?;
            let mut tx = connections.pool.begin().await?;
            let due = leases::due(&mut tx, after, PAGE).await?;
            let Some(last) = due.last() else { return Ok(report.into()) };
            after = Some(last.id);
            let jobs = due
                .iter()
                .map(|due| Ok(NewJob::of(&RefreshToken::of(due.id))?.for_user(due.user_id)))
                .collect::<Result<Vec<_>, RefreshError>>()?;
            let answers = enqueue(&mut tx, &jobs).await?;
            tx.commit().await?;
            ctx.queue().wake(&answers);
            report.due += due.len() as u64;
            report.enqueued += answers.iter().filter(|answer| answer.created()).count() as u64;
        }
    }
}

async fn close_runs(connections: &Connections) -> Result<u64, RefreshError> {
    let mut closed = 0;
    loop {
        let mut tx = connections.pool.begin().await?;
        let orphans = runs::close_orphans(&mut tx, RefreshToken::KIND).await?;
        tx.commit().await?;
        if orphans.is_empty() {
            return Ok(closed);
        }
        closed += orphans.len() as u64;
    }
}
