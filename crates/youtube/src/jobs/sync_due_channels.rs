//! `youtube.sync_due_channels`: enqueues one sync for each connection whose turn it is.
//!
//! Run twice, the unique key of a sync keeps it from being enqueued twice. Never run, the next tick finds
//! the same connections: it looks at their state.

use chrono::TimeDelta;
use greenroom_connections::youtube;
use greenroom_queue::{Context, Done, Job, NewJob, Policy, Stop, enqueue};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::{SyncChannel, Trigger, Youtube};

const PAGE: u32 = 500;

/// Looks for channels whose last sync is old.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyncDueChannels {}

/// How many syncs were enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueChannelsEnqueued {
    /// Connections that were due.
    pub due: u64,
    /// Syncs that were not open already.
    pub enqueued: u64,
}

impl Job for SyncDueChannels {
    const KIND: &'static str = "youtube.sync_due_channels";
    const POLICY: Policy = Policy::on("housekeeping").cron("*/5 * * * *").max_attempts(3);
    type State = Youtube;
    type Report = DueChannelsEnqueued;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, state: &Youtube, ctx: &Context) -> Result<Done<DueChannelsEnqueued>, Stop> {
        let synced_before =
            state.clock.now() - TimeDelta::seconds(i64::from(state.settings.sync_interval_secs));
        let (mut after, mut report) = (None, DueChannelsEnqueued { due: 0, enqueued: 0 });
        loop {
            ctx.check()?;
            let mut tx = state.pool.begin().await?;
            let due = youtube::due_for_sync(&mut tx, synced_before, after, PAGE).await?;
            let Some(last) = due.last() else { break };
            after = Some(*last);
            let jobs = due
                .iter()
                .map(|due| {
                    let job = SyncChannel { connection_id: due.id, trigger: Trigger::Scheduled };
                    Ok(NewJob::of(&job)?.for_user(due.user_id))
                })
                .collect::<Result<Vec<_>, Error>>()?;
            let answers = enqueue(&mut tx, &jobs).await?;
            tx.commit().await?;
            ctx.queue().wake(&answers);
            report.due += due.len() as u64;
            report.enqueued += answers.iter().filter(|answer| answer.created()).count() as u64;
        }
        Ok(report.into())
    }
}
