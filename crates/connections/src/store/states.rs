//! `oauth_state_tokens`: consents in progress.

use sqlx::PgConnection;

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
