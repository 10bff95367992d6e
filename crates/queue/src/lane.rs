//! Lanes as people see and set them. How they work is told where they are claimed: `greenroom.claim`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::QueueError;

/// A lane as it stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LaneRow {
    /// Its queue.
    pub queue: String,
    /// The pool that its jobs draw on; empty where they draw on none.
    pub pool: String,
    /// Its key, such as `account:…`.
    pub key: String,
    /// Jobs that may run at once.
    pub cap: Option<i32>,
    /// Its share beside the other lanes.
    pub weight: f32,
    /// How far it has come; the lowest is next.
    pub vtime: f64,
    /// Jobs that are ready, counted to a thousand.
    pub ready: i64,
    /// Jobs that run, counted to a thousand.
    pub running: i64,
    /// Whether the claim looks at it.
    pub awake: bool,
    /// Whether operators decided its cap.
    pub overridden: bool,
    /// Whether operators paused it.
    pub paused: bool,
    /// Failures in a row that count against its breaker.
    pub failures: i32,
    /// Its breaker is open until then, and half-open after.
    pub open_until: Option<DateTime<Utc>>,
    /// Why it opened.
    pub open_reason: Option<String>,
}

/// Lists lanes of a queue that somebody decided about or that are shut, and then those that are next.
pub async fn lanes(conn: &mut PgConnection, queue: &str, limit: u16) -> Result<Vec<LaneRow>, QueueError> {
    Ok(sqlx::query_as!(
        LaneRow,
        r#"
        with chosen as (
            (select id, 0 as place from greenroom.lanes
              where open_until is not null and queue = $1 order by open_until limit $2)
            union all
            (select id, 1 from greenroom.lanes where (paused or overridden) and queue = $1 limit $2)
            union all
            (select id, 2 from greenroom.lanes
              where awake and queue = $1 order by queue, pool, vtime, id limit $2)
            union all
            -- Full lanes sleep; they are found by what they run.
            (select distinct lane, 3 from background_jobs where status = 'running' and queue = $1 limit $2)
        ), listed as (
            select id, min(place) as place from chosen group by id order by 2, 1 limit $2
        )
        select l.queue, l.pool, l.key, l.cap, l.weight, l.vtime, l.awake, l.overridden, l.paused, l.failures,
               l.open_until, l.open_reason, ready.n as "ready!", running.n as "running!"
          from listed join greenroom.lanes l on l.id = listed.id
         cross join lateral (
               select count(*) as n from (select from background_jobs b
                                           where b.lane = l.id and b.status = 'pending' and b.rank >= l.head
                                           limit 1000) jobs) ready
         cross join lateral (
               select count(*) as n from (select from background_jobs b
                                           where b.lane = l.id and b.status = 'running' limit 1000) jobs) running
         order by listed.place, l.vtime, l.id
        "#,
        queue,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?)
}

/// A lane that was asleep, and where it comes back.
#[derive(Clone, Debug)]
pub(crate) struct Woken {
    pub queue: String,
    pub pool: String,
    pub vtime: f64,
}

/// Wakes lanes that may have slept for being full, once the ends of their jobs are committed; returns those that did.
///
/// A statement of its own, since a claim passes over a lane that somebody has locked, and a commit of jobs locks
/// for as long as the disk takes; where it is lost, the sweeper finds the lane. Locked also when it looks awake:
/// a claim may just be putting it to sleep from an older snapshot.
pub(crate) async fn wake_full(conn: &mut PgConnection, lanes: &[i64]) -> Result<Vec<Woken>, sqlx::Error> {
    sqlx::query_as!(
        Woken,
        "
        with locked as (
            select id, awake from greenroom.lanes where id = any($1) order by id for no key update
        )
        update greenroom.lanes l set awake = true
          from locked cross join (select set_config('synchronous_commit', 'off', true)) hurry
         where l.id = locked.id and not locked.awake and greenroom.may_wake(l.paused, l.open_until)
        returning l.queue, l.pool, l.vtime
        ",
        lanes,
    )
    .fetch_all(conn)
    .await
}

/// Sets a lane's cap or weight, making the lane where no job has yet. A cap that is set here stays, whatever
/// the policies of kinds say.
pub async fn set_lane(
    conn: &mut PgConnection,
    (queue, pool, key): (&str, &str, &str),
    cap: Option<u32>,
    weight: Option<f32>,
) -> Result<(), QueueError> {
    if cap.is_some() && key.starts_with('#') {
        return Err(QueueError::StripeHasNoCap(key.to_owned()));
    }
    sqlx::query!(
        r#"
        insert into greenroom.lanes as l (id, queue, pool, key, cap, weight, overridden)
        values (greenroom.lane_id($1, $2, $3), $1, $2, $3, $4::integer, coalesce($5::real, 1), $4::integer is not null)
        on conflict (id) do update
           set cap = coalesce($4, l.cap), weight = coalesce($5::real, l.weight),
               overridden = l.overridden or $4::integer is not null,
               -- A wider lane may have more to give.
               awake = greenroom.may_wake(l.paused, l.open_until)
        "#,
        queue,
        pool,
        key,
        cap.map(u32::cast_signed),
        weight,
    )
    .execute(conn)
    .await?;
    Ok(())
}
