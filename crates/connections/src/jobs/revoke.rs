//! `connections.revoke`: asks a provider to take back the tokens of a connection that ended.
//!
//! The connection is over whatever comes of this. Run twice, the provider says that the token is gone already, which
//! is as good. Never run, the tokens end by themselves, and the sealed copies go after a week.

use greenroom_http::Class;
use greenroom_model::Platform;
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use greenroom_vault::{Secret, Stored};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Connections;
use super::refresh_token::{POOLS, pool_of};
use crate::client::google;
use crate::store::revocations::{self, Revocation};
use crate::which::Column;

/// Asks a provider to take tokens back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Revoke {
    /// A row of `greenroom.token_revocations`.
    pub revocation_id: Uuid,
    /// Whose pool it draws on; it follows from the row.
    #[serde(skip)]
    pub platform: Option<Platform>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokensRevoked {
    /// Tokens that the provider has taken back, or that had ended.
    pub revoked: u8,
}

impl Job for Revoke {
    const KIND: &'static str = "connections.revoke";
    const POLICY: Policy = Policy::on("tokens").pool(google::POOL).pools(POOLS).max_attempts(3);
    type State = Connections;
    type Report = TokensRevoked;

    fn key(&self) -> Option<String> {
        Some(self.revocation_id.to_string())
    }

    fn pool(&self) -> &'static str {
        pool_of(self.platform)
    }

    async fn run(self, connections: &Connections, ctx: &Context) -> Result<Done<TokensRevoked>, Stop> {
        let mut conn = connections.pool.acquire().await?;
        let Some(found) = revocations::find(&mut conn, self.revocation_id).await? else {
            return Ok(TokensRevoked { revoked: 0 }.into());
        };
        drop(conn);
        let mut revoked = 0;
        if let Some(token) = open(connections, &found) {
            match connections.tokens.revoke(found.platform, &token).await {
                Ok(()) => revoked = 1,
                // Best effort: what is refused for good is not asked again.
                Err(error) if error.class() == Class::Retry && !ctx.is_last_attempt() => {
                    return Err(Stop::retry(error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(connection.id = %found.which.id, "tokens of {} were not revoked: {error}", found.which);
                }
            }
        }
        revocations::remove(&mut *connections.pool.acquire().await?, self.revocation_id).await?;
        Ok(TokensRevoked { revoked }.into())
    }
}

/// Opens the token whose end is the end of all: the refresh token, where there is one.
fn open(connections: &Connections, found: &Revocation) -> Option<Secret> {
    let columns =
        [(Column::Refresh, &found.tokens.refresh_token), (Column::Access, &found.tokens.access_token)];
    columns.into_iter().find_map(|(column, stored)| {
        match connections.vault.classify_for(&found.which.place(column), stored.as_deref()) {
            Stored::Encrypted(token) | Stored::LegacyPlaintext(token) => Some(token),
            Stored::Absent | Stored::Undecryptable(_) => None,
        }
    })
}
