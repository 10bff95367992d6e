//! The statements on `background_jobs`: insert, replace, and the look for holders.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::met::{Met, Standing};
use super::{NewJob, WakeLane, secs};
use crate::Again;

/// Makes an array parameter of one field of every job.
fn column<T>(jobs: &[&NewJob], field: impl Fn(&NewJob) -> T) -> Vec<T> {
    jobs.iter().map(|job| field(job)).collect()
}

/// Makes the array parameter of the payloads, without a copy of each.
fn payloads<'a>(jobs: &[&'a NewJob]) -> Vec<Json<&'a Value>> {
    jobs.iter().map(|job| Json(&job.payload)).collect()
}

fn wake_lane(job: &NewJob, id: i64, key: String, rank: i64) -> WakeLane {
    WakeLane { id, queue: job.queue.to_owned(), pool: job.pool.to_owned(), key, cap: job.lane_cap, rank }
}

/// Inserts the jobs whose keys no open job holds.
pub(super) async fn insert(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    met: &mut Met,
) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"
        -- Jobs of one statement share an instant, so their position tells their order in the lane.
        insert into background_jobs
               (id, user_id, job_type, payload, queue, pool, lane, priority, max_attempts, unique_key, run_at, rank,
                held, batch, after_batch, trace)
        select g.id, g.user_id, g.kind, g.payload, g.queue, g.pool, greenroom.lane_id(g.queue, g.pool, g.lane_key),
               g.priority, g.max_attempts, g.unique_key, r.ready_at,
               case when r.ready_at <= t.instant and g.after_batch is null
                    then greenroom.job_rank(r.ready_at, g.priority) + g.position end,
               case when g.after_batch is not null then 'batch' end, g.batch, g.after_batch, g.trace
          from (select greenroom.now() as instant) t
         cross join unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::text[], $6::text[],
                           $7::int2[], $8::int2[], $9::text[], $10::timestamptz[], $11::text[], $12::float8[],
                           $13::uuid[], $14::uuid[], $15::text[]) with ordinality
               as g (id, user_id, kind, payload, queue, lane_key, priority, max_attempts, unique_key, run_at, pool,
                     wait_secs, batch, after_batch, trace, position)
         cross join lateral (
               select coalesce(t.instant + make_interval(secs => g.wait_secs), g.run_at, t.instant) as ready_at) r
         order by g.unique_key   -- so that two calls never wait for each other in a circle
        on conflict (unique_key) where status in ('pending', 'running') and unique_key is not null do nothing
        returning id as "id: JobId", lane, rank
        "#,
        &column(jobs, |j| j.id.0),
        &column(jobs, |j| j.user.map(|user| user.0)) as &[Option<Uuid>],
        &column(jobs, |j| j.kind.to_owned()),
        &payloads(jobs) as &[Json<&Value>],
        &column(jobs, |j| j.queue.to_owned()),
        &column(jobs, |j| j.lane_key.clone()),
        &column(jobs, |j| j.priority),
        &column(jobs, |j| j.max_attempts),
        &column(jobs, |j| j.key.clone()) as &[Option<String>],
        &column(jobs, |j| j.run_at) as &[Option<DateTime<Utc>>],
        &column(jobs, |j| j.pool.to_owned()),
        &column(jobs, NewJob::wait_secs) as &[Option<f64>],
        &column(jobs, |j| j.batch.map(|batch| batch.0)) as &[Option<Uuid>],
        &column(jobs, |j| j.after.map(|batch| batch.0)) as &[Option<Uuid>],
        &column(jobs, |j| j.trace.map(|trace| trace.to_string())) as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;

    let by_id: HashMap<JobId, &NewJob> = jobs.iter().map(|job| (job.id, *job)).collect();
    for row in rows {
        if let Some(job) = by_id.get(&row.id) {
            let lane = row.rank.map(|rank| wake_lane(job, row.lane, job.lane_key.clone(), rank));
            met.insert(job, row.id, Standing::Created, lane);
        }
    }
    Ok(())
}

/// Lets the waiting holders become the jobs that replace them or put them off.
pub(super) async fn replace(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    met: &mut Met,
) -> Result<(), sqlx::Error> {
    let jobs: Vec<&NewJob> =
        jobs.iter().copied().filter(|job| job.key.is_some() && job.unique.again != Again::Ignore).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let at_most_secs = |job: &NewJob| match job.unique.again {
        Again::Debounce { at_most, .. } => Some(secs(at_most)),
        Again::Ignore | Again::Replace => None,
    };
    let rows = sqlx::query!(
        r#"
        with waiting as (
            select id, unique_key, created_at, run_at, held from background_jobs
             where unique_key = any($1) and status = 'pending'
             order by unique_key for update
        ), moved as (
            select w.id, w.held, g.*, t.instant, greenroom.lane_key(g.lane_field, g.payload, w.id) as lane_key,
                   case when g.wait_secs is null then coalesce(g.run_at, least(w.run_at, t.instant))
                        else least(t.instant + make_interval(secs => g.wait_secs),
                                   w.created_at + make_interval(secs => g.at_most_secs)) end as ready_at
              from waiting w
             cross join (select greenroom.now() as instant) t
              join unnest($1::text[], $2::uuid[], $3::jsonb[], $4::text[], $5::text[], $6::text[], $7::int2[],
                          $8::int2[], $9::timestamptz[], $10::float8[], $11::float8[], $12::text[])
                   as g (unique_key, user_id, payload, queue, pool, lane_field, priority, max_attempts, run_at,
                         wait_secs, at_most_secs, trace) on g.unique_key = w.unique_key
        )
        update background_jobs b
           set user_id = m.user_id, payload = m.payload, queue = m.queue, pool = m.pool,
               lane = greenroom.lane_id(m.queue, m.pool, m.lane_key), priority = m.priority,
               max_attempts = m.max_attempts, run_at = m.ready_at,
               rank = case when m.ready_at <= m.instant and m.held is null
                           then greenroom.job_rank(m.ready_at, m.priority) end,
               -- What the old payload had come to is nothing to the new one.
               checkpoint = null, progress = null, cancel_requested_at = null,
               trace = m.trace, updated_at = greenroom.now()
          from moved m where b.id = m.id
        returning b.id as "id: JobId", m.unique_key as "key!", b.lane, b.rank, m.lane_key as "lane_key!"
        "#,
        &column(&jobs, |j| j.key.clone()) as &[Option<String>],
        &column(&jobs, |j| j.user.map(|user| user.0)) as &[Option<Uuid>],
        &payloads(&jobs) as &[Json<&Value>],
        &column(&jobs, |j| j.queue.to_owned()),
        &column(&jobs, |j| j.pool.to_owned()),
        &column(&jobs, |j| j.lane_field.map(str::to_owned)) as &[Option<String>],
        &column(&jobs, |j| j.priority),
        &column(&jobs, |j| j.max_attempts),
        &column(&jobs, |j| j.run_at) as &[Option<DateTime<Utc>>],
        &column(&jobs, NewJob::wait_secs) as &[Option<f64>],
        &column(&jobs, at_most_secs) as &[Option<f64>],
        &column(&jobs, |j| j.trace.map(|trace| trace.to_string())) as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;

    let by_key = by_key(&jobs);
    for row in rows {
        if let Some(job) = by_key.get(row.key.as_str()) {
            let lane = row.rank.map(|rank| wake_lane(job, row.lane, row.lane_key, rank));
            met.insert(job, row.id, Standing::Waits, lane);
        }
    }
    Ok(())
}

/// Finds the jobs that hold the keys: open ones, and ended ones whose period is not over.
///
/// One that waits is no answer to a job that would change it: it came back just now, so it is tried
/// again.
pub(super) async fn find_holders(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    met: &mut Met,
) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let with_period = |job: &NewJob| job.period_secs().and(job.key.clone());
    let rows = sqlx::query!(
        r#"
        select id as "id!: JobId", unique_key as "key!", status as "status!" from background_jobs
         where unique_key = any($1) and status in ('pending', 'running') and unique_key is not null
        union all
        select job_id, unique_key, 'over' from greenroom.unique_periods p
         where unique_key = any($2) and until > greenroom.now()
           and not exists (select from background_jobs b
                            where b.unique_key = p.unique_key and b.status in ('pending', 'running'))
        "#,
        &column(jobs, |j| j.key.clone()) as &[Option<String>],
        &column(jobs, with_period) as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;

    let by_key = by_key(jobs);
    for row in rows {
        let Some(job) = by_key.get(row.key.as_str()) else { continue };
        let standing = match row.status.as_str() {
            "running" => Standing::Runs,
            "over" => Standing::Over,
            _ if job.unique.again == Again::Ignore => Standing::Waits,
            _ => continue,
        };
        met.insert(job, row.id, standing, None);
    }
    Ok(())
}

fn by_key<'a>(jobs: &[&'a NewJob]) -> HashMap<&'a str, &'a NewJob> {
    jobs.iter().filter_map(|job| Some((job.key.as_deref()?, *job))).collect()
}
