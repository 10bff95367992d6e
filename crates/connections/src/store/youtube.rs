//! `youtube_connections`: connected channels, and their sealed tokens.

use chrono::{DateTime, Utc};
use greenroom_model::{ConnectionId, UserId};
use greenroom_vault::{Secret, Vault};
use sqlx::{Connection as _, PgConnection};

use crate::error::ConnectError;
use crate::which::{Column, Which};

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    /// Its tokens serve.
    Active,
    /// Its owner has ended it.
    Disconnected,
    /// Something has to be done before it serves again; `error` says what.
    Error,
}

/// A connected channel, without its tokens.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// YouTube's id of the channel.
    pub channel_id: String,
    /// The channel's name, once known.
    pub channel_name: Option<String>,
    /// How it stands.
    pub status: Status,
    /// Why it does not serve.
    pub error: Option<String>,
    /// When a sync last ended well.
    pub last_synced_at: Option<DateTime<Utc>>,
}

/// What a consent gives.
#[derive(Debug)]
pub struct NewConnection {
    /// Who gave it.
    pub user: UserId,
    /// YouTube's id of the channel.
    pub channel_id: String,
    /// The channel's name, if it was asked for.
    pub channel_name: Option<String>,
    /// The access token.
    pub access_token: Secret,
    /// The refresh token; a repeated consent may leave it out.
    pub refresh_token: Option<Secret>,
    /// When the access token ends.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Connects a channel, or heals the connection that the same owner had.
///
/// Everything that hangs on the old row (videos, comments, cursors) is kept by healing it. A channel that
/// somebody else has connected is refused, whoever asks first: the unique index decides.
pub async fn connect(
    conn: &mut PgConnection,
    vault: &Vault,
    new: NewConnection,
) -> Result<ConnectionId, ConnectError> {
    // A refusal by the index would end the caller's transaction, were it not for a savepoint.
    let mut tx = conn.begin().await?;
    let known = sqlx::query_scalar!(
        r#"select id as "id: ConnectionId" from youtube_connections
            where user_id = $1 and channel_id = $2
            order by connection_status = 'disconnected', created_at desc
            limit 1 for update"#,
        new.user.0,
        new.channel_id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let id = known.unwrap_or_else(ConnectionId::new);
    let which = Which::youtube(id);
    let access_token = vault.seal_for(&which.place(Column::Access), &new.access_token);
    let refresh_token =
        new.refresh_token.as_ref().map(|token| vault.seal_for(&which.place(Column::Refresh), token));
    let healed = sqlx::query_scalar!(
        r#"update youtube_connections
              set channel_name = coalesce($2, channel_name), access_token = $3,
                  refresh_token = coalesce($4, refresh_token), token_expires_at = $5,
                  connection_status = 'active', connection_error = null,
                  token_version = token_version + 1, last_token_refresh_at = greenroom.now(),
                  next_token_refresh_at = null, refresh_failures = 0, refresh_failed_at = null,
                  refresh_error_kind = null, refresh_lease_owner = null, refresh_lease_until = null,
                  disconnected_at = null, updated_at = greenroom.now()
            where id = $1
              -- A disconnected row has no refresh token left to fall back on.
              and coalesce($4, refresh_token) is not null
        returning id as "id: ConnectionId""#,
        id.0,
        new.channel_name,
        access_token,
        refresh_token,
        new.expires_at,
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(taken)?;
    let id = match healed {
        Some(id) => id,
        None if refresh_token.is_none() => return Err(ConnectError::NoRefreshToken),
        None => sqlx::query_scalar!(
            r#"insert into youtube_connections (id, user_id, channel_id, channel_name, access_token,
                                                refresh_token, token_expires_at, last_token_refresh_at)
               values ($1, $2, $3, $4, $5, $6, $7, greenroom.now())
               returning id as "id: ConnectionId""#,
            id.0,
            new.user.0,
            new.channel_id,
            new.channel_name,
            access_token,
            refresh_token,
            new.expires_at,
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(taken)?,
    };
    tx.commit().await?;
    Ok(id)
}

pub(super) fn taken(error: sqlx::Error) -> ConnectError {
    match &error {
        sqlx::Error::Database(refused) if refused.is_unique_violation() => ConnectError::AlreadyConnected,
        _ => ConnectError::Database(error),
    }
}

/// Returns a connection, whatever its status.
pub async fn find(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<Option<Connection>> {
    sqlx::query_as!(
        Connection,
        r#"select id as "id: ConnectionId", user_id as "user_id: UserId", channel_id, channel_name,
                  connection_status as "status: Status", connection_error as "error", last_synced_at
             from youtube_connections where id = $1"#,
        id.0,
    )
    .fetch_optional(conn)
    .await
}

/// A connection whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When a sync last ended well.
    pub last_synced_at: Option<DateTime<Utc>>,
}

/// Returns active connections that were last synced before `synced_before`, the never synced first; `after`
/// is the last one of the page before.
///
/// One whose sync has failed since then waits as long: what fails for good would otherwise fail anew at
/// every look.
pub async fn due_for_sync(
    conn: &mut PgConnection,
    synced_before: DateTime<Utc>,
    after: Option<Due>,
    limit: u32,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"select id as "id: ConnectionId", user_id as "user_id: UserId", last_synced_at
             from youtube_connections c
            where connection_status = 'active'
              and (last_synced_at is null or last_synced_at < $1)
              and not exists (select from sync_logs l
                               where l.channel_id = c.id and l.started_at >= $1 and l.status = 'failed')
              and ($2::uuid is null
                   -- NULL sorts first, so the pages of the never synced come before all others.
                   or ($3::timestamptz is null and (last_synced_at is not null or id > $2))
                   or (last_synced_at, id) > ($3, $2))
            order by last_synced_at nulls first, id
            limit $4"#,
        synced_before,
        after.map(|due| due.id.0),
        after.and_then(|due| due.last_synced_at),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// Removes one connection that ended so many days ago, or whose owner took his consent back and did not return within
/// thirty, with everything that hangs on it; false when there is none.
pub(crate) async fn purge_one(conn: &mut PgConnection, days: i32) -> sqlx::Result<bool> {
    let purged = sqlx::query!(
        "delete from youtube_connections
          where id = (select id from youtube_connections
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

#[cfg(test)]
mod tests;
