//! The jobs of this slice, one a file.

pub(crate) mod close_runs;
pub(crate) mod sync_channel;
pub(crate) mod sync_due_channels;
mod tally;
mod walk;

use std::sync::Arc;

use greenroom_model::{ConnectionId, UserId};
use greenroom_queue::{Enqueued, Jobs, NewJob, Pool, enqueue};
use sqlx::PgConnection;

use crate::{CloseRuns, Error, SyncChannel, SyncDueChannels, Trigger, Youtube};

/// The quota of one Google Cloud project: units a day in California. Operators set what theirs has.
pub const POOL: Pool = Pool::named("youtube").budget(10_000, "0 0 * * *", "America/Los_Angeles");

/// Lists the jobs of this slice; without a state they are only declared.
pub fn jobs(youtube: Option<&Arc<Youtube>>) -> Jobs {
    Jobs::new()
        .with::<SyncChannel>(youtube)
        .with::<SyncDueChannels>(youtube)
        .with::<CloseRuns>(youtube)
        .pool(POOL)
}

/// Enqueues a sync that a person asked for, in the caller's transaction; returns the open one if there is one.
pub async fn request_sync(
    conn: &mut PgConnection,
    connection: ConnectionId,
    user: UserId,
) -> Result<Enqueued, Error> {
    let job = NewJob::of(&SyncChannel { connection_id: connection, trigger: Trigger::Requested })?;
    // What a person waits for goes before what a schedule brought.
    let mut answers = enqueue(conn, &[job.for_user(user).priority(3)]).await?;
    answers.pop().ok_or(Error::Database(sqlx::Error::RowNotFound))
}
