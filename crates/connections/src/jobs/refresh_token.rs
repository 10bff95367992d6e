//! `connections.refresh_token`: fetches new tokens for one connection ahead of need, and logs the run.
//!
//! Run twice, the second finds the lease or a token that is fresh. Killed between the answer and the row, the lease
//! runs out and the next one asks with the old refresh token, which all but those who rotate still take. Never run,
//! whoever needs a token fetches it.

use std::time::Duration;

use greenroom_credits::{ActionType, Cost, Details, Free, Key, Resource, record_free};
use greenroom_model::{ConnectionId, Platform};
use greenroom_queue::{Backoff, Class, Context, Done, Job, JobError as _, Policy, Pool, Stop};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::Connections;
use crate::client::{google, instagram, twitter};
use crate::error::RefreshError;
use crate::listing::{self, Summary};
use crate::which::{Kind, Which};

/// What a provider's token endpoint is asked at most, by jobs, in a minute. Operators set what theirs allows.
pub(crate) const GOOGLE: Pool = Pool::named(google::POOL).budget(600, "* * * * *", "UTC");
pub(crate) const INSTAGRAM: Pool = Pool::named(instagram::POOL).budget(600, "* * * * *", "UTC");
pub(crate) const TWITTER: Pool = Pool::named(twitter::POOL).budget(300, "* * * * *", "UTC");
/// The pools beside Google's.
pub(crate) const POOLS: &[&str] = &[instagram::POOL, twitter::POOL];

/// Returns the pool of a platform's provider.
pub(crate) fn pool_of(platform: Option<Platform>) -> &'static str {
    match platform {
        Some(Platform::Instagram) => instagram::POOL,
        Some(Platform::Twitter) => twitter::POOL,
        _ => google::POOL,
    }
}

/// Fetches new tokens for one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefreshToken {
    pub connection_kind: Kind,
    pub connection_id: ConnectionId,
    /// Whose pool it draws on; it follows from the connection, and is no part of what a client has to write.
    #[serde(skip)]
    pub platform: Option<Platform>,
}

impl RefreshToken {
    pub(crate) fn of(which: Which, platform: Platform) -> Self {
        Self { connection_kind: which.kind, connection_id: which.id, platform: Some(platform) }
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
        .pool(google::POOL)
        .pools(POOLS)
        .max_attempts(8)
        .timeout(Duration::from_mins(3))
        .backoff(Backoff::new(Duration::from_mins(1), Duration::from_hours(1)));
    type State = Connections;
    type Report = TokenRefreshed;

    fn key(&self) -> Option<String> {
        Some(self.connection_id.to_string())
    }

    fn pool(&self) -> &'static str {
        pool_of(self.platform)
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<TokenRefreshed>, Stop> {
        let mut conn = connections.pool.acquire().await?;
        let Some(connection) = listing::find(&mut conn, self.connection_id).await? else {
            return Err(Stop::cancel("there is no such connection any more"));
        };
        let subject = match self.connection_kind {
            Kind::Youtube => Subject::Youtube(connection.id),
            Kind::Instagram => Subject::Instagram(connection.id),
            Kind::Platform => Subject::Many,
        };
        let run = runs::open(&mut conn, ctx.id(), Self::KIND, subject).await;
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
    connection: &Summary,
    run: &Run,
) -> Result<Done<TokenRefreshed>, RefreshError> {
    let which = connection.which();
    // An attempt that stored a token and died before it could say so has left nothing to ask for.
    let replaces = if let Some(version) = ctx.checkpoint()? {
        version
    } else {
        let version = connections.tokens.version(which).await?;
        ctx.save_checkpoint(&mut *connections.pool.acquire().await?, &version).await?;
        version
    };
    let token = connections.tokens.renew(which, replaces).await?;
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
    connection: &Summary,
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
    connection: &Summary,
    run: &Run,
    why: Free,
) -> Result<(), RefreshError> {
    // One for a location is nobody's in person.
    let Some(user) = connection.user_id else { return Ok(()) };
    let table = connection.which().kind.table();
    let details = Details {
        description: format!("Refresh of the token of a connection to {}", connection.platform),
        resource: Some(Resource { kind: table.to_owned(), id: connection.id.to_string() }),
        ..Details::default()
    };
    let (key, free, action) = (Key::of_run(run.id), Cost::default(), ActionType::ExternalApiCall);
    record_free(conn, user, &key, action, &free, why, &details).await?;
    Ok(())
}
