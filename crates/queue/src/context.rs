//! What a handler can ask and do about the job it runs.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use greenroom_model::{JobId, UserId};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::sync::watch;

use crate::claim::Claimed;
use crate::settle::{Settlement, Verdict, complete, forget};
use crate::{Policy, Queue, QueueError, Stop, TraceParent};

/// Why a running job should end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// An operator cancelled it.
    Cancel,
    /// The lease is gone, or about to end unrenewed.
    LeaseLost,
    /// The process stops and the deadline has come.
    Shutdown,
}

/// The job a handler runs, as seen from inside.
#[derive(Clone, Debug)]
pub struct Context {
    job: Arc<Claimed>,
    queue: Queue,
    interrupt: watch::Receiver<Option<Interrupt>>,
    stopping: tokio_util::sync::CancellationToken,
    policy: Policy,
}

/// A finished job: its report, and whether it is already written.
#[derive(Debug)]
#[must_use]
pub struct Done<R> {
    pub(crate) report: R,
    pub(crate) written: bool,
}

impl<R> From<R> for Done<R> {
    fn from(report: R) -> Self {
        Self { report, written: false }
    }
}

impl Context {
    pub(crate) fn new(
        job: Arc<Claimed>,
        queue: Queue,
        interrupt: watch::Receiver<Option<Interrupt>>,
        stopping: tokio_util::sync::CancellationToken,
        policy: Policy,
    ) -> Self {
        Self { job, queue, interrupt, stopping, policy }
    }

    /// Returns the job's id.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Returns the user whose job it is.
    pub fn user(&self) -> Option<UserId> {
        self.job.user
    }

    /// Returns which attempt this is, from 1.
    pub fn attempt(&self) -> i16 {
        self.job.attempt
    }

    /// Tells whether a failure now would be the last.
    pub fn is_last_attempt(&self) -> bool {
        self.job.attempt >= self.job.max_attempts
    }

    /// Returns the queue, to enqueue what follows.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns the trace of this attempt. What its handler enqueues carries it by itself; a task that the
    /// handler spawns has to be told.
    pub fn trace(&self) -> TraceParent {
        TraceParent::of(&self.job)
    }

    /// Tells whether the job should end: it was cancelled, its lease is lost, or the process stops.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.borrow().is_some() || self.stopping.is_cancelled()
    }

    /// Ends the handler when the job should end: `ctx.check()?` between two steps.
    pub fn check(&self) -> Result<(), Stop> {
        if self.is_interrupted() { Err(Stop::interrupted()) } else { Ok(()) }
    }

    /// Asks the database for the time: what due times, leases and windows are judged by.
    pub async fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#);
        Ok(now.fetch_one(self.queue.pool()).await?)
    }

    /// Spends units of the job's pool before a call that costs them. Where none are left the handler ends
    /// here, snoozed until the pool's next window; a job without a pool spends nothing.
    ///
    /// Fails with [`QueueError::NoUnits`], whose class is that snooze.
    pub async fn spend(&self, units: u32) -> Result<(), QueueError> {
        if self.job.pool.is_empty() || units == 0 {
            return Ok(());
        }
        self.queue.units().spend(&self.job.pool, units, self.policy.share).await
    }

    /// Waits until the job should end.
    pub fn interrupted(&self) -> impl Future<Output = ()> + use<> {
        let (mut interrupt, stopping) = (self.interrupt.clone(), self.stopping.clone());
        async move {
            tokio::select! {
                _ = interrupt.wait_for(Option::is_some) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Reads the checkpoint that an earlier run of this job left.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, QueueError> {
        Ok(self.job.checkpoint.clone().map(serde_json::from_value).transpose()?)
    }

    /// Makes sure, until the end of the transaction, that this process still holds the job.
    ///
    /// A transaction that passes this and commits was made under the lease: the row is locked, so
    /// nobody can rescue the job in between. Needed for correctness wherever an effect is not
    /// idempotent, such as a cursor that must not go back.
    pub async fn fence(&self, conn: &mut PgConnection) -> Result<(), QueueError> {
        let held = sqlx::query_scalar!(
            "select 1 as one from background_jobs where id = $1 and lease_token = $2 for no key update",
            self.job.id.0,
            self.job.token,
        )
        .fetch_optional(conn)
        .await?;
        held.map(|_| ()).ok_or(QueueError::LeaseLost(self.job.id))
    }

    /// Stores where the work stands, in the transaction that got it there; fenced.
    pub async fn save_checkpoint<T: Serialize + Sync>(
        &self,
        conn: &mut PgConnection,
        checkpoint: &T,
    ) -> Result<(), QueueError> {
        self.write(conn, Some(serde_json::to_value(checkpoint)?), None).await
    }

    /// Tells those who watch how far the work is; fenced.
    pub async fn report_progress<T: Serialize + Sync>(
        &self,
        conn: &mut PgConnection,
        progress: &T,
    ) -> Result<(), QueueError> {
        self.write(conn, None, Some(serde_json::to_value(progress)?)).await
    }

    /// Stores where the work stands and tells those who watch, in one statement; fenced.
    pub async fn save_checkpoint_and_progress<C: Serialize + Sync, P: Serialize + Sync>(
        &self,
        conn: &mut PgConnection,
        checkpoint: &C,
        progress: &P,
    ) -> Result<(), QueueError> {
        let (checkpoint, progress) = (serde_json::to_value(checkpoint)?, serde_json::to_value(progress)?);
        self.write(conn, Some(checkpoint), Some(progress)).await
    }

    async fn write(
        &self,
        conn: &mut PgConnection,
        checkpoint: Option<Value>,
        progress: Option<Value>,
    ) -> Result<(), QueueError> {
        let written = sqlx::query!(
            r#"
            update background_jobs
               set checkpoint = coalesce($3, checkpoint), progress = coalesce($4, progress)
             where id = $1 and lease_token = $2
            "#,
            self.job.id.0,
            self.job.token,
            checkpoint,
            progress,
        )
        .execute(conn)
        .await?;
        if written.rows_affected() == 0 { Err(QueueError::LeaseLost(self.job.id)) } else { Ok(()) }
    }

    /// Completes the job inside the handler's own transaction: if that commits, the job is done; if it
    /// does not, nothing of it happened. Must be the transaction's last statement, since it takes locks
    /// that others wait for.
    pub async fn complete<R: Serialize + Send>(
        &self,
        conn: &mut PgConnection,
        report: R,
    ) -> Result<Done<R>, QueueError> {
        let lost = if self.policy.forget {
            forget(conn, &[Settlement::of(&self.job, Verdict::Forgotten)]).await?
        } else {
            let verdict = Verdict::completed(serde_json::to_value(&report)?);
            complete(conn, &[Settlement::of(&self.job, verdict)]).await?
        };
        if lost.is_empty() {
            Ok(Done { report, written: true })
        } else {
            Err(QueueError::LeaseLost(self.job.id))
        }
    }
}
