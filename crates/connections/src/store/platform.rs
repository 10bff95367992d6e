//! `platform_connections`: platforms connected for a location.
//!
//! Of YouTube and Instagram it says only that they are: their tokens live with their accounts.

use chrono::{DateTime, Utc};
use greenroom_model::{ConnectionId, LocationId, Platform};
use greenroom_vault::{Secret, Vault};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::error::ConnectError;
use crate::which::{Column, Kind, Which};

/// What a consent gives.
#[derive(Debug)]
pub(crate) struct NewConnection {
    /// For which location.
    pub(crate) location: LocationId,
    /// The platform.
    pub(crate) platform: Platform,
    /// What is known of the account, such as its name; nothing secret.
    pub(crate) account_info: Value,
    /// The access token.
    pub(crate) access_token: Secret,
    /// The refresh token.
    pub(crate) refresh_token: Option<Secret>,
    /// When the access token ends.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// Connects a platform that has no table of its own for a location, or heals the connection it had.
pub(crate) async fn connect(
    conn: &mut PgConnection,
    vault: &Vault,
    new: NewConnection,
) -> Result<ConnectionId, ConnectError> {
    let mut tx = conn.begin().await?;
    let id = row(&mut tx, new.location, new.platform, &new.account_info).await?;
    let which = Which { kind: Kind::Platform, id };
    let access_token = vault.seal_for(&which.place(Column::Access), &new.access_token);
    let refresh_token =
        new.refresh_token.as_ref().map(|token| vault.seal_for(&which.place(Column::Refresh), token));
    let stored = sqlx::query!(
        "update platform_connections
            set access_token = $2, refresh_token = coalesce($3, refresh_token), token_expires_at = $4,
                last_token_refresh_at = greenroom.now(), next_token_refresh_at = null,
                token_version = token_version + 1,
                refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                refresh_lease_owner = null, refresh_lease_until = null
          where id = $1 and coalesce($3, refresh_token) is not null",
        id.0,
        access_token,
        refresh_token,
        new.expires_at,
    )
    .execute(&mut *tx)
    .await?;
    if stored.rows_affected() == 0 {
        return Err(ConnectError::NoRefreshToken);
    }
    tx.commit().await?;
    Ok(id)
}

/// Notes that an account with a table of its own was connected for a location.
pub(crate) async fn note(
    conn: &mut PgConnection,
    location: LocationId,
    platform: Platform,
    account_info: &Value,
) -> Result<ConnectionId, ConnectError> {
    Ok(row(conn, location, platform, account_info).await?)
}

/// Notes that it was disconnected, wherever it was connected under this id.
pub(crate) async fn note_end(
    conn: &mut PgConnection,
    platform: Platform,
    account: ConnectionId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update platform_connections
            set connection_status = 'disconnected', disconnected_at = greenroom.now(), updated_at = greenroom.now()
          where platform = $1 and account_info ->> 'connection_id' = $2 and connection_status <> 'disconnected'",
        platform.as_str(),
        account.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn row(
    conn: &mut PgConnection,
    location: LocationId,
    platform: Platform,
    account_info: &Value,
) -> sqlx::Result<ConnectionId> {
    sqlx::query_scalar!(
        r#"insert into platform_connections as c (location_id, platform, connection_status, account_info)
           values ($1, $2, 'connected', $3)
           on conflict (location_id, platform) do update
              set connection_status = 'connected', connection_error = null, account_info = excluded.account_info,
                  is_active = true, oauth_state = null, disconnected_at = null, updated_at = greenroom.now()
           returning id as "id: ConnectionId""#,
        location.0,
        platform.as_str(),
        account_info,
    )
    .fetch_one(conn)
    .await
}
