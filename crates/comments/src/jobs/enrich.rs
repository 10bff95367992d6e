//! `comments.enrich`: reads and ranks what waits for it in the comments of one connection, the newest first.
//!
//! A transaction a batch, so what is done stays done. While one batch is stored the next is fetched and read. Run twice,
//! the second finds nothing left; killed, it goes on with what is left; a comment that changes meanwhile asks again by
//! its row. Reading costs nobody a credit unless a language model does it, and ranking never does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_credits::{ActionType, Cost, Details, Free, Key, Resource, record_free};
use greenroom_language::Reader;
use greenroom_model::{CommentId, ConnectionId, Platform, UserId};
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::enrichment::{rank, read};
use crate::model::{BATCH, For, ModelReader};
use crate::store::ranked::{self, Ranked};
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
            *(if one.read.is_some() { &mut self.read } else { &mut self.ranked }) += 1;
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

/// One attempt at a reading.
struct Session<'a> {
    job: &'a Enrich,
    enrichment: &'a Enrichment,
    ctx: &'a Context,
    user: UserId,
    run: Run,
    resource: Resource,
}

/// What reads: one for each attempt, from batch to batch.
struct Readers<'a> {
    reader: Reader,
    /// The language model, as long as it can be asked and paid for.
    model: Option<&'a ModelReader>,
}

/// A batch that was read, and where the next begins.
struct Batch<'a> {
    ranked: Vec<Ranked>,
    last: Position,
    readers: Readers<'a>,
}

type Position = (DateTime<Utc>, CommentId);

impl Enrich {
    async fn through(
        &self,
        enrichment: &Enrichment,
        ctx: &Context,
    ) -> Result<Done<CommentsEnriched>, CommentsError> {
        let mut conn = enrichment.pool.acquire().await?;
        let owner = unranked::owner(&mut conn, self.platform, self.connection_id).await?;
        let user = owner.ok_or(CommentsError::NotFound(self.platform, self.connection_id))?;
        let run = runs::open(&mut conn, ctx.id(), Self::KIND, self.subject()).await?;
        drop(conn);
        let session = Session { job: self, enrichment, ctx, user, run, resource: self.resource() };
        session.through().await
    }

    fn subject(&self) -> Subject {
        match self.platform {
            Platform::Youtube => Subject::Youtube(self.connection_id),
            _ => Subject::Instagram(self.connection_id),
        }
    }

    fn resource(&self) -> Resource {
        Resource { kind: format!("{}_connections", self.platform), id: self.connection_id.to_string() }
    }
}

impl<'a> Session<'a> {
    async fn through(&self) -> Result<Done<CommentsEnriched>, CommentsError> {
        let Self { job, enrichment, ctx, user, run, .. } = self;
        let mut report = ctx.checkpoint::<CommentsEnriched>()?.unwrap_or_default();
        let readers = Readers { reader: enrichment.reader()?, model: enrichment.model.as_ref() };
        let mut batch = self.read_next(readers, None).await?;
        while let Some(Batch { ranked, last, readers }) = batch {
            if ctx.is_interrupted() {
                return Err(CommentsError::Interrupted);
            }
            report.count(&ranked);
            let (stored, next) =
                tokio::join!(self.store(&ranked, &report), self.read_next(readers, Some(last)));
            stored?;
            batch = next?;
        }
        let mut tx = enrichment.pool.begin().await?;
        ctx.fence(&mut tx).await?;
        runs::succeed(&mut tx, run.id, Counts::default()).await?;
        record(&mut tx, run, job, *user, Free::Scheduled, &report).await?;
        let done = ctx.complete(&mut tx, report).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Fetches the next batch and reads it, on a thread that may be kept busy, then by the model if there is one.
    async fn read_next(
        &self,
        readers: Readers<'a>,
        after: Option<Position>,
    ) -> Result<Option<Batch<'a>>, CommentsError> {
        let Self { job, enrichment, ctx, user, resource, .. } = self;
        let Readers { mut reader, mut model } = readers;
        let limit = model.map_or_else(|| enrichment.settings.batch.get().into(), |_| BATCH);
        let mut conn = enrichment.pool.acquire().await?;
        let comments =
            unranked::next(&mut conn, job.platform, job.connection_id, *user, after, limit).await?;
        drop(conn);
        let Some(last) = comments.last().map(|last| (last.published_at, last.id)) else { return Ok(None) };
        let (comments, mut read, reader) = tokio::task::spawn_blocking(move || {
            let read = read(&mut reader, &comments);
            (comments, read, reader)
        })
        .await?;
        if let Some(asked) = model {
            let of = For { pool: &enrichment.pool, ctx, user: *user, resource, timeout: TIMEOUT };
            if !asked.read(of, &comments, &mut read).await? {
                model = None;
            }
        }
        let readers = Readers { reader, model };
        Ok(Some(Batch { ranked: rank(comments, read), last, readers }))
    }

    async fn store(&self, batch: &[Ranked], report: &CommentsEnriched) -> Result<(), CommentsError> {
        let Self { job, enrichment, ctx, run, .. } = self;
        let mut tx = enrichment.pool.begin().await?;
        ctx.save_checkpoint_and_progress(&mut tx, report, report).await?;
        let stored = ranked::store(&mut tx, job.platform, batch).await?;
        let comments = u32::try_from(stored).unwrap_or(u32::MAX);
        runs::progress(&mut tx, run.id, Counts { videos: 0, comments }).await?;
        tx.commit().await?;
        let platform = job.platform.as_str();
        let mut read: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        for (_, by) in batch.iter().filter_map(|one| one.read.as_ref()) {
            *read.entry(&by.provider).or_default() += 1;
        }
        for (provider, count) in read {
            let provider = provider.to_string();
            metrics::counter!("greenroom_comments_read_total", "platform" => platform, "provider" => provider)
                .increment(count);
        }
        metrics::counter!("greenroom_comments_ranked_total", "platform" => platform)
            .increment(batch.len() as u64);
        Ok(())
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
        resource: Some(job.resource()),
        metadata: [("read".to_owned(), report.read.into()), ("ranked".to_owned(), report.ranked.into())]
            .into_iter()
            .collect(),
        ..Details::default()
    };
    let (key, free) = (Key::of_run(run.id), Cost::default());
    record_free(conn, user, &key, ActionType::AiSentimentAnalysis, &free, why, &details).await?;
    Ok(())
}
