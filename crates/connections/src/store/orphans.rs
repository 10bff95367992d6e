//! `greenroom.token_orphans`: rotated refresh tokens whose row somebody else had written meanwhile.
//!
//! A provider that rotates has already forgotten the old token when such a one comes back. It may be the only one
//! that still serves, so it is kept for a week and tried before anybody is asked to connect again.

use sqlx::PgConnection;

use crate::which::Which;

/// Keeps a sealed token.
pub(crate) async fn keep(conn: &mut PgConnection, which: Which, sealed: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into greenroom.token_orphans (connection_kind, connection_id, refresh_token) values ($1, $2, $3)",
        which.kind.as_str(),
        which.id.0,
        sealed,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the newest one that came after the stored tokens did: each is tried once.
pub(crate) async fn take(conn: &mut PgConnection, which: Which) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "delete from greenroom.token_orphans
          where id = (select o.id from greenroom.token_orphans o
                       where o.connection_kind = $1 and o.connection_id = $2
                       order by o.created_at desc limit 1)
         returning refresh_token",
        which.kind.as_str(),
        which.id.0,
    )
    .fetch_optional(conn)
    .await
}

/// Removes a batch of those that nobody has needed for a week; returns how many.
pub(crate) async fn remove_old(conn: &mut PgConnection, batch: i64) -> sqlx::Result<u64> {
    let removed = sqlx::query!(
        "delete from greenroom.token_orphans where id in (
             select id from greenroom.token_orphans
              where created_at < greenroom.now() - interval '7 days' order by created_at limit $1)",
        batch,
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}
