//! `youtube.sync_channel`: pulls one channel whole, logs the run, and charges for it if it was asked for.
//!
//! ```text
//!   run opens ─▶ price reserved (if requested) ─▶ pages … ─▶ one transaction:
//!                                                           run succeeds, credits settle, job completes
//! ```
//!
//! Run twice, it stores everything once and charges once: pages are upserts, the charge's key names the
//! job. Killed half-way, it goes on from its cursors. Never run, the schedule brings it again.

use std::time::Duration;

use greenroom_connections::youtube::{self, Connection};
use greenroom_credits::{ActionType, Cost, Details, Free, Hold, Key, Reservation, Reserved, Resource};
use greenroom_model::{ConnectionId, MicroCredits};
use greenroom_queue::{Class, Context, Done, Job, JobError as _, Policy, Stop};
use greenroom_sync::{Counts, Run, Subject, cursors, quota, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tracing::warn;

use super::POOL;
use super::tally::{Rows, Tally};
use super::walk::Walk;
use crate::error::Error;
use crate::store::channels;
use crate::youtube::Youtube;

/// How long one attempt may take; a larger channel goes on in the next.
const TIMEOUT: Duration = Duration::from_hours(1);

/// Pulls one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncChannel {
    /// The connection whose channel it is.
    pub connection_id: ConnectionId,
    /// Who wants it, which decides whether it costs.
    #[serde(default)]
    pub trigger: Trigger,
}

/// Who wants a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule: free.
    #[default]
    Scheduled,
    /// A person: at the price of the action.
    Requested,
}

/// What a finished sync tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSynced {
    /// Units of quota the last attempt used.
    pub calls: u32,
    /// Pages stored.
    pub pages: u64,
    /// Videos by what became of them.
    pub videos: Rows,
    /// Comments by what became of them.
    pub comments: Rows,
    /// Units left out, by YouTube's reason.
    pub skipped: std::collections::BTreeMap<String, u64>,
    /// Whether an earlier attempt had begun it.
    pub resumed: bool,
    /// What it cost, in millionths of a credit.
    pub charged: MicroCredits,
}

impl Job for SyncChannel {
    const KIND: &'static str = "youtube.sync_channel";
    const POLICY: Policy =
        Policy::on("youtube").pool(POOL.name).max_attempts(8).timeout(TIMEOUT).lane("connection_id", 1);
    type State = Youtube;
    type Report = ChannelSynced;

    fn key(&self) -> Option<String> {
        Some(self.connection_id.to_string())
    }

    async fn run(self, youtube: &Youtube, ctx: &Context) -> Result<Done<ChannelSynced>, Stop> {
        let mut conn = youtube.pool.acquire().await?;
        let connection = youtube::find(&mut conn, self.connection_id).await?;
        let connection = connection.ok_or(Error::NotFound(self.connection_id))?;
        let run = runs::open(&mut conn, ctx.id(), Self::KIND, Subject::Youtube(connection.id)).await;
        let run = run.map_err(Error::from)?;
        drop(conn);
        let mut sync = Sync { job: &self, youtube, ctx, connection, run, hold: None };
        match sync.through().await {
            Ok(done) => Ok(done),
            Err(error) => Err(sync.ended_by(error).await),
        }
    }
}

/// One attempt at a sync.
struct Sync<'a> {
    job: &'a SyncChannel,
    youtube: &'a Youtube,
    ctx: &'a Context,
    connection: Connection,
    run: Run,
    /// What is set aside for it, once it is.
    hold: Option<Hold>,
}

impl Sync<'_> {
    async fn through(&mut self) -> Result<Done<ChannelSynced>, Error> {
        let pool = &self.youtube.pool;
        channels::must_be_active(&mut *pool.acquire().await?, self.connection.id).await?;
        // Before the first call, so that finished work never fails for want of credits.
        if self.job.trigger == Trigger::Requested {
            self.hold = self.reserve().await?;
        }
        let client = self.youtube.client(self.connection.id, self.ctx).await?;
        let walk = Walk {
            ctx: self.ctx,
            pool,
            client: &client,
            connection: &self.connection,
            run: &self.run,
            tally: Mutex::new(self.ctx.checkpoint::<Tally>()?.unwrap_or_default()),
            videos_at_once: usize::from(self.youtube.settings.in_flight.get()),
        };
        let walked = walk.channel().await;
        let (calls, tally) = (client.calls(), walk.tally.into_inner());
        if walked.is_err() {
            self.record_quota(calls).await;
        }
        walked?;
        self.finish(calls, tally).await
    }

    async fn reserve(&self) -> Result<Option<Hold>, Error> {
        let pool = &self.youtube.pool;
        let price =
            greenroom_credits::prices::in_force(&mut *pool.acquire().await?, ActionType::YoutubeSync).await?;
        let wish = Reservation {
            user: self.connection.user_id,
            job: Some(self.ctx.id()),
            key: &self.key(),
            price: &price,
            amount: price.of(1).credits(),
            timeout: TIMEOUT,
        };
        Ok(match greenroom_credits::reserve(pool, &wish).await? {
            Reserved::Held(hold) => Some(hold),
            // Charged by an attempt whose completion was then undone by hand: not charged again.
            Reserved::Settled(_) => None,
        })
    }

    /// Names the work and not the attempt, so that no retry charges twice.
    fn key(&self) -> Key {
        Key::of_job(self.ctx.id(), "sync")
    }

    fn details(&self, tally: &Tally) -> Details {
        let channel = self.connection.channel_name.as_deref().unwrap_or(&self.connection.channel_id);
        Details {
            description: format!("Sync of the YouTube channel {channel}"),
            resource: Some(Resource {
                kind: "youtube_connections".to_owned(),
                id: self.connection.id.to_string(),
            }),
            metadata: [
                (
                    "videos".to_owned(),
                    (tally.videos.inserted + tally.videos.updated + tally.videos.unchanged).into(),
                ),
                (
                    "comments".to_owned(),
                    (tally.comments.inserted + tally.comments.updated + tally.comments.unchanged).into(),
                ),
            ]
            .into_iter()
            .collect(),
            ..Details::default()
        }
    }

    /// Everything that makes the sync done, in one transaction; the job's own row last.
    async fn finish(&self, calls: u32, tally: Tally) -> Result<Done<ChannelSynced>, Error> {
        let details = self.details(&tally);
        let mut tx = self.youtube.pool.begin().await?;
        self.ctx.fence(&mut tx).await?;
        channels::synced(&mut tx, self.connection.id).await?;
        cursors::clear_all(&mut tx, self.connection.id).await?;
        runs::succeed(&mut tx, self.run.id, Counts::default()).await?;
        let project = &self.youtube.settings.quota_project;
        quota::record(&mut tx, project, "default", calls, &self.youtube.clock).await?;
        let charged = if let Some(hold) = &self.hold {
            greenroom_credits::settle(&mut tx, hold, &hold.price.of(1), &details).await?.credits
        } else {
            self.record_free(&mut tx, Free::Scheduled, &details).await?;
            MicroCredits::ZERO
        };
        let report = ChannelSynced {
            calls,
            pages: tally.pages,
            videos: tally.videos,
            comments: tally.comments,
            skipped: tally.skipped,
            resumed: self.run.resumed,
            charged,
        };
        let done = self.ctx.complete(&mut tx, report).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Closes the run when this error is the job's end; until then the next attempt carries it on.
    async fn ended_by(&self, error: Error) -> Stop {
        let is_end = match error.class() {
            Class::Cancel => true,
            Class::Retry | Class::RetryAfter(_) | Class::Trip { until: None, .. } => {
                self.ctx.is_last_attempt()
            }
            Class::SnoozeUntil(_) | Class::Trip { until: Some(_), .. } | Class::Release => false,
        };
        if is_end && let Err(failed) = self.close(&error).await {
            // The sweep of orphaned runs will.
            warn!(job.id = %self.ctx.id(), error = %failed, "Could not close the run of a failed sync");
        }
        error.into()
    }

    async fn close(&self, error: &Error) -> Result<(), Error> {
        let mut tx = self.youtube.pool.begin().await?;
        self.ctx.fence(&mut tx).await?;
        runs::fail(&mut tx, self.run.id, &error.to_string()).await?;
        if let Some(hold) = &self.hold {
            greenroom_credits::release(&mut tx, hold).await?;
        }
        self.record_free(&mut tx, Free::Failed, &self.details(&Tally::default())).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn record_free(&self, conn: &mut PgConnection, why: Free, details: &Details) -> Result<(), Error> {
        let (user, key, free) = (self.connection.user_id, Key::of_run(self.run.id), Cost::default());
        greenroom_credits::record_free(conn, user, &key, ActionType::YoutubeSync, &free, why, details)
            .await?;
        Ok(())
    }

    async fn record_quota(&self, calls: u32) {
        let recorded = async {
            let mut conn = self.youtube.pool.acquire().await?;
            let project = &self.youtube.settings.quota_project;
            Ok::<_, Error>(quota::record(&mut conn, project, "default", calls, &self.youtube.clock).await?)
        };
        if let Err(error) = recorded.await {
            warn!(%error, "Could not record {calls} units of quota");
        }
    }
}
