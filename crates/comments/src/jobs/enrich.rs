//! `comments.enrich`: reads and ranks what waits for it in the comments of one connection, the newest first.
//!
//! A transaction a batch, so what is done stays done. While one batch is stored the next is fetched and read. Run twice,
//! the second finds nothing left; killed, it goes on with what is left; a comment that changes meanwhile asks again by
//! its row. Reading costs nobody a credit, nor does ranking, ever.

use std::time::Duration;

use greenroom_credits::{ActionType, Cost, Details, Free, Key, Resource, record_free};
use greenroom_language::Reader;
use greenroom_model::{CommentId, ConnectionId, Platform, UserId};
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::enrichment::{by, judge};
use crate::store::ranked::{self, By, Ranked};
use crate::store::unranked;
use crate::{CommentsError, Enrichment, URGENT};

/// How long one attempt may take; what is left is for the next.
const TIMEOUT: Duration = Duration::from_hours(1);

/// Reads and ranks the comments of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrich {
    /// Of which platform it is.
    pub platform: Platform,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose it is: one person's comments never take all workers.
    pub user_id: UserId,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommentsEnriched {
    /// Comments that were read.
    pub read: u64,
    /// Comments that were only ranked again.
    pub ranked: u64,
    /// Of all these, the urgent ones.
    pub urgent: u64,
}

impl CommentsEnriched {
    fn count(&mut self, batch: &[Ranked]) {
        for one in batch {
            *(if one.labels.is_some() { &mut self.read } else { &mut self.ranked }) += 1;
            self.urgent += u64::from(one.priority.score >= URGENT);
        }
    }
}

impl Job for Enrich {
    const KIND: &'static str = "comments.enrich";
    const POLICY: Policy = Policy::on("enrichment").lane("user_id", 2).max_attempts(5).timeout(TIMEOUT);
    type State = Enrichment;
    type Report = CommentsEnriched;

    fn key(&self) -> Option<String> {
        Some(self.connection_id.to_string())
    }

    async fn run(self, enrichment: &Enrichment, ctx: &Context) -> Result<Done<CommentsEnriched>, Stop> {
        Ok(self.through(enrichment, ctx).await?)
    }
}

/// A batch that was read, and where the next begins.
struct Batch {
    ranked: Vec<Ranked>,
    last: (chrono::DateTime<chrono::Utc>, CommentId),
    reader: Reader,
}

impl Enrich {
    async fn through(
        &self,
        enrichment: &Enrichment,
        ctx: &Context,
    ) -> Result<Done<CommentsEnriched>, CommentsError> {
        let pool = &enrichment.pool;
        let mut conn = pool.acquire().await?;
        let owner = unranked::owner(&mut conn, self.platform, self.connection_id).await?;
        let user = owner.ok_or(CommentsError::NotFound(self.platform, self.connection_id))?;
        let run = runs::open(&mut conn, ctx.id(), Self::KIND, self.subject()).await?;
        drop(conn);
        let mut report = ctx.checkpoint::<CommentsEnriched>()?.unwrap_or_default();
        let mut batch = self.read_next(enrichment, enrichment.reader()?, None).await?;
        while let Some(Batch { ranked, last, reader }) = batch {
            if ctx.is_interrupted() {
                return Err(CommentsError::Interrupted);
            }
            report.count(&ranked);
            let by = by(&reader);
            let (stored, next) = tokio::join!(
                self.store(enrichment, ctx, &run, by, &ranked, &report),
                self.read_next(enrichment, reader, Some(last))
            );
            stored?;
            batch = next?;
        }
        let mut tx = pool.begin().await?;
        ctx.fence(&mut tx).await?;
        runs::succeed(&mut tx, run.id, Counts::default()).await?;
        record(&mut tx, &run, self, user, Free::Scheduled, &report).await?;
        let done = ctx.complete(&mut tx, report).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Fetches the next batch and reads it, on a thread that may be kept busy.
    async fn read_next(
        &self,
        enrichment: &Enrichment,
        mut reader: Reader,
        after: Option<(chrono::DateTime<chrono::Utc>, CommentId)>,
    ) -> Result<Option<Batch>, CommentsError> {
        let mut conn = enrichment.pool.acquire().await?;
        let limit = i64::from(enrichment.settings.batch.get());
        let comments = unranked::next(&mut conn, self.platform, self.connection_id, after, limit).await?;
        drop(conn);
        let Some(last) = comments.last().map(|last| (last.published_at, last.id)) else { return Ok(None) };
        let (ranked, reader) =
            tokio::task::spawn_blocking(move || (judge(&mut reader, &comments), reader)).await?;
        Ok(Some(Batch { ranked, last, reader }))
    }

    async fn store(
        &self,
        enrichment: &Enrichment,
        ctx: &Context,
        run: &Run,
        by: By<'_>,
        batch: &[Ranked],
        report: &CommentsEnriched,
    ) -> Result<(), CommentsError> {
        let mut tx = enrichment.pool.begin().await?;
        ctx.save_checkpoint_and_progress(&mut tx, report, report).await?;
        let stored = ranked::store(&mut tx, self.platform, by, batch).await?;
        let comments = u32::try_from(stored).unwrap_or(u32::MAX);
        runs::progress(&mut tx, run.id, Counts { videos: 0, comments }).await?;
        tx.commit().await?;
        let read = batch.iter().filter(|one| one.labels.is_some()).count() as u64;
        let platform = self.platform.as_str();
        metrics::counter!("greenroom_comments_read_total", "platform" => platform, "provider" => by.provider.to_owned())
            .increment(read);
        metrics::counter!("greenroom_comments_ranked_total", "platform" => platform)
            .increment(batch.len() as u64);
        Ok(())
    }

    fn subject(&self) -> Subject {
        match self.platform {
            Platform::Youtube => Subject::Youtube(self.connection_id),
            _ => Subject::Instagram(self.connection_id),
        }
    }
}

/// Writes the event of a run, which costs nothing.
pub(crate) async fn record(
    conn: &mut PgConnection,
    run: &Run,
    job: &Enrich,
    user: UserId,
    why: Free,
    report: &CommentsEnriched,
) -> Result<(), CommentsError> {
    let details = Details {
        description: format!("Reading of comments on {}", job.platform),
        resource: Some(Resource {
            kind: format!("{}_connections", job.platform),
            id: job.connection_id.to_string(),
        }),
        metadata: [("read".to_owned(), report.read.into()), ("ranked".to_owned(), report.ranked.into())]
            .into_iter()
            .collect(),
        ..Details::default()
    };
    let (key, free) = (Key::of_run(run.id), Cost::default());
    record_free(conn, user, &key, ActionType::AiSentimentAnalysis, &free, why, &details).await?;
    Ok(())
}
