//! The tokens of the three connection tables, and the lease under which one process at a time asks for new ones.
//!
//! A lease is a row's column and not an open transaction: nothing is held in the database while a provider thinks.
//! Whoever writes names the lease and the version that he saw, so that one who comes late writes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::{ConnectionId, Platform, UserId};
use greenroom_vault::Secret;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::youtube::Status;
use crate::which::{Kind, Which};

/// How long a lease lasts: a call of 30 s, and a minute of trying to store its answer, with time to spare.
const LEASE: PgInterval = PgInterval { months: 0, days: 0, microseconds: 120_000_000 };

/// The tokens of a row as they are stored; plain ones may be among them.
pub(crate) struct Stored {
    pub(crate) platform: Platform,
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) access_token: Option<Secret>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) refreshed_at: Option<DateTime<Utc>>,
    pub(crate) version: i64,
}

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

/// A row as it is read, before or under a lease.
struct Row {
    platform: String,
    status: Status,
    error: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    refreshed_at: Option<DateTime<Utc>>,
    version: i64,
    failures: i32,
    suspected_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl Row {
    fn leased(self) -> sqlx::Result<Leased> {
        let platform = self.platform.parse().map_err(|unknown| sqlx::Error::Decode(Box::from(unknown)))?;
        Ok(Leased {
            stored: Stored {
                platform,
                status: self.status,
                error: self.error,
                access_token: self.access_token.map(Into::into),
                refresh_token: self.refresh_token.map(Into::into),
                expires_at: self.expires_at,
                refreshed_at: self.refreshed_at,
                version: self.version,
            },
            suspected_at: self.suspected_at,
            failures: self.failures,
            now: self.now,
        })
    }
}

/// New tokens, sealed.
pub(crate) struct Refreshed {
    pub(crate) access_token: String,
    /// Nothing leaves the old one: it is not rotated.
    pub(crate) refresh_token: Option<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) next_refresh_at: Option<DateTime<Utc>>,
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

/// How refreshes have gone in the last ten minutes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    /// Connections whose refresh token was refused.
    pub(crate) refused: i64,
    /// Connections that were refreshed.
    pub(crate) refreshed: i64,
}

/// A connection whose refresh is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) id: ConnectionId,
    /// Whose it is; one for a location is nobody's in person.
    pub(crate) user_id: Option<UserId>,
    pub(crate) platform: Platform,
}

/// A row whose refresh is due, as it is read.
struct DueRow {
    id: ConnectionId,
    user_id: Option<UserId>,
    platform: String,
}

/// Generates the statements of a table; each is checked against its own.
macro_rules! tokens_of {
    (
        $module:ident, $table:literal, active: $active:literal, platform: $platform:literal,
        refresh_token: $refresh:literal, keeps: $keeps:literal, clears: $clears:literal, has_refresh_token: $has:literal,
        user: $user:literal, due: $due:literal
    ) => {
        mod $module {
            use super::*;

            pub(super) async fn read(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<Option<Row>> {
                sqlx::query_as!(
                    Row,
                    "select " + $platform + r#" as "platform!",
                            case connection_status when 'connected' then 'active' else connection_status end
                                as "status!: Status",
                            connection_error as error, access_token, "# + $refresh + r#" as refresh_token,
                            token_expires_at as expires_at, last_token_refresh_at as refreshed_at,
                            token_version as version, refresh_failures as failures,
                            case when refresh_error_kind = 'invalid_grant' then refresh_failed_at end as suspected_at,
                            greenroom.now() as "now!"
                       from "# + $table + " where id = $1",
                    id.0,
                )
                .fetch_optional(conn)
                .await
            }

            pub(super) async fn mark_undecryptable(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<bool> {
                let marked = sqlx::query!(
                    "update " + $table + "
                        set connection_status = 'error', connection_error = 'token_undecryptable',
                            updated_at = greenroom.now()
                      where id = $1 and connection_status = " + $active,
                    id.0,
                )
                .execute(conn)
                .await?;
                Ok(marked.rows_affected() == 1)
            }

            pub(super) async fn unmark_undecryptable(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<()> {
                sqlx::query!(
                    "update " + $table + " set connection_status = " + $active + ", connection_error = null,
                            updated_at = greenroom.now()
                      where id = $1 and connection_status = 'error' and connection_error = 'token_undecryptable'",
                    id.0,
                )
                .execute(conn)
                .await?;
                Ok(())
            }

            pub(super) async fn acquire(
                conn: &mut PgConnection,
                id: ConnectionId,
                owner: Uuid,
            ) -> sqlx::Result<Option<Row>> {
                sqlx::query_as!(
                    Row,
                    "update " + $table + r#"
                        set refresh_lease_owner = $2, refresh_lease_until = greenroom.now() + $3
                      where id = $1 and connection_status <> 'disconnected'
                        and (refresh_lease_until is null or refresh_lease_until < greenroom.now())
                    returning "# + $platform + r#" as "platform!",
                              case connection_status when 'connected' then 'active' else connection_status end
                                  as "status!: Status",
                              connection_error as error, access_token, "# + $refresh + r#" as refresh_token,
                              token_expires_at as expires_at, last_token_refresh_at as refreshed_at,
                              token_version as version, refresh_failures as failures,
                              case when refresh_error_kind = 'invalid_grant' then refresh_failed_at end as suspected_at,
                              greenroom.now() as "now!""#,
                    id.0,
                    owner,
                    LEASE,
                )
                .fetch_optional(conn)
                .await
            }

            pub(super) async fn release(conn: &mut PgConnection, id: ConnectionId, owner: Uuid) -> sqlx::Result<()> {
                sqlx::query!(
                    "update " + $table + " set refresh_lease_owner = null, refresh_lease_until = null
                      where id = $1 and refresh_lease_owner = $2",
                    id.0,
                    owner,
                )
                .execute(conn)
                .await?;
                Ok(())
            }

            pub(super) async fn store(
                conn: &mut PgConnection,
                id: ConnectionId,
                owner: Uuid,
                seen_version: i64,
                new: &Refreshed,
            ) -> sqlx::Result<bool> {
                let stored = sqlx::query!(
                    "update " + $table + "
                        set access_token = $4, " + $keeps + " token_expires_at = $6,
                            last_token_refresh_at = greenroom.now(), next_token_refresh_at = $7,
                            connection_status = " + $active + ", connection_error = null,
                            token_version = token_version + 1,
                            refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                            refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
                      where id = $1 and refresh_lease_owner = $2 and token_version = $3
                        and connection_status <> 'disconnected' and ($5::text is null or " + $has + ")",
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

            pub(super) async fn fail(
                conn: &mut PgConnection,
                id: ConnectionId,
                owner: Uuid,
                fault: Fault,
                again_in: TimeDelta,
            ) -> sqlx::Result<()> {
                sqlx::query!(
                    "update " + $table + " c
                        set refresh_failures = refresh_failures + 1, refresh_failed_at = greenroom.now(),
                            refresh_error_kind = $3,
                            next_token_refresh_at = greenroom.now() + make_interval(secs => $4),
                            connection_status = case when gone.by then 'error' else connection_status end,
                            connection_error = case when gone.by then 'refresh_unavailable' else connection_error end,
                            refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
                       from (select id, $3 = 'transient' and connection_status = " + $active + "
                                    and token_expires_at < greenroom.now() - interval '24 h' as by
                               from " + $table + " where id = $1) gone
                      where c.id = gone.id and refresh_lease_owner = $2",
                    id.0,
                    owner,
                    fault.as_str(),
                    again_in.as_seconds_f64(),
                )
                .execute(conn)
                .await?;
                Ok(())
            }

            pub(super) async fn needs_owner(
                conn: &mut PgConnection,
                id: ConnectionId,
                owner: Uuid,
                seen_version: i64,
            ) -> sqlx::Result<bool> {
                let marked = sqlx::query!(
                    "update " + $table + "
                        set connection_status = 'error', connection_error = 'reauth_required',
                            next_token_refresh_at = null,
                            refresh_lease_owner = null, refresh_lease_until = null, updated_at = greenroom.now()
                      where id = $1 and refresh_lease_owner = $2 and token_version = $3
                        and connection_status <> 'disconnected'",
                    id.0,
                    owner,
                    seen_version,
                )
                .execute(conn)
                .await?;
                Ok(marked.rows_affected() == 1)
            }

            pub(super) async fn recent(conn: &mut PgConnection, platform: &str) -> sqlx::Result<Recent> {
                sqlx::query_as!(
                    Recent,
                    "select (select count(*) from " + $table + r#"
                              where refresh_error_kind = 'invalid_grant' and "# + $platform + r#" = $1
                                and refresh_failed_at > greenroom.now() - interval '10 min') as "refused!",
                            (select count(*) from "# + $table + r#"
                              where last_token_refresh_at > greenroom.now() - interval '10 min'
                                and "# + $platform + r#" = $1) as "refreshed!""#,
                    platform,
                )
                .fetch_one(conn)
                .await
            }

            pub(super) async fn due(
                conn: &mut PgConnection,
                after: Option<Uuid>,
                limit: i64,
            ) -> sqlx::Result<Vec<DueRow>> {
                sqlx::query_as!(
                    DueRow,
                    r#"select c.id as "id: ConnectionId", "# + $user + r#" as "user_id: UserId",
                              "# + $platform + r#" as "platform!"
                         from "# + $table + " c
                        where (c.connection_status = " + $active + "
                               or (c.connection_status = 'error' and c.connection_error = 'refresh_unavailable'))
                          and ($1::uuid is null or c.id > $1)
                          and " + $due + "
                        order by c.id limit $2",
                    after,
                    limit,
                )
                .fetch_all(conn)
                .await
            }

            pub(super) async fn clear(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<Option<Cleared>> {
                sqlx::query_as!(
                    Cleared,
                    "update " + $table + r#" c
                        set connection_status = 'disconnected', connection_error = null, access_token = null,
                            "# + $clears + r#" token_expires_at = null, next_token_refresh_at = null,
                            token_version = c.token_version + 1,
                            refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                            refresh_lease_owner = null, refresh_lease_until = null,
                            disconnected_at = greenroom.now(), updated_at = greenroom.now()
                       from (select id, access_token, "# + $refresh + r#" as refresh_token
                               from "# + $table + r#" where id = $1 for update) before
                      where c.id = before.id and c.connection_status <> 'disconnected'
                    returning before.access_token, before.refresh_token"#,
                    id.0,
                )
                .fetch_optional(conn)
                .await
            }
        }
    };
}

tokens_of! {
    youtube, "youtube_connections", active: "'active'", platform: "'youtube'",
    refresh_token: "refresh_token", keeps: "refresh_token = coalesce($5, refresh_token),",
    clears: "refresh_token = null,", has_refresh_token: "true", user: "c.user_id",
    due: "c.refresh_token is not null
          and (c.last_token_refresh_at < greenroom.now() - interval '30 days'
               or (c.next_token_refresh_at <= greenroom.now()
                   and (c.refresh_failures > 0
                        or exists (select from background_jobs b
                                    where b.lane = greenroom.lane_id('youtube', 'youtube', 'connection_id:' || c.id)
                                      and b.status = 'pending' and b.rank is not null))))"
}

tokens_of! {
    instagram, "instagram_connections", active: "'active'", platform: "'instagram'",
    refresh_token: "null::text", keeps: "", clears: "", has_refresh_token: "false", user: "c.user_id",
    due: "c.access_token is not null and c.next_token_refresh_at <= greenroom.now()
          and coalesce(c.last_token_refresh_at, c.created_at) < greenroom.now() - interval '24 h'"
}

tokens_of! {
    platform, "platform_connections", active: "'connected'", platform: "platform",
    refresh_token: "refresh_token", keeps: "refresh_token = coalesce($5, refresh_token),",
    clears: "refresh_token = null,", has_refresh_token: "true", user: "null::uuid",
    due: "c.refresh_token is not null
          and (c.last_token_refresh_at < greenroom.now() - interval '30 days'
               or (c.next_token_refresh_at <= greenroom.now() and c.refresh_failures > 0))"
}

/// Calls a statement of the connection's table.
macro_rules! of_kind {
    ($kind:expr, $function:ident ( $($argument:expr),* )) => {
        match $kind {
            Kind::Youtube => youtube::$function($($argument),*).await,
            Kind::Instagram => instagram::$function($($argument),*).await,
            Kind::Platform => platform::$function($($argument),*).await,
        }
    };
}

/// Reads a connection's tokens.
pub(crate) async fn read(conn: &mut PgConnection, which: Which) -> sqlx::Result<Option<Stored>> {
    let row = of_kind!(which.kind, read(conn, which.id))?;
    Ok(row.map(Row::leased).transpose()?.map(|leased| leased.stored))
}

/// Marks a connection whose tokens do not open; the tokens stay as they are.
pub(crate) async fn mark_undecryptable(conn: &mut PgConnection, which: Which) -> sqlx::Result<bool> {
    of_kind!(which.kind, mark_undecryptable(conn, which.id))
}

/// Takes that mark away, once the right key is there.
pub(crate) async fn unmark_undecryptable(conn: &mut PgConnection, which: Which) -> sqlx::Result<()> {
    of_kind!(which.kind, unmark_undecryptable(conn, which.id))
}

/// Takes the lease; nothing if somebody has it, or the connection is gone or disconnected.
pub(crate) async fn acquire(
    conn: &mut PgConnection,
    which: Which,
    owner: Uuid,
) -> sqlx::Result<Option<Leased>> {
    of_kind!(which.kind, acquire(conn, which.id, owner))?.map(Row::leased).transpose()
}

/// Gives the lease back and changes nothing else.
pub(crate) async fn release(conn: &mut PgConnection, which: Which, owner: Uuid) -> sqlx::Result<()> {
    of_kind!(which.kind, release(conn, which.id, owner))
}

/// Stores new tokens and ends the lease, in one statement; false where the lease is no longer this one or the
/// tokens are not those that were seen, and then nothing is stored.
pub(crate) async fn store(
    conn: &mut PgConnection,
    which: Which,
    owner: Uuid,
    seen_version: i64,
    new: &Refreshed,
) -> sqlx::Result<bool> {
    of_kind!(which.kind, store(conn, which.id, owner, seen_version, new))
}

/// Notes a failure, when to try again, and ends the lease. A connection whose token ended a day ago is in error then,
/// and still tried.
pub(crate) async fn fail(
    conn: &mut PgConnection,
    which: Which,
    owner: Uuid,
    fault: Fault,
    again_in: TimeDelta,
) -> sqlx::Result<()> {
    of_kind!(which.kind, fail(conn, which.id, owner, fault, again_in))
}

/// Marks a connection that only its owner can bring back, and ends the lease; true where that was done.
/// The tokens stay, for support and for whoever errs about their end.
pub(crate) async fn needs_owner(
    conn: &mut PgConnection,
    which: Which,
    owner: Uuid,
    seen_version: i64,
) -> sqlx::Result<bool> {
    of_kind!(which.kind, needs_owner(conn, which.id, owner, seen_version))
}

/// Counts what the last ten minutes brought on a platform, to tell a revocation from a storm that is our own fault.
pub(crate) async fn recent(conn: &mut PgConnection, kind: Kind, platform: Platform) -> sqlx::Result<Recent> {
    of_kind!(kind, recent(conn, platform.as_str()))
}

/// Returns connections whose refresh is due though nobody asks, in the order of their ids.
///
/// A token of an hour is refreshed ahead only for work that waits. What failed is tried again when its time has come.
/// Every refresh token is used once in thirty days, long before it ends unused; Instagram's tokens, which have none
/// beside them, a month before their end, and never on their first day.
pub(crate) async fn due(
    conn: &mut PgConnection,
    kind: Kind,
    after: Option<ConnectionId>,
    limit: i64,
) -> sqlx::Result<Vec<Due>> {
    let rows = of_kind!(kind, due(conn, after.map(|id| id.0), limit))?;
    let due = rows.into_iter().map(|row| {
        let platform = row.platform.parse().map_err(|unknown| sqlx::Error::Decode(Box::from(unknown)))?;
        Ok(Due { id: row.id, user_id: row.user_id, platform })
    });
    due.collect()
}

/// What a connection had when its owner ended it, sealed as it was stored.
pub(crate) struct Cleared {
    pub(crate) access_token: Option<String>,
    pub(crate) refresh_token: Option<String>,
}

/// Ends a connection: takes its tokens out, and fences off a refresh under way. Nothing where it had ended.
pub(crate) async fn clear(conn: &mut PgConnection, which: Which) -> sqlx::Result<Option<Cleared>> {
    of_kind!(which.kind, clear(conn, which.id))
}
