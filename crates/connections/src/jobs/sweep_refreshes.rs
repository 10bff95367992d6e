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
use crate::gauges;
use crate::store::tokens;
use crate::which::{Kind, Which};

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
        gauges::measure(&mut *connections.pool.acquire().await?).await?;
        for kind in Kind::ALL {
            sweep(connections, ctx, kind, &mut report).await?;
        }
        Ok(report.into())
    }
}

/// Goes through one table, a page at a time.
async fn sweep(
    connections: &Connections,
    ctx: &Context,
    kind: Kind,
    report: &mut RefreshesEnqueued,
) -> Result<(), Stop> {
    let mut after = None;
    loop {
        ctx.check()?;
        let mut tx = connections.pool.begin().await?;
        let due = tokens::due(&mut tx, kind, after, PAGE).await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(last.id);
        let jobs = due
            .iter()
            .map(|due| {
                let job = NewJob::of(&RefreshToken::of(Which { kind, id: due.id }, due.platform))?;
                Ok(match due.user_id {
                    Some(user) => job.for_user(user),
                    None => job,
                })
            })
            .collect::<Result<Vec<_>, RefreshError>>()?;
        let answers = enqueue(&mut tx, &jobs).await?;
        tx.commit().await?;
        ctx.queue().wake(&answers);
        report.due += due.len() as u64;
        report.enqueued += answers.iter().filter(|answer| answer.created()).count() as u64;
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
