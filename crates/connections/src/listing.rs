//! Connections of every table as operators look at them: how they stand, and nothing of their tokens.

use chrono::{DateTime, Utc};
use greenroom_model::{ConnectionId, LocationId, OrganizationId, Platform, UserId};
use greenroom_vault::{Place, Stored, Vault};
use serde::Serialize;
use sqlx::PgConnection;

use crate::which::{Kind, Which};

/// A connection of any platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its id, in the table of its kind.
    pub id: ConnectionId,
    /// `youtube`, `instagram`, or the platform of one that is connected for a location.
    pub platform: String,
    /// Whose it is; one for a location is nobody's in person.
    pub user_id: Option<UserId>,
    /// The location it is for, where it is nobody's in person.
    pub location_id: Option<LocationId>,
    /// How its owner knows it.
    pub name: Option<String>,
    /// How it stands, in the words of its table.
    pub status: String,
    /// Why it does not serve.
    pub error: Option<String>,
    /// When its access token ends.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// When it was last given new tokens.
    pub last_token_refresh_at: Option<DateTime<Utc>>,
    /// Refreshes that failed in a row.
    pub refresh_failures: i32,
}

impl Summary {
    /// Returns its platform.
    pub fn known_platform(&self) -> Platform {
        // A CHECK keeps others out of the table.
        self.platform.parse().unwrap_or(Platform::Google)
    }

    /// Returns which row it is.
    pub fn which(&self) -> Which {
        let kind = match self.platform.as_str() {
            "youtube" => Kind::Youtube,
            "instagram" => Kind::Instagram,
            _ => Kind::Platform,
        };
        Which { kind, id: self.id }
    }
}

/// Which connections to list; everything where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Those that stand so, in the words of their table.
    pub status: Option<&'a str>,
    /// Those of an organisation's people and locations.
    pub organization: Option<OrganizationId>,
    /// This one.
    pub id: Option<ConnectionId>,
}

/// Lists connections in the order of their ids, after the given one.
///
/// A connection for a location that has its account in a table of its own is not listed twice.
pub async fn list(
    conn: &mut PgConnection,
    wanted: &Wanted<'_>,
    after: Option<ConnectionId>,
    limit: u16,
) -> sqlx::Result<Vec<Summary>> {
    sqlx::query_as!(
        Summary,
        r#"
        select id as "id!: ConnectionId", platform as "platform!", user_id as "user_id: UserId",
               location_id as "location_id: LocationId", name, status as "status!", error, token_expires_at, last_token_refresh_at,
               refresh_failures as "refresh_failures!"
          from (
            (select id, 'youtube' as platform, user_id, null::uuid as location_id, coalesce(channel_name, channel_id) as name,
                    connection_status as status, connection_error as error, token_expires_at,
                    last_token_refresh_at, refresh_failures
               from youtube_connections
              where ($1::text is null or connection_status = $1) and ($2::uuid is null or id > $2)
                and ($4::uuid is null or user_id in (select u.id from users u where u.organization_id = $4))
                and ($5::uuid is null or id = $5) order by id limit $3)
            union all
            (select id, 'instagram', user_id, null, coalesce(username, instagram_user_id), connection_status,
                    connection_error, token_expires_at, last_token_refresh_at, refresh_failures
               from instagram_connections
              where ($1::text is null or connection_status = $1) and ($2::uuid is null or id > $2)
                and ($4::uuid is null or user_id in (select u.id from users u where u.organization_id = $4))
                and ($5::uuid is null or id = $5) order by id limit $3)
            union all
            (select id, platform, null, location_id, account_info ->> 'name', connection_status, connection_error, token_expires_at,
                    last_token_refresh_at, refresh_failures
               from platform_connections
              where platform not in ('youtube', 'instagram')
                and ($1::text is null or connection_status = $1) and ($2::uuid is null or id > $2)
                and ($4::uuid is null or location_id in (select l.id from locations l where l.organization_id = $4))
                and ($5::uuid is null or id = $5) order by id limit $3)
          ) every order by id limit $3
        "#,
        wanted.status,
        after.map(|id| id.0),
        i64::from(limit),
        wanted.organization.map(|id| id.0),
        wanted.id.map(|id| id.0),
    )
    .fetch_all(conn)
    .await
}

/// Finds a connection of any platform.
pub async fn find(conn: &mut PgConnection, id: ConnectionId) -> sqlx::Result<Option<Summary>> {
    let wanted = Wanted { id: Some(id), ..Wanted::default() };
    Ok(list(conn, &wanted, None, 1).await?.pop())
}

/// What there is to say of a connection's tokens without showing them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How it stands.
    #[serde(flatten)]
    pub summary: Summary,
    /// What each token column holds.
    pub tokens: Vec<TokenState>,
    /// When it will be refreshed ahead of need.
    pub next_token_refresh_at: Option<DateTime<Utc>>,
    /// Which of its tokens are stored: one more with each refresh.
    pub token_version: i64,
    /// Until when a process has its refresh for itself.
    pub refresh_lease_until: Option<DateTime<Utc>>,
    /// When a refresh last failed, and of what.
    pub refresh_failed_at: Option<DateTime<Utc>>,
    /// `transient`, `configuration` or `invalid_grant`.
    pub refresh_error_kind: Option<String>,
}

/// What a token column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenState {
    /// The column.
    pub column: &'static str,
    /// `absent`, `encrypted`, `undecryptable` or `legacy_plaintext`.
    pub stored: &'static str,
    /// The id of the key that opens it.
    pub key_id: Option<String>,
    /// Why it does not open.
    pub problem: Option<String>,
}

/// Looks closely at one connection; without a vault its tokens are not opened.
pub async fn diagnose(
    conn: &mut PgConnection,
    vault: &Vault,
    id: ConnectionId,
) -> sqlx::Result<Option<Diagnosis>> {
    let row = sqlx::query!(
        r#"
        select 'youtube_connections' as "table!", 'youtube' as "platform!", user_id as "user_id: UserId",
               null::uuid as "location_id: LocationId",
               coalesce(channel_name, channel_id) as name, connection_status as "status!", connection_error as error,
               access_token, refresh_token, token_expires_at, last_token_refresh_at, next_token_refresh_at,
               token_version as "token_version!", refresh_lease_until, refresh_failures as "refresh_failures!",
               refresh_failed_at, refresh_error_kind
          from youtube_connections where id = $1
        union all
        select 'instagram_connections', 'instagram', user_id, null, coalesce(username, instagram_user_id), connection_status,
               connection_error, access_token, null, token_expires_at, last_token_refresh_at, next_token_refresh_at,
               token_version, refresh_lease_until, refresh_failures, refresh_failed_at, refresh_error_kind
          from instagram_connections where id = $1
        union all
        select 'platform_connections', platform, null, location_id, account_info ->> 'name', connection_status,
               connection_error, access_token, refresh_token, token_expires_at, last_token_refresh_at,
               next_token_refresh_at, token_version, refresh_lease_until, refresh_failures, refresh_failed_at,
               refresh_error_kind
          from platform_connections where id = $1
        "#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = |column: &'static str, token: Option<&str>| {
        let stored = vault.classify_for(&Place::new(&row.table, id, column), token);
        TokenState {
            column,
            stored: stored.as_str(),
            key_id: token.and_then(|token| vault.key_of(token)),
            problem: match &stored {
                Stored::Undecryptable(error) => Some(error.to_string()),
                _ => None,
            },
        }
    };
    let tokens = vec![
        state("access_token", row.access_token.as_deref()),
        state("refresh_token", row.refresh_token.as_deref()),
    ];
    Ok(Some(Diagnosis {
        tokens,
        next_token_refresh_at: row.next_token_refresh_at,
        token_version: row.token_version,
        refresh_lease_until: row.refresh_lease_until,
        refresh_failed_at: row.refresh_failed_at,
        refresh_error_kind: row.refresh_error_kind,
        summary: Summary {
            id,
            platform: row.platform,
            user_id: row.user_id,
            location_id: row.location_id,
            name: row.name,
            status: row.status,
            error: row.error,
            token_expires_at: row.token_expires_at,
            last_token_refresh_at: row.last_token_refresh_at,
            refresh_failures: row.refresh_failures,
        },
    }))
}
