//! Who calls, and whose things they may see.

use greenroom_model::{LocationId, OrganizationId, UserId};
use greenroom_vault::Secret;
use sqlx::PgConnection;
use subtle::ConstantTimeEq;

use crate::store::service_tokens;
pub use crate::store::service_tokens::{NewToken, ServiceToken, create, list, revoke};
use crate::token;

/// What a service token may be allowed to do.
pub const SCOPES: [&str; 14] = [
    "connection.connect",
    "connection.disconnect",
    "connection.read",
    "connection.sync",
    "consent.write",
    "credits.grant",
    "credits.read",
    "interaction.read",
    "interaction.write",
    "job.cancel",
    "job.operate",
    "job.read",
    "standing.read",
    "standing.write",
];

/// Longer bearers are refused unread.
const MAX_BEARER_BYTES: usize = 8 * 1024;

/// A program that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The id of its token, which may be shown and logged.
    pub token_id: String,
    /// Its tenant; `None` is an operator.
    pub organization: Option<OrganizationId>,
    /// What it may do.
    pub scopes: Vec<String>,
}

impl Principal {
    /// Returns whether it acts for the operators of this house.
    pub fn is_operator(&self) -> bool {
        self.organization.is_none()
    }

    /// Returns whether its token covers an action, such as `connection.sync`.
    pub fn may(&self, action: &str) -> bool {
        self.scopes.iter().any(|scope| scope == action)
    }
}

/// Why a token is not accepted. The caller is told none of it, the log and the metrics are.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It has not the form of a service token.
    #[error("this is no service token")]
    Malformed,
    /// No token has this id.
    #[error("no service token has this id")]
    Unknown,
    /// Its secret is another one.
    #[error("the service token's secret is wrong")]
    WrongSecret,
    /// It has lived its time.
    #[error("the service token has expired")]
    Expired,
    /// It was revoked.
    #[error("the service token was revoked")]
    Revoked,
    /// Nobody can tell, since the database did not answer.
    #[error("service tokens could not be read: {0}")]
    Database(#[from] sqlx::Error),
}

impl Refused {
    /// Returns the word for metrics: `malformed`, `unknown`, `wrong_secret`, `expired`, `revoked`, `database`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Database(_) => "database",
        }
    }
}

/// Finds out who presents this token.
pub async fn authenticate(conn: &mut PgConnection, presented: &Secret) -> Result<Principal, Refused> {
    let text = presented.expose();
    let parts =
        (text.len() <= MAX_BEARER_BYTES).then(|| token::parse(text)).flatten().ok_or(Refused::Malformed)?;
    let known = service_tokens::find(conn, &parts.id).await?.ok_or(Refused::Unknown)?;
    // Whether a token has ended is told only to who has it.
    if !bool::from(known.secret_sha256.ct_eq(parts.secret_sha256.as_slice())) {
        return Err(Refused::WrongSecret);
    }
    if known.is_revoked {
        return Err(Refused::Revoked);
    }
    if known.is_expired {
        return Err(Refused::Expired);
    }
    if known.use_is_old {
        service_tokens::touch(conn, &parts.id).await?;
    }
    Ok(Principal { token_id: parts.id, organization: known.organization, scopes: known.scopes })
}

/// Returns whether a person's things are of the principal's tenant; operators see everyone's.
///
/// A person who does not exist is nobody's, so that a stranger and a phantom look the same.
pub async fn may_see_user(
    conn: &mut PgConnection,
    principal: &Principal,
    user: UserId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from users where id = $1 and ($3 or organization_id = $2)
           ) as "seen!""#,
        user.0,
        principal.organization.map(|id| id.0),
        principal.is_operator(),
    )
    .fetch_one(conn)
    .await
}

/// Returns whether a location is of the principal's tenant; operators see every one.
pub async fn may_see_location(
    conn: &mut PgConnection,
    principal: &Principal,
    location: LocationId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from locations where id = $1 and ($3 or organization_id = $2)
           ) as "seen!""#,
        location.0,
        principal.organization.map(|id| id.0),
        principal.is_operator(),
    )
    .fetch_one(conn)
    .await
}

#[cfg(test)]
mod tests;
