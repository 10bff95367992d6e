//! What has become due, and what plain SQL enqueued too early.

use sqlx::PgConnection;

/// Gives jobs whose time has come their rank; returns how many, and their queues.
pub(super) async fn promote(conn: &mut PgConnection, batch: i64) -> Result<(u64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with due as (
            select id from background_jobs
             where status = 'pending' and rank is null and held is null and run_at <= greenroom.now()
             order by run_at limit $1 for update skip locked
        ), promoted as (
            update background_jobs b set rank = greenroom.job_rank(b.run_at, b.priority)
              from due where b.id = due.id
            returning b.id, b.lane, b.queue, b.pool, b.rank, b.job_type, b.payload
        ), named as (
            select p.lane, p.queue, p.pool, p.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, p.payload, p.id) as key
              from promoted p left join greenroom.kinds k on k.kind = p.job_type
        )
        select count(*) as "count!", coalesce(array_agg(distinct queue), '{}') as "queues!",
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        batch
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count.unsigned_abs(), row.queues))
}

/// Gives jobs that plain SQL enqueued before their kind was declared what the trigger could not; returns how many.
pub(super) async fn adopt(conn: &mut PgConnection, batch: i64) -> Result<u64, sqlx::Error> {
    let adopted = sqlx::query!(
        r#"
        with orphans as (
            select b.id, k.kind, k.queue, k.pool, k.max_attempts, k.priority,
                   greenroom.lane_id(k.queue, k.pool, greenroom.lane_key(k.lane_field, b.payload, b.id)) as lane
              from background_jobs b join greenroom.kinds k on k.kind = b.job_type
             where b.status = 'pending' and b.rank is not null
               -- Found by their lanes, which the claim's index has.
               and b.lane = any (array(
                       select greenroom.lane_id('unassigned', '', '#' || n) from generate_series(0, 7) n))
             limit $1 for update of b skip locked
        )
        update background_jobs b
           set queue = o.queue, pool = o.pool, lane = o.lane, max_attempts = o.max_attempts, priority = o.priority,
               rank = greenroom.job_rank(b.run_at, o.priority), updated_at = greenroom.now()
          from orphans o where b.id = o.id
        "#,
        batch
    )
    .execute(conn)
    .await?;
    Ok(adopted.rows_affected())
}
