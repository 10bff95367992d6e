//! Leases: renewed in batches; what was not renewed in time belongs to whoever rescues it.

use std::time::Duration;

use greenroom_model::JobId;
use sqlx::PgConnection;

use crate::claim::interval;

/// What a renewal found of one job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewed {
    pub id: JobId,
    /// False when the job is no longer this process's: rescued, finished or deleted.
    pub held: bool,
    /// Whether an operator wants it to end.
    pub cancel_requested: bool,
}

/// Renews the leases of jobs held under their tokens.
pub(crate) async fn renew(
    conn: &mut PgConnection,
    jobs: &[(JobId, i64)],
    lease: Duration,
) -> Result<Vec<Renewed>, sqlx::Error> {
    let (ids, tokens): (Vec<_>, Vec<_>) = jobs.iter().map(|(id, token)| (id.0, *token)).unzip();
    let rows = sqlx::query!(
        r#"
        with given as (
            select * from unnest($1::uuid[], $2::bigint[]) as g (id, token)
        ), held as (
            -- A row that is locked is being finished by its own handler: waiting for it could close a
            -- circle with that handler's other locks, and it needs no renewal.
            select b.id from given g join background_jobs b on b.id = g.id and b.lease_token = g.token
               for no key update of b skip locked
        ), renewed as (
            update background_jobs b set leased_until = greenroom.now() + $3
              from held where b.id = held.id
        )
        select g.id as "id!: JobId", b.lease_token is not distinct from g.token as "held!",
               b.cancel_requested_at is not null as "cancel_requested!"
          from given g left join background_jobs b on b.id = g.id
        "#,
        &ids,
        &tokens,
        interval(lease),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Renewed { id: row.id, held: row.held, cancel_requested: row.cancel_requested })
        .collect())
}
