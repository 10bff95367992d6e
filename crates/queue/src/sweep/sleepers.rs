//! Lanes that a late commit or a lost wake left asleep.

use sqlx::PgConnection;

/// Walks the lanes with ready jobs, a batch a sweep, by hopping from one lane's first job to the next
/// lane's; returns how many it woke, where the next sweep begins, and their queues.
pub(super) async fn wake_sleepers(
    conn: &mut PgConnection,
    batch: i64,
    after: i64,
) -> Result<(u64, i64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with recursive first_jobs as (
            (select id, lane, rank, queue, pool, job_type, payload from background_jobs
              where status = 'pending' and rank is not null and lane > $1 order by lane, rank limit 1)
            union all
            select next.* from first_jobs f cross join lateral (
                select id, lane, rank, queue, pool, job_type, payload from background_jobs
                 where status = 'pending' and rank is not null and lane > f.lane order by lane, rank limit 1) next
        ), seen as (
            select * from first_jobs limit $2
        ), asleep as (
            select s.lane, s.queue, s.pool, s.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, s.payload, s.id) as key
              from seen s
              left join greenroom.lanes l on l.id = s.lane
              left join lateral (select * from greenroom.turns t where t.lane = s.lane order by t.vtime desc limit 1) t on true
              left join greenroom.kinds k on k.kind = s.job_type
             where l.id is null
                or t.head > s.rank
                -- One that is paused or whose breaker is open sleeps rightly.
                or (not t.awake and greenroom.may_wake(l.paused, l.open_until)
                -- So does a full one: the end of one of its jobs wakes it.
                    and (l.cap is null or l.cap > (
                        select count(*) from (select from background_jobs r
                                               where r.lane = l.id and r.lane > 0 and r.status = 'running' limit l.cap) running)))
        )
        select (select count(*) from asleep) as "count!",
               coalesce((select array_agg(distinct queue) from asleep), '{}') as "queues!",
               (select case when count(*) < $2 then null else max(lane) end from seen) as last,
               (select greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
                  from asleep)
        "#,
        after,
        batch,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count.unsigned_abs(), row.last.unwrap_or(i64::MIN), row.queues))
}
