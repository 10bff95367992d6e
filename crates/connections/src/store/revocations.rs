//! `greenroom.token_revocations`: tokens of connections that ended, until their provider has taken them back.

use greenroom_model::{ConnectionId, Platform};
use sqlx::PgConnection;
use uuid::Uuid;

use super::tokens::Cleared;
use crate::which::{Kind, Which};

/// Tokens to be revoked, sealed.
pub(crate) struct Revocation {
    pub(crate) which: Which,
    pub(crate) platform: Platform,
    pub(crate) tokens: Cleared,
}

/// Sets a connection's tokens aside; nothing where it had none.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    which: Which,
    platform: Platform,
    tokens: &Cleared,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "insert into greenroom.token_revocations (connection_kind, connection_id, platform, access_token, refresh_token)
         select $1, $2, $3, $4::text, $5::text where num_nonnulls($4, $5) > 0
         returning id",
        which.kind.as_str(),
        which.id.0,
        platform.as_str(),
        tokens.access_token,
        tokens.refresh_token,
    )
    .fetch_optional(conn)
    .await
}

/// Reads one; nothing once it is revoked.
pub(crate) async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Revocation>> {
    let row = sqlx::query!(
        r#"select connection_kind, connection_id as "connection_id: ConnectionId", platform, access_token, refresh_token
             from greenroom.token_revocations where id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == row.connection_kind).unwrap_or_default();
    let platform = row.platform.parse().map_err(|unknown| sqlx::Error::Decode(Box::from(unknown)))?;
    Ok(Some(Revocation {
        which: Which { kind, id: row.connection_id },
        platform,
        tokens: Cleared { access_token: row.access_token, refresh_token: row.refresh_token },
    }))
}

/// Removes one that is revoked, or cannot be.
pub(crate) async fn remove(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from greenroom.token_revocations where id = $1", id).execute(conn).await?;
    Ok(())
}

/// Removes a batch of those that nobody could revoke for a week; returns how many.
pub(crate) async fn remove_old(conn: &mut PgConnection, batch: i64) -> sqlx::Result<u64> {
    let removed = sqlx::query!(
        "delete from greenroom.token_revocations where id in (
             select id from greenroom.token_revocations
              where created_at < greenroom.now() - interval '7 days' order by created_at limit $1)",
        batch,
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}
