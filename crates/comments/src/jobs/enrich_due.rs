//! `comments.enrich_due`: enqueues one reading for each connection with comments that wait for it, and closes the runs of
//! readings that ended without a word.
//!
//! The comments themselves are the request. Run twice, the unique key of a reading keeps it from being enqueued twice;
//! never run, the next tick finds the same.

use greenroom_credits::Free;
use greenroom_model::{ConnectionId, Platform};
use greenroom_queue::{Context, Done, Job, NewJob, Policy, Stop, enqueue};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};

use super::enrich::{CommentsEnriched, Enrich, record};
use crate::store::{cache, unranked};
use crate::{CommentsError, Enrichment};

const PAGE: i64 = 500;
/// Old readings that one look forgets.
const OLD: i64 = 5_000;

/// Looks for comments that wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EnrichDue {}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueEnqueued {
    /// Connections with comments to read or rank.
    pub due: u64,
    /// Readings that were not open already.
    pub enqueued: u64,
    /// Runs closed as failed.
    pub closed: u64,
    /// Readings of a model that were too old to be kept.
    #[serde(default)]
    pub forgotten: u64,
}

impl Job for EnrichDue {
    const KIND: &'static str = "comments.enrich_due";
    const POLICY: Policy = Policy::on("enrichment").cron("* * * * *").max_attempts(3);
    type State = Enrichment;
    type Report = DueEnqueued;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, enrichment: &Enrichment, ctx: &Context) -> Result<Done<DueEnqueued>, Stop> {
        let mut report = DueEnqueued { closed: close_runs(enrichment).await?, ..DueEnqueued::default() };
        for platform in [Platform::Youtube, Platform::Instagram] {
            enqueue_behind(enrichment, ctx, platform, &mut report).await?;
        }
        report.forgotten = cache::forget_old(&mut *enrichment.pool.acquire().await?, OLD).await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("greenroom_comments_connections_behind").set(report.due as f64);
        Ok(report.into())
    }
}

async fn enqueue_behind(
    enrichment: &Enrichment,
    ctx: &Context,
    platform: Platform,
    report: &mut DueEnqueued,
) -> Result<(), Stop> {
    let mut after: Option<ConnectionId> = None;
    loop {
        ctx.check()?;
        let mut tx = enrichment.pool.begin().await?;
        let behind = unranked::behind(&mut tx, platform, after, PAGE).await?;
        let Some(last) = behind.last() else { return Ok(()) };
        after = Some(last.connection);
        let jobs = behind
            .iter()
            .filter(|one| !one.ended)
            .map(|one| {
                let job = Enrich { platform, connection_id: one.connection, user_id: one.user };
                Ok(NewJob::of(&job)?.for_user(one.user))
            })
            .collect::<Result<Vec<_>, CommentsError>>()?;
        let answers = enqueue(&mut tx, &jobs).await.map_err(CommentsError::from)?;
        tx.commit().await?;
        ctx.queue().wake(&answers);
        report.due += jobs.len() as u64;
        report.enqueued += answers.iter().filter(|answer| answer.created()).count() as u64;
    }
}

/// Closes runs whose job ended without a word, with the event that a failed run leaves behind.
async fn close_runs(enrichment: &Enrichment) -> Result<u64, CommentsError> {
    let mut closed = 0;
    loop {
        let mut tx = enrichment.pool.begin().await?;
        let orphans = runs::close_orphans(&mut tx, Enrich::KIND).await?;
        if orphans.is_empty() {
            return Ok(closed);
        }
        closed += orphans.len() as u64;
        for orphan in orphans {
            let (platform, connection_id) = match orphan.subject {
                Some(Subject::Youtube(connection)) => (Platform::Youtube, connection),
                Some(Subject::Instagram(connection)) => (Platform::Instagram, connection),
                Some(Subject::Many) | None => continue,
            };
            if let Some(user_id) = unranked::owner(&mut tx, platform, connection_id).await? {
                let run = Run { id: orphan.run, resumed: true, counts: Counts::default() };
                let job = Enrich { platform, connection_id, user_id };
                record(&mut tx, &run, &job, user_id, Free::Failed, &CommentsEnriched::default()).await?;
            }
        }
        tx.commit().await?;
    }
}
