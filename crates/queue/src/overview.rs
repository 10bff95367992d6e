//! How the queues stand: how much there is, how long the oldest waits, who works, what is shut.
//!
//! Operators read it, and the gauges. What it costs does not grow with the table: one statement looks at
//! the first [`LANES`] lanes of a queue that are awake, in the order of the claim, and counts to [`DEPTH`],
//! from indexes over open jobs only. So
//!
//! - a number above `DEPTH` means "more than that"; `later` and `held` are counted among the first of all
//!   queues together;
//! - `ready` is what a free worker could take at once, of a lane with a cap no more than that. Jobs behind a
//!   full or paused lane, an open breaker, a paused queue or a pool that admits nothing are `blocked`. What is behind a lane that sleeps by mistake
//!   is in neither, until the sweeper wakes it;
//! - the oldest is exact up to that many lanes. Beyond, it is right while the queue is served at all, since a
//!   lane that waits keeps its place and those that are served move behind it; where nobody serves it, it is
//!   the oldest of that many lanes taken at random. Of each lane the job counts that is next, which one of
//!   lower priority may be older than.

use sqlx::PgConnection;

use crate::{QueueError, Settings};

/// Lanes of a queue that are looked at.
const LANES: i64 = 2_000;
/// How far is counted.
const DEPTH: i64 = 5_000;

/// How a queue stands. What is counted is counted to 5,000; 5,001 means "more".
#[derive(Clone, Debug, serde::Serialize)]
pub struct QueueRow {
    /// Its name.
    pub queue: String,
    /// Whether operators paused it.
    pub paused: bool,
    /// Jobs that a free worker could take at once.
    pub ready: i64,
    /// Jobs whose time has come, and that a full lane, a breaker, a pool or a pause holds up.
    pub blocked: i64,
    /// Jobs whose time has not come.
    pub later: i64,
    /// Jobs that are set aside, for their kind or for a batch.
    pub held: i64,
    /// Jobs that run under a lease.
    pub running: i64,
    /// How long the oldest job waits that is ready.
    pub oldest_secs: Option<f64>,
    /// Workers that serve it, seen within half a lease.
    pub workers: i64,
    /// Slots that these workers have for it.
    pub slots: i64,
    /// Slots of these that run nothing.
    pub idle: i64,
    /// Lanes whose breaker is open, or waits for the job that closes it.
    pub open_lanes: i64,
}

/// Tells how every queue stands that a kind, a worker, an operator or an open job names.
pub async fn overview(conn: &mut PgConnection, settings: &Settings) -> Result<Vec<QueueRow>, QueueError> {
    Ok(read(conn, settings).await?)
}

/// Tells whether somebody sweeps. Where nobody does, what was enqueued without a wake is in no row of the overview.
pub async fn is_swept(conn: &mut PgConnection) -> Result<bool, QueueError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from greenroom.leaders where role = 'sweeper' and until > greenroom.now()) as "swept!""#
    )
    .fetch_one(conn)
    .await?)
}

pub(crate) async fn read(conn: &mut PgConnection, settings: &Settings) -> Result<Vec<QueueRow>, sqlx::Error> {
    // A worker says every sixth of a lease that it lives.
    let seen_within_secs = settings.lease().as_secs_f64() / 2.0;
    sqlx::query_as!(
        QueueRow,
        r#"
        with serving as (
            select q.name, sum(q.slots) as slots, count(*) as workers
              from greenroom.workers w cross join unnest(w.queues, w.queue_slots) as q (name, slots)
             where w.seen_at > greenroom.now() - make_interval(secs => $1)
             group by q.name
        ), running as materialized (
            -- Leases that are over, of jobs that ended, have left dead entries before this instant.
            select queue, lane from background_jobs
             where status = 'running' and leased_until >= greenroom.now() order by leased_until limit $3
        ), later as materialized (
            select queue from background_jobs
             where status = 'pending' and rank is null and held is null order by run_at limit $3
        ), held as materialized (
            select queue from background_jobs
             where status = 'pending' and held is not null order by held, job_type, id limit $3
        ), named as (
            select queue as name from greenroom.kinds union select name from greenroom.queues
            union select name from serving union select 'unassigned'
            union select queue from running union select queue from later union select queue from held
        ), queues as materialized (
            select n.name, coalesce(q.paused, false) as paused
              from named n left join greenroom.queues q on q.name = n.name
        ), open_lanes as materialized (
            select id, queue from greenroom.lanes where open_until is not null limit $3
        ), shut as materialized (
            select name from greenroom.pools p
             where paused or granted >= budget or open_until > greenroom.now()
                or cap <= (select count(*) from (select from background_jobs r
                                                  where r.pool = p.name and r.pool <> '' and r.status = 'running'
                                                  limit p.cap) running)
        ), lanes as materialized (
            select a.queue, a.id, a.head, a.cap, not q.paused and a.pool not in (select name from shut) as runnable
              from queues q
             cross join lateral (
                   select l.queue, l.pool, l.id, t.head,
                          case when l.open_until is null then l.cap else 1 end as cap
                     from (select t.lane, t.head from greenroom.turns t
                            where t.queue = q.name and t.awake order by t.queue, t.pool, t.vtime, t.lane limit $2) t
                     join greenroom.lanes l on l.id = t.lane) a
            union all
            -- Asleep although they may have jobs: the full ones, the paused ones, those whose breaker is open.
            select l.queue, l.id, t.head, null, false
              from (select lane as id from running union select id from open_lanes
                    union (select id from greenroom.lanes where (paused or overridden) and paused limit $3)) busy
              join greenroom.lanes l on l.id = busy.id
             cross join lateral (select * from greenroom.turns t where t.lane = l.id order by t.vtime desc limit 1) t
             where not t.awake
        )
        select q.name as "queue!", q.paused as "paused!",
               ready.n as "ready!", blocked.n as "blocked!", later.n as "later!", held.n as "held!",
               busy.n as "running!", oldest.secs as oldest_secs,
               coalesce(s.workers, 0) as "workers!", coalesce(s.slots, 0) as "slots!",
               greatest(0, coalesce(s.slots, 0) - busy.n) as "idle!", open.n as "open_lanes!"
          from queues q left join serving s on s.name = q.name
         cross join lateral (select count(*) as n from running r where r.queue = q.name) busy
         cross join lateral (select count(*) as n from later l where l.queue = q.name) later
         cross join lateral (select count(*) as n from held h where h.queue = q.name) held
         cross join lateral (select count(*) as n from open_lanes o where o.queue = q.name) open
         cross join lateral (
               select count(*) as n from (
                   select from lanes l cross join lateral (
                          select from background_jobs b
                           where b.lane = l.id and b.status = 'pending' and b.rank >= l.head
                           limit least(l.cap, $3)) j
                    where l.queue = q.name and l.runnable limit $3) counted) ready
         cross join lateral (
               select count(*) as n from (
                   select from lanes l cross join lateral (
                          select from background_jobs b
                           where b.lane = l.id and b.status = 'pending' and b.rank >= l.head
                          offset case when l.runnable then l.cap else 0 end limit $3) j
                    -- Those that its cap leaves to one that may run.
                    where l.queue = q.name and (not l.runnable or l.cap is not null) limit $3) counted) blocked
         cross join lateral (
               select date_part('epoch', greenroom.now() - min(j.run_at)) as secs
                 from lanes l cross join lateral (
                      select b.run_at from background_jobs b
                       where b.lane = l.id and b.status = 'pending' and b.rank >= l.head
                       order by b.rank limit 1) j
                where l.queue = q.name and l.runnable) oldest
         order by q.name
        "#,
        seen_within_secs,
        LANES,
        DEPTH + 1,
    )
    .fetch_all(conn)
    .await
}
