//! The lease under which one process at a time asks for a connection's new tokens, and what it writes at its end.
//!
//! A lease is a row's column and not an open transaction: nothing is held in the database while a provider thinks.
//! Whoever writes names the lease and the version that he saw, so that one who comes late writes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::ConnectionId;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::{Status, Stored};

/// How long a lease lasts: a call of 30 s, and a minute of trying to store its answer, with time to spare.
const LEASE: PgInterval = PgInterval { months: 0, days: 0, microseconds: 120_000_000 };

/// A connection's tokens under a lease.
pub(crate) struct Leased {
    pub(crate) stored: Stored,
    /// Since when its refresh token is suspected to be revoked.
    pub(crate) suspected_at: Option<DateTime<Utc>>,
    /// Failures in a row.
    pub(crate) failures: i32,
    /// The database's time.
    pub(crate) now: DateTime<Utc>,
}

/// Takes the lease; nothing if somebody has it, or the connection is gone or disconnected.
pub(crate) async fn acquire(
    conn: &mut PgConnection,
    id: ConnectionId,
    owner: Uuid,
) -> sqlx::Result<Option<Leased>> {
    let row = sqlx::query!(
        r#"update youtube_connections
              set refresh_lease_owner = $2, refresh_lease_until = greenroom.now() + $3
            where id = $1 and connection_status <> 'disconnected'
              and (refresh_lease_until is null or refresh_lease_until < greenroom.now())
        returning connection_status as "status: Status", connection_error, access_token, refresh_token,
                  token_expires_at, last_token_refresh_at, token_version, refresh_failures,
                  case when refresh_error_kind = 'invalid_grant' then refresh_failed_at end as suspected_at,
                  greenroom.now() as "now!""#,
        id.0,
        owner,
        LEASE,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Leased {
        stored: Stored {
            status: row.status,
            error: row.connection_error,
            access_token: row.access_token.map(Into::into),
            refresh_token: row.refresh_token.map(Into::into),
            expires_at: row.token_expires_at,
            refreshed_at: row.last_token_refresh_at,
            version: row.token_version,
        },
        suspected_at: row.suspected_at,
        failures: row.refresh_failures,
        now: row.now,
    }))
}

/// Gives the lease back and changes nothing else.
pub(crate) async fn release(conn: &mut PgConnection, id: ConnectionId, owner: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update youtube_connections set refresh_lease_owner = null, refresh_lease_until = null
          where id = $1 and refresh_lease_owner = $2",
        id.0,
        owner,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// New tokens, sealed.
pub(crate) struct Refreshed {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) next_refresh_at: Option<DateTime<Utc>>,
}

/// Stores new tokens and ends the lease, in one statement; false where the lease is no longer this one or the
/// tokens are not those that were seen, and then nothing is stored.
pub(crate) async fn store(
    conn: &mut PgConnection,
    id: ConnectionId,
    owner: Uuid,
    seen_version: i64,
    new: &Refreshed,
) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        "update youtube_connections
            -- An answer without a refresh token leaves the old one: it is not rotated.
            set access_token = $4, refresh_token = coalesce($5, refresh_token), token_expires_at = $6,
                last_token_refresh_at = greenroom.now(), next_token_refresh_at = $7,
                connection_status = 'active', connection_error = null, token_version = token_version + 1,
                refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
          where id = $1 and refresh_lease_owner = $2 and token_version = $3
            and connection_status <> 'disconnected'",
        id.0,
        owner,
        seen_version,
        new.access_token,
        new.refresh_token,
        new.expires_at,
        new.next_refresh_at,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// What a refresh failed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The provider was away, or made no sense.
    Transient,
    /// Our client is at fault, and no connection.
    Configuration,
    /// The refresh token was refused, for the first time.
    Suspected,
}

impl Fault {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Configuration => "configuration",
            Self::Suspected => "invalid_grant",
        }
    }
}

/// Notes a failure, when to try again, and ends the lease. A connection whose token ended a day ago is in error then,
/// and still tried.
pub(crate) async fn fail(
    conn: &mut PgConnection,
    id: ConnectionId,
    owner: Uuid,
    fault: Fault,
    again_in: TimeDelta,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update youtube_connections
            set refresh_failures = refresh_failures + 1, refresh_failed_at = greenroom.now(), refresh_error_kind = $3,
                next_token_refresh_at = greenroom.now() + make_interval(secs => $4),
                connection_status = case when gone.by then 'error' else connection_status end,
                connection_error = case when gone.by then 'refresh_unavailable' else connection_error end,
                refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
           from (select id, $3 = 'transient' and connection_status = 'active'
                        and token_expires_at < greenroom.now() - interval '24 h' as by
                   from youtube_connections where id = $1) gone
          where youtube_connections.id = $1 and refresh_lease_owner = $2",
        id.0,
        owner,
        fault.as_str(),
        again_in.as_seconds_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks a connection that only its owner can bring back, and ends the lease; true where it was not marked before.
/// The tokens stay, for support and for whoever errs about their end.
pub(crate) async fn needs_owner(
    conn: &mut PgConnection,
    id: ConnectionId,
    owner: Uuid,
    seen_version: i64,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        "update youtube_connections
            set connection_status = 'error', connection_error = 'reauth_required', next_token_refresh_at = null,
                refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
          where id = $1 and refresh_lease_owner = $2 and token_version = $3 and connection_status <> 'disconnected'",
        id.0,
        owner,
        seen_version,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// How refreshes have gone in the last ten minutes.
pub(crate) struct Recent {
    /// Connections whose refresh token was refused.
    pub(crate) refused: i64,
    /// Connections that were refreshed.
    pub(crate) refreshed: i64,
}

/// Counts what the last ten minutes brought, to tell a revocation from a storm that is our own fault.
pub(crate) async fn recent(conn: &mut PgConnection) -> sqlx::Result<Recent> {
    sqlx::query_as!(
        Recent,
        r#"select (select count(*) from youtube_connections
                    where refresh_error_kind = 'invalid_grant'
                      and refresh_failed_at > greenroom.now() - interval '10 min') as "refused!",
                  (select count(*) from youtube_connections
                    where last_token_refresh_at > greenroom.now() - interval '10 min') as "refreshed!""#
    )
    .fetch_one(conn)
    .await
}

/// Returns connections whose refresh is due though nobody asks, the longest due first.
///
/// An access token of an hour is refreshed ahead only for work that waits; what failed is tried again when its time
/// has come, and every refresh token is used once in thirty days, long before it ends unused.
pub(crate) async fn due(
    conn: &mut PgConnection,
    after: Option<ConnectionId>,
    limit: i64,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"select c.id as "id: ConnectionId", c.user_id as "user_id: greenroom_model::UserId"
             from youtube_connections c
            where (c.connection_status = 'active'
                   or (c.connection_status = 'error' and c.connection_error = 'refresh_unavailable'))
              and c.refresh_token is not null
              and ($1::uuid is null or c.id > $1)
              and (c.last_token_refresh_at < greenroom.now() - interval '30 days'
                   or (c.next_token_refresh_at <= greenroom.now()
                       and (c.refresh_failures > 0
                            or exists (select from background_jobs b
                                        where b.lane = greenroom.lane_id('youtube', 'youtube', 'connection_id:' || c.id)
                                          and b.status = 'pending' and b.rank is not null))))
            order by c.id limit $2"#,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await
}

/// A connection whose refresh is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) id: ConnectionId,
    pub(crate) user_id: greenroom_model::UserId,
}
