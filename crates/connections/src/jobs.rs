//! The jobs of this slice, one a file.

pub(crate) mod clean;
pub(crate) mod purge;
pub(crate) mod reencrypt;
pub(crate) mod refresh_token;
pub(crate) mod revoke;
pub(crate) mod sweep_refreshes;

use std::sync::Arc;

use greenroom_queue::{EnqueueError, Enqueued, Jobs, NewJob, enqueue};
use greenroom_vault::Vault;
use sqlx::{PgConnection, PgPool};

use crate::{Settings, Summary, Tokens};

/// What the jobs of this slice work with.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Where the connections are.
    pub pool: PgPool,
    /// By which their tokens are opened and sealed.
    pub vault: Vault,
    /// Fresh tokens.
    pub tokens: Tokens,
    /// How.
    pub settings: Settings,
}

/// Lists the jobs of this slice; without a state they are only declared.
pub fn jobs(connections: Option<&Arc<Connections>>) -> Jobs {
    Jobs::new()
        .with::<refresh_token::RefreshToken>(connections)
        .with::<sweep_refreshes::SweepRefreshes>(connections)
        .with::<reencrypt::Reencrypt>(connections)
        .with::<clean::Clean>(connections)
        .with::<revoke::Revoke>(connections)
        .with::<purge::Purge>(connections)
        .pool(refresh_token::GOOGLE)
        .pool(refresh_token::INSTAGRAM)
        .pool(refresh_token::TWITTER)
}

/// Enqueues a refresh that a person asked for; returns the open one if there is one.
pub async fn request_refresh(
    conn: &mut PgConnection,
    connection: &Summary,
) -> Result<Enqueued, EnqueueError> {
    let job = refresh_token::RefreshToken::of(connection.which(), connection.known_platform());
    // What a person waits for goes before what a schedule brought.
    let mut job = NewJob::of(&job)?.priority(3);
    if let Some(user) = connection.user_id {
        job = job.for_user(user);
    }
    let mut answers = enqueue(conn, &[job]).await?;
    answers.pop().ok_or(EnqueueError::Database(sqlx::Error::RowNotFound))
}

#[cfg(test)]
mod flood;
#[cfg(test)]
mod tests;
