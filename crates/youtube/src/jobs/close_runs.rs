//! `youtube.close_runs`: closes runs whose job ended without a word, as after a crash or a cancellation.
//!
//! It looks at the state, so it may run at any time, twice, or late.

use greenroom_connections::youtube;
use greenroom_credits::{ActionType, Cost, Details, Free, Key};
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use greenroom_sync::{Subject, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::error::Error;
use crate::{SyncChannel, Youtube};

/// Looks for open runs of closed jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloseRuns {}

/// How many were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsClosed {
    /// Runs closed as failed.
    pub closed: u64,
}

impl Job for CloseRuns {
    const KIND: &'static str = "youtube.close_runs";
    const POLICY: Policy = Policy::on("housekeeping").cron("* * * * *").max_attempts(3);
    type State = Youtube;
    type Report = RunsClosed;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, state: &Youtube, ctx: &Context) -> Result<Done<RunsClosed>, Stop> {
        let mut report = RunsClosed { closed: 0 };
        loop {
            ctx.check()?;
            let mut tx = state.pool.begin().await?;
            let orphans = runs::close_orphans(&mut tx, SyncChannel::KIND).await.map_err(Error::from)?;
            if orphans.is_empty() {
                return Ok(report.into());
            }
            for orphan in &orphans {
                if let Some(Subject::Youtube(connection)) = orphan.subject {
                    record_failed(&mut tx, orphan.run, connection).await?;
                }
            }
            tx.commit().await?;
            report.closed += orphans.len() as u64;
        }
    }
}

/// Every run of a user's account leaves an event, also one that failed.
async fn record_failed(
    conn: &mut PgConnection,
    run: greenroom_model::SyncRunId,
    connection: greenroom_model::ConnectionId,
) -> Result<(), Error> {
    let Some(connection) = youtube::find(conn, connection).await? else { return Ok(()) };
    let details = Details {
        description: "Sync of a YouTube channel that did not end".to_owned(),
        resource: Some(greenroom_credits::Resource {
            kind: "youtube_connections".to_owned(),
            id: connection.id.to_string(),
        }),
        ..Details::default()
    };
    let (key, free) = (Key::of_run(run), Cost::default());
    let action = ActionType::YoutubeSync;
    greenroom_credits::record_free(conn, connection.user_id, &key, action, &free, Free::Failed, &details)
        .await?;
    Ok(())
}
