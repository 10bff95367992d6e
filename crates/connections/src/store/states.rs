//! `oauth_state_tokens`: consents in progress.
//!
//! A state is known by its SHA-256 only, serves once, and for ten minutes.

use chrono::{DateTime, Utc};
use greenroom_model::{LocationId, Platform, UserId};
use greenroom_vault::Secret;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

/// A consent that is asked for.
pub(crate) struct NewState<'a> {
    pub(crate) id: Uuid,
    pub(crate) state: &'a Secret,
    pub(crate) user: UserId,
    pub(crate) platform: Platform,
    pub(crate) redirect_uri: &'a str,
    /// Sealed.
    pub(crate) code_verifier: &'a str,
    pub(crate) location: Option<LocationId>,
}

/// A consent that waits, or has just come back.
pub(crate) struct Waiting {
    pub(crate) id: Uuid,
    pub(crate) user: UserId,
    pub(crate) redirect_uri: String,
    pub(crate) code_verifier: String,
    pub(crate) location: Option<LocationId>,
}

fn hash(state: &Secret) -> String {
    let digest = Sha256::digest(state.expose());
    digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Remembers a consent; returns until when it may come back.
pub(crate) async fn insert(conn: &mut PgConnection, new: &NewState<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        "insert into oauth_state_tokens (id, token, user_id, provider, redirect_uri, code_verifier, location_id)
         values ($1, $2, $3, $4, $5, $6, $7) returning expires_at",
        new.id,
        hash(new.state),
        new.user.0,
        new.platform.as_str(),
        new.redirect_uri,
        new.code_verifier,
        new.location.map(|id| id.0),
    )
    .fetch_one(conn)
    .await
}

/// Uses a state up: of all who bring it, one gets the consent. The verifier has served then.
pub(crate) async fn consume(
    conn: &mut PgConnection,
    state: &Secret,
    platform: Platform,
) -> sqlx::Result<Option<Waiting>> {
    let row = sqlx::query!(
        r#"update oauth_state_tokens s set used = true, code_verifier = null
             from (select id, code_verifier from oauth_state_tokens where token = $1) before
            where s.id = before.id and s.token = $1 and not s.used and s.expires_at > greenroom.now()
              and s.provider = $2
          returning s.id, s.user_id as "user_id: UserId", s.redirect_uri, before.code_verifier,
                    s.location_id as "location_id: LocationId""#,
        hash(state),
        platform.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| {
        Some(Waiting {
            id: row.id,
            user: row.user_id,
            redirect_uri: row.redirect_uri?,
            code_verifier: row.code_verifier?,
            location: row.location_id,
        })
    }))
}

/// Reads a consent that waits.
pub(crate) async fn find(
    conn: &mut PgConnection,
    state: &Secret,
    platform: Platform,
) -> sqlx::Result<Option<Waiting>> {
    let row = sqlx::query!(
        r#"select id, user_id as "user_id: UserId", redirect_uri, code_verifier,
                  location_id as "location_id: LocationId"
             from oauth_state_tokens
            where token = $1 and provider = $2 and not used and expires_at > greenroom.now()"#,
        hash(state),
        platform.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| {
        Some(Waiting {
            id: row.id,
            user: row.user_id,
            redirect_uri: row.redirect_uri?,
            code_verifier: row.code_verifier?,
            location: row.location_id,
        })
    }))
}

/// Returns whose consent a state stands for, while it can be used.
pub(crate) async fn user_of(conn: &mut PgConnection, state: &Secret) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"select user_id as "user_id: UserId" from oauth_state_tokens
            where token = $1 and not used and expires_at > greenroom.now()"#,
        hash(state),
    )
    .fetch_optional(conn)
    .await
}

/// Removes a batch of consents that expired a day ago; returns how many.
pub(crate) async fn remove_expired(conn: &mut PgConnection, batch: i64) -> sqlx::Result<u64> {
    let removed = sqlx::query!(
        "delete from oauth_state_tokens where id in (
             select id from oauth_state_tokens
              where expires_at < greenroom.now() - interval '1 day' order by expires_at limit $1)",
        batch,
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}
