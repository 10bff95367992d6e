//! `instagram_connections`: connected professional accounts, and their sealed tokens.

use chrono::{DateTime, Utc};
use greenroom_model::{ConnectionId, UserId};
use greenroom_vault::{Secret, Vault};
use sqlx::{Connection as _, PgConnection};

use super::youtube::taken;
use crate::error::ConnectError;
use crate::which::{Column, Kind, Which};

/// What a consent gives.
#[derive(Debug)]
pub struct NewConnection {
    /// Who gave it.
    pub user: UserId,
    /// Instagram's id of the account.
    pub instagram_user_id: String,
    /// The account's name.
    pub username: Option<String>,
    /// `BUSINESS` or `MEDIA_CREATOR`, as Instagram says.
    pub account_type: Option<String>,
    /// The long-lived token.
    pub access_token: Secret,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it is refreshed.
    pub next_refresh_at: Option<DateTime<Utc>>,
}

/// Connects an account, or heals the connection that the same owner had; somebody else's is refused.
pub async fn connect(
    conn: &mut PgConnection,
    vault: &Vault,
    new: NewConnection,
) -> Result<ConnectionId, ConnectError> {
    // A refusal by the index would end the caller's transaction, were it not for a savepoint.
    let mut tx = conn.begin().await?;
    let known = sqlx::query_scalar!(
        r#"select id as "id: ConnectionId" from instagram_connections
            where user_id = $1 and instagram_user_id = $2
            order by connection_status = 'disconnected', created_at desc
            limit 1 for update"#,
        new.user.0,
        new.instagram_user_id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let id = known.unwrap_or_else(ConnectionId::new);
    let which = Which { kind: Kind::Instagram, id };
    let access_token = vault.seal_for(&which.place(Column::Access), &new.access_token);
    sqlx::query!(
        "insert into instagram_connections as c (id, user_id, instagram_user_id, username, account_type, access_token,
                                                 token_expires_at, next_token_refresh_at, last_token_refresh_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, greenroom.now())
         on conflict (id) do update
            set username = coalesce(excluded.username, c.username),
                account_type = coalesce(excluded.account_type, c.account_type),
                access_token = excluded.access_token, token_expires_at = excluded.token_expires_at,
                next_token_refresh_at = excluded.next_token_refresh_at,
                last_token_refresh_at = excluded.last_token_refresh_at,
                connection_status = 'active', connection_error = null, token_version = c.token_version + 1,
                refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                refresh_lease_owner = null, refresh_lease_until = null, disconnected_at = null,
                updated_at = greenroom.now()",
        id.0,
        new.user.0,
        new.instagram_user_id,
        new.username,
        new.account_type,
        access_token,
        new.expires_at,
        new.next_refresh_at,
    )
    .execute(&mut *tx)
    .await
    .map_err(taken)?;
    tx.commit().await?;
    Ok(id)
}

/// Removes one connection that ended so many days ago, or whose owner took his consent back and did not return within
/// thirty, with everything that hangs on it; false when there is none.
pub(crate) async fn purge_one(conn: &mut PgConnection, days: i32) -> sqlx::Result<bool> {
    let purged = sqlx::query!(
        "delete from instagram_connections
          where id = (select id from instagram_connections
                       where (connection_status = 'disconnected'
                              and disconnected_at < greenroom.now() - make_interval(days => $1))
                          or (connection_status = 'error' and connection_error = 'reauth_required'
                              and updated_at < greenroom.now() - make_interval(days => greatest($1, 30))
                              and coalesce(token_expires_at, created_at) < greenroom.now() - interval '30 days')
                       limit 1 for update skip locked)",
        days,
    )
    .execute(conn)
    .await?;
    Ok(purged.rows_affected() == 1)
}
