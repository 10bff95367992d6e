//! Lanes as people see and set them. How they work is told where they are claimed: `greenroom.claim`.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

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
            (select lane, 2 from greenroom.turns
              where awake and queue = $1 order by queue, pool, vtime, lane limit $2)
            union all
            -- Full lanes sleep; they are found by what they run.
            (select distinct lane, 3 from background_jobs where status = 'running' and queue = $1 limit $2)
        ), listed as (
            select id, min(place) as place from chosen group by id order by 2, 1 limit $2
        )
        select l.queue, l.pool, l.key, l.cap, l.weight, t.vtime, t.awake, l.overridden, l.paused, l.failures,
               l.open_until, l.open_reason, ready.n as "ready!", running.n as "running!"
          from listed join greenroom.lanes l on l.id = listed.id
         cross join lateral (select * from greenroom.turns t where t.lane = l.id order by t.vtime desc limit 1) t
         cross join lateral (
               select count(*) as n from (select from background_jobs b
                                           where b.lane = l.id and b.status = 'pending' and b.rank >= t.head
                                           limit 1000) jobs) ready
         cross join lateral (
               select count(*) as n from (select from background_jobs b
                                           where b.lane = l.id and b.status = 'running' limit 1000) jobs) running
         order by listed.place, t.vtime, l.id
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
/// for as long as the disk takes; where it is lost, the sweeper finds the lane.
pub(crate) async fn wake_full(conn: &mut PgConnection, lanes: &[i64]) -> Result<Vec<Woken>, sqlx::Error> {
    sqlx::query_as!(
        Woken,
        r#"
        select queue as "queue!", pool as "pool!", vtime as "vtime!"
          from (select set_config('synchronous_commit', 'off', true)) hurry cross join greenroom.rouse($1, null)
        "#,
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
    let mut tx = conn.begin().await?;
    let id = make(&mut tx, queue, pool, key).await?;
    sqlx::query!(
        "update greenroom.lanes
            set cap = coalesce($2, cap), weight = coalesce($3, weight), overridden = overridden or $2::integer is not null
          where id = $1",
        id,
        cap.map(u32::cast_signed),
        weight,
    )
    .execute(&mut *tx)
    .await?;
    // A wider lane may have more to give.
    rouse(&mut tx, id).await?;
    Ok(tx.commit().await?)
}

/// Makes a lane where there is none; returns its id.
pub(crate) async fn make(
    conn: &mut PgConnection,
    queue: &str,
    pool: &str,
    key: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select greenroom.make_lane($1, $2, $3) as "id!""#, queue, pool, key)
        .fetch_one(conn)
        .await
}

/// Wakes a lane that may have something to give, unless it is paused or its breaker is open.
pub(crate) async fn rouse(conn: &mut PgConnection, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("select from greenroom.rouse(array[$1::bigint], null)", id).execute(conn).await?;
    Ok(())
}

/// Puts a lane to sleep that may give nothing any more: it was paused, or its breaker opened.
pub(crate) async fn hush(conn: &mut PgConnection, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("update greenroom.turns set awake = false where lane = $1 and awake", id)
        .execute(conn)
        .await?;
    Ok(())
}
