//! `comments.read_again`: asks for another reading of stored comments by the reader of this build, over a range.
//!
//! After a new version of the weights, `greenroom jobs enqueue comments.read_again` and be done. It only marks rows, and
//! `comments.enrich` reads them; what was read before stands until then. What a person has corrected stays, and what this
//! reader has read already is passed over, so that running it twice costs a look.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_model::{CommentId, ConnectionId, Platform};
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use crate::store::ranked::By;
use crate::store::{ranked, unranked};
use crate::{CommentsError, Enrichment};

const TIMEOUT: Duration = Duration::from_hours(6);
const PAGE: i64 = 1_000;

/// Marks comments to be read again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadAgain {
    /// Of this connection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// Published at this instant or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Published at this instant or earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// How far it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadingsAsked {
    /// Comments that will be read again.
    pub asked: u64,
    /// Connections gone through.
    pub connections: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Position {
    connection: Option<ConnectionId>,
    comment: Option<(DateTime<Utc>, CommentId)>,
    report: ReadingsAsked,
}

impl Job for ReadAgain {
    const KIND: &'static str = "comments.read_again";
    const POLICY: Policy = Policy::on("enrichment").max_attempts(5).timeout(TIMEOUT);
    type State = Enrichment;
    type Report = ReadingsAsked;

    fn key(&self) -> Option<String> {
        Some(self.connection_id.map_or_else(|| "all".to_owned(), |id| id.to_string()))
    }

    async fn run(self, enrichment: &Enrichment, ctx: &Context) -> Result<Done<ReadingsAsked>, Stop> {
        let mut position = ctx.checkpoint::<Position>()?.unwrap_or_default();
        let by = enrichment.by()?;
        loop {
            // Given back before the next one is asked for: who holds one and waits for another may wait for ever.
            let mut conn = enrichment.pool.acquire().await?;
            let next = unranked::connection_at(&mut conn, self.connection_id, position.connection).await?;
            drop(conn);
            let Some((platform, connection)) = next else { break };
            self.one(enrichment, ctx, &by, platform, connection, &mut position).await?;
        }
        Ok(position.report.into())
    }
}

impl ReadAgain {
    /// Goes through one connection, a transaction a page.
    async fn one(
        &self,
        enrichment: &Enrichment,
        ctx: &Context,
        by: &By,
        platform: Platform,
        connection: ConnectionId,
        position: &mut Position,
    ) -> Result<(), Stop> {
        let range = ranked::Range { since: self.since, until: self.until };
        loop {
            ctx.check()?;
            let mut tx = enrichment.pool.begin().await.map_err(CommentsError::from)?;
            let asked = ranked::ask_again(&mut tx, platform, connection, by, range, position.comment, PAGE);
            let (asked, last) = asked.await?;
            position.report.asked += asked;
            position.comment = last;
            if last.is_none() {
                position.report.connections += 1;
                position.connection = Some(connection);
            }
            ctx.save_checkpoint_and_progress(&mut tx, &*position, &position.report).await?;
            tx.commit().await?;
            if last.is_none() {
                return Ok(());
            }
        }
    }
}
