//! `connections.refresh_token`: fetches new tokens for one connection ahead of need, and logs the run.
//!
//! Run twice, the second finds the lease or a token that is fresh. Killed between the answer and the row, the lease
//! runs out and the next one asks with the old refresh token, which Google still takes. Never run, whoever needs a
//! token fetches it.

use std::time::Duration;

use greenroom_credits::{ActionType, Cost, Details, Free, Key, Resource, record_free};
use greenroom_model::ConnectionId;
use greenroom_queue::{Backoff, Class, Context, Done, Job, JobError as _, Policy, Pool, Stop};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::Connections;
use crate::error::RefreshError;
use crate::store::youtube::{self, Connection};

/// What Google's token endpoint is asked at most, by jobs, in a minute. Operators set what theirs allows.
pub(crate) const POOL: Pool = Pool::named("oauth.google").budget(600, "* * * * *", "UTC");

/// Which table a connection is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConnectionKind {
    /// A row of `youtube_connections`.
    #[default]
    Youtube,
}

/// Fetches new tokens for one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefreshToken {
    pub connection_kind: ConnectionKind,
    pub connection_id: ConnectionId,
}

impl RefreshToken {
    pub(crate) fn of(connection_id: ConnectionId) -> Self {
        Self { connection_kind: ConnectionKind::Youtube, connection_id }
    }
}

/// What a refresh tells; nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRefreshed {
    /// Which of the connection's tokens it is.
    pub token_version: i64,
}

impl Job for RefreshToken {
    const KIND: &'static str = "connections.refresh_token";
    const POLICY: Policy = Policy::on("tokens")
        .pool(POOL.name)
        .max_attempts(8)
        .timeout(Duration::from_mins(3))
        .backoff(Backoff::new(Duration::from_mins(1), Duration::from_hours(1)));
    type State = Connections;
    type Report = TokenRefreshed;

    fn key(&self) -> Option<String> {
        Some(self.connection_id.to_string())
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<TokenRefreshed>, Stop> {
        let mut conn = connections.pool.acquire().await?;
        let Some(connection) = youtube::find(&mut conn, self.connection_id).await? else {
            return Err(Stop::cancel("there is no such connection any more"));
        };
        let run = runs::open(&mut conn, ctx.id(), Self::KIND, Subject::Youtube(connection.id)).await;
        let run = run.map_err(RefreshError::from)?;
        drop(conn);
        ctx.spend(1).await?;
        match refresh(connections, ctx, &connection, &run).await {
            Ok(done) => Ok(done),
            Err(error) => {
                let is_end = match error.class() {
                    Class::Cancel => true,
                    Class::Retry | Class::RetryAfter(_) => ctx.is_last_attempt(),
                    _ => false,
                };
                if is_end {
                    close(connections, ctx, &connection, &run, &error.to_string()).await?;
                }
                Err(error.into())
            }
        }
    }
}

async fn refresh(
    connections: &Connections,
    ctx: &Context,
    connection: &Connection,
    run: &Run,
) -> Result<Done<TokenRefreshed>, RefreshError> {
    let token = connections.tokens.refresh(connection.id).await?;
    let mut tx = connections.pool.begin().await?;
    ctx.fence(&mut tx).await?;
    runs::succeed(&mut tx, run.id, Counts::default()).await?;
    record(&mut tx, connection, run, Free::Scheduled).await?;
    let done = ctx.complete(&mut tx, TokenRefreshed { token_version: token.version }).await?;
    tx.commit().await?;
    Ok(done)
}

async fn close(
    connections: &Connections,
    ctx: &Context,
    connection: &Connection,
    run: &Run,
    error: &str,
) -> Result<(), RefreshError> {
    let mut tx = connections.pool.begin().await?;
    ctx.fence(&mut tx).await?;
    if runs::fail(&mut tx, run.id, error).await? {
        record(&mut tx, connection, run, Free::Failed).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Leaves the event that every run of a user's account leaves.
async fn record(
    conn: &mut PgConnection,
    connection: &Connection,
    run: &Run,
    why: Free,
) -> Result<(), RefreshError> {
    let details = Details {
        description: "Refresh of a YouTube connection's token".to_owned(),
        resource: Some(Resource { kind: "youtube_connections".to_owned(), id: connection.id.to_string() }),
        ..Details::default()
    };
    let (key, free, action) = (Key::of_run(run.id), Cost::default(), ActionType::ExternalApiCall);
    record_free(conn, connection.user_id, &key, action, &free, why, &details).await?;
    Ok(())
}
