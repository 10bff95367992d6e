//! `greenroom.service_tokens`: the programs that may come in.

use chrono::{DateTime, Utc};
use greenroom_model::{OrganizationId, UserId};
use greenroom_vault::Secret;
use sqlx::PgConnection;

use crate::access::SCOPES;
use crate::error::AccountsError;
use crate::token;

/// A token to be.
#[derive(Debug, Clone)]
pub struct NewToken<'a> {
    /// Its tenant; `None` makes an operator's token, which only the command line may do.
    pub organization: Option<OrganizationId>,
    /// What it is for, so that people know which one to revoke.
    pub name: &'a str,
    /// What it may do, out of [`crate::access::SCOPES`].
    pub scopes: &'a [String],
    /// How long it lives, 1 to 365 days.
    pub days: u16,
    /// Who made it, if that was a person.
    pub created_by: Option<UserId>,
}

impl NewToken<'_> {
    /// How long a token lives when nobody says otherwise.
    pub const DEFAULT_DAYS: u16 = 90;
}

/// A token as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    /// Its id, the part after `gr_`.
    pub id: String,
    /// Its tenant; `None` is the operators'.
    pub organization: Option<OrganizationId>,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Makes a token; its text is returned this once and kept nowhere.
pub async fn create(
    conn: &mut PgConnection,
    new: &NewToken<'_>,
) -> Result<(ServiceToken, Secret), AccountsError> {
    if !(1..=365).contains(&new.days) {
        return Err(AccountsError::Lifetime);
    }
    if let Some(unknown) = new.scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err(AccountsError::NoSuchScope(unknown.clone()));
    }
    let (text, parts) = token::generate(&mut rand::rng());
    let made = sqlx::query_as!(
        ServiceToken,
        r#"insert into greenroom.service_tokens (id, organization_id, name, secret_sha256, scopes, created_by,
                                                 expires_at)
           values ($1, $2, $3, $4, $5, $6, greenroom.now() + make_interval(days => $7))
           returning id, organization_id as "organization: OrganizationId", name, scopes, created_at,
                     expires_at, last_used_at, revoked_at"#,
        parts.id,
        new.organization.map(|id| id.0),
        new.name,
        &parts.secret_sha256,
        new.scopes,
        new.created_by.map(|id| id.0),
        i32::from(new.days),
    )
    .fetch_one(conn)
    .await
    .map_err(AccountsError::from_reference)?;
    Ok((made, text))
}

/// Lists the tokens of an organisation, or all there are, the newest first.
pub async fn list(
    conn: &mut PgConnection,
    organization: Option<OrganizationId>,
) -> Result<Vec<ServiceToken>, AccountsError> {
    let tokens = sqlx::query_as!(
        ServiceToken,
        r#"select id, organization_id as "organization: OrganizationId", name, scopes, created_at,
                  expires_at, last_used_at, revoked_at
             from greenroom.service_tokens
            where $1::uuid is null or organization_id = $1
            order by created_at desc, id"#,
        organization.map(|id| id.0),
    )
    .fetch_all(conn)
    .await?;
    Ok(tokens)
}

/// Ends a token at once; false where there is none of this id.
pub async fn revoke(conn: &mut PgConnection, id: &str) -> Result<bool, AccountsError> {
    let found = sqlx::query!(
        "update greenroom.service_tokens set revoked_at = coalesce(revoked_at, greenroom.now()) where id = $1",
        id,
    )
    .execute(conn)
    .await?;
    Ok(found.rows_affected() == 1)
}

/// What has to be known to let somebody in.
pub(crate) struct Known {
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) secret_sha256: Vec<u8>,
    pub(crate) scopes: Vec<String>,
    pub(crate) is_expired: bool,
    pub(crate) is_revoked: bool,
    pub(crate) use_is_old: bool,
}

pub(crate) async fn find(conn: &mut PgConnection, id: &str) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        r#"select organization_id as "organization: OrganizationId", secret_sha256, scopes,
                  expires_at <= greenroom.now() as "is_expired!", revoked_at is not null as "is_revoked!",
                  -- Once a minute is enough to know whether it lives, and spares a write a request.
                  coalesce(last_used_at < greenroom.now() - interval '1 minute', true) as "use_is_old!"
             from greenroom.service_tokens where id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await
}

pub(crate) async fn touch(conn: &mut PgConnection, id: &str) -> sqlx::Result<()> {
    sqlx::query!("update greenroom.service_tokens set last_used_at = greenroom.now() where id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}
