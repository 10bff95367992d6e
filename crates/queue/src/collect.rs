//! The queue's gauges: how much there is, how long the oldest waits, who works, what is shut.
//!
//! One process collects, the one that leads the sweep, with one statement every five seconds. What that
//! costs does not grow with the table. Per queue it looks at the first [`LANES`] lanes that are awake, in
//! the order of the claim, and counts to [`DEPTH`], from indexes over open jobs only. So
//!
//! - a number above `DEPTH` means "more than that"; `later` and `held` are counted among the first of all
//!   queues together;
//! - `ready` is what a free worker could take at once. Jobs behind a full lane, an open breaker, or a paused
//!   queue or a pool that admits nothing are `blocked`. What is behind a lane that operators paused is in
//!   neither;
//! - the oldest is exact up to that many lanes. Beyond, it is right while the queue is served at all, since a
//!   lane that waits keeps its place and those that are served move behind it; where nobody serves it, it is
//!   the oldest of that many lanes taken at random. Of each lane the job counts that is next, which one of
//!   lower priority may be older than.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::warn;

use crate::claim::timed;
use crate::{QueueError, Settings};

const EVERY: Duration = Duration::from_secs(5);
/// Lanes of a queue that are looked at.
const LANES: i64 = 2_000;
/// How far is counted.
const DEPTH: i64 = 5_000;

/// Sets the gauges, while its process leads.
#[derive(Debug)]
pub(crate) struct Collector {
    next: Instant,
    limit: Duration,
    /// A worker is counted while it has been seen within half a lease: it says so every sixth of one.
    seen_within_secs: f64,
}

/// One value, as the statement returns it.
struct Gauge {
    what: String,
    name: String,
    state: String,
    value: f64,
}

impl Collector {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seen_within_secs = settings.lease().as_secs_f64() / 2.0;
        Self { next: Instant::now(), limit: settings.statement_timeout(), seen_within_secs }
    }

    /// Collects if it is time; a failure costs the gauges and nothing else.
    pub(crate) async fn collect(&mut self, pool: &PgPool) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        match self.read(pool).await {
            Ok(gauges) => gauges.into_iter().for_each(set),
            Err(error) => warn!(%error, "Could not count the jobs; the gauges have gaps"),
        }
    }

    async fn read(&self, pool: &PgPool) -> Result<Vec<Gauge>, QueueError> {
        let seen_within_secs = self.seen_within_secs;
        timed(pool, self.limit, async |conn: &mut PgConnection| {
            sqlx::query_as!(
                Gauge,
                r#"
                with serving as (
                    select q.name, sum(q.slots) as slots, count(*) as workers
                      from greenroom.workers w cross join unnest(w.queues, w.queue_slots) as q (name, slots)
                     where w.seen_at > greenroom.now() - make_interval(secs => $1)
                     group by q.name
                ), named as (
                    select queue as name from greenroom.kinds union select name from greenroom.queues
                    union select name from serving union select 'unassigned'
                ), queues as materialized (
                    select n.name, coalesce(q.paused, false) as paused
                      from named n left join greenroom.queues q on q.name = n.name
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
                ), open_lanes as materialized (
                    select id, queue, head, awake from greenroom.lanes where open_until is not null limit $3
                ), shut as materialized (
                    select name from greenroom.pools
                     where paused or granted >= budget or open_until > greenroom.now()
                ), lanes as materialized (
                    select a.queue, a.id, a.head, not q.paused and a.pool not in (select name from shut) as runnable
                      from queues q
                     cross join lateral (
                           select l.queue, l.pool, l.id, l.head from greenroom.lanes l
                            where l.queue = q.name and l.awake order by l.queue, l.pool, l.vtime, l.id limit $2) a
                    union all
                    -- Asleep although they may have jobs: the full ones, and those whose breaker is open.
                    select l.queue, l.id, l.head, false
                      from (select lane as id from running union select id from open_lanes) busy
                      join greenroom.lanes l on l.id = busy.id
                     where not l.awake
                )
                select g.what as "what!", q.name as "name!", g.state as "state!", g.value::float8 as "value!"
                  from queues q left join serving s on s.name = q.name
                 cross join lateral (select count(*) as n from running r where r.queue = q.name) busy
                 cross join lateral (values
                    ('queue_jobs', 'ready', (
                        select count(*) from (
                            select from lanes l cross join lateral (
                                   select from background_jobs b
                                    where b.lane = l.id and b.status = 'pending' and b.rank >= l.head limit $3) j
                             where l.queue = q.name and l.runnable limit $3) counted)),
                    ('queue_jobs', 'blocked', (
                        select count(*) from (
                            select from lanes l cross join lateral (
                                   select from background_jobs b
                                    where b.lane = l.id and b.status = 'pending' and b.rank >= l.head limit $3) j
                             where l.queue = q.name and not l.runnable limit $3) counted)),
                    ('queue_jobs', 'later', (select count(*) from later l where l.queue = q.name)),
                    ('queue_jobs', 'held', (select count(*) from held h where h.queue = q.name)),
                    ('queue_jobs', 'running', busy.n),
                    ('oldest', '', (
                        select coalesce(greatest(0, date_part('epoch', greenroom.now() - min(j.run_at))), 0)
                          from lanes l cross join lateral (
                               select b.run_at from background_jobs b
                                where b.lane = l.id and b.status = 'pending' and b.rank >= l.head
                                order by b.rank limit 1) j
                         where l.queue = q.name and l.runnable)),
                    ('workers', '', coalesce(s.workers, 0)),
                    ('worker_slots', 'busy', busy.n),
                    ('worker_slots', 'idle', greatest(0, coalesce(s.slots, 0) - busy.n)),
                    ('lanes_open', '', (select count(*) from open_lanes o where o.queue = q.name))
                 ) as g (what, state, value)
                union all
                select g.what, p.name, '', g.value::float8
                  from greenroom.pools p cross join lateral (values
                    ('breaker_open', (p.open_until is not null)::int::bigint),
                    ('units_granted', case when p.budget is not null then p.granted end),
                    ('units_budget', p.budget)
                 ) as g (what, value)
                 where g.value is not null
                union all
                select 'schedule_lag', name, '', greatest(0, date_part('epoch', greenroom.now() - next_fire_at))
                  from greenroom.schedules where not paused and next_fire_at is not null
                "#,
                seen_within_secs,
                LANES,
                DEPTH + 1,
            )
            .fetch_all(conn)
            .await
        })
        .await
    }
}

fn set(Gauge { what, name, state, value }: Gauge) {
    match what.as_str() {
        "queue_jobs" => metrics::gauge!("greenroom_queue_jobs", "queue" => name, "state" => state),
        "oldest" => metrics::gauge!("greenroom_queue_oldest_runnable_age_seconds", "queue" => name),
        "workers" => metrics::gauge!("greenroom_workers", "queue" => name),
        "worker_slots" => metrics::gauge!("greenroom_worker_slots", "queue" => name, "state" => state),
        "lanes_open" => metrics::gauge!("greenroom_lanes_open", "queue" => name),
        "breaker_open" => metrics::gauge!("greenroom_breaker_open", "scope" => "pool", "name" => name),
        "units_granted" => metrics::gauge!("greenroom_pool_units_granted", "pool" => name),
        "units_budget" => metrics::gauge!("greenroom_pool_units_budget", "pool" => name),
        _ => metrics::gauge!("greenroom_schedule_lag_seconds", "schedule" => name),
    }
    .set(value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use greenroom_testkit::Database;
    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::*;
    use crate::claim::{Track, claim};
    use crate::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop, workers};

    /// One at a time for each connection.
    #[derive(Serialize, Deserialize)]
    struct Sync {
        connection: String,
    }

    impl Job for Sync {
        const KIND: &'static str = "sync";
        const POLICY: Policy = Policy::on("syncs").lane("connection", 1);
        type State = ();
        type Report = ();

        async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
            Ok(().into())
        }
    }

    fn of(connection: &str) -> NewJob {
        NewJob::of(&Sync { connection: connection.to_owned() }).unwrap()
    }

    /// Reads all of them, in whole numbers.
    #[expect(clippy::cast_possible_truncation, reason = "none of them is that large")]
    async fn gauges(db: &Database) -> BTreeMap<String, i64> {
        let read = Collector::new(&Settings::default()).read(db.pool()).await.unwrap();
        read.into_iter()
            .map(|g| (format!("{} {} {}", g.what, g.name, g.state).trim_end().to_owned(), g.value as i64))
            .collect()
    }

    async fn sql(db: &Database, statement: &'static str) {
        sqlx::raw_sql(statement).execute(db.pool()).await.unwrap();
    }

    /// A database whose worker serves two slots, with its lanes awake.
    async fn world(jobs: &[NewJob]) -> (Database, Uuid) {
        let db = Database::new().await;
        let (queue, worker) = (Queue::new(db.pool().clone()), Uuid::now_v7());
        Jobs::new().with::<Sync>(None).register(db.pool()).await.unwrap();
        let mut conn = db.pool().acquire().await.unwrap();
        let served = [workers::Served { name: "syncs".to_owned(), slots: 2 }];
        workers::started(&mut conn, worker, "a worker", &served).await.unwrap();
        queue.enqueue_many(jobs).await.unwrap();
        crate::sweep(db.pool(), &Settings::default()).await.unwrap();
        (db, worker)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn jobs_are_counted_by_what_they_wait_for() {
        let later = of("d").at(greenroom_model::Clock::system().now() + chrono::TimeDelta::days(1));
        let (db, worker) = world(&[of("a"), of("a"), of("b"), of("c"), of("c"), of("c"), later]).await;
        db.advance(Duration::from_secs(40)).await;
        sql(&db, "update greenroom.workers set seen_at = greenroom.now()").await;
        let seen = gauges(&db).await;
        for (gauge, value) in [
            ("queue_jobs syncs ready", 6),
            ("queue_jobs syncs later", 1),
            ("queue_jobs syncs running", 0),
            ("workers syncs", 1),
            ("worker_slots syncs idle", 2),
            // Nothing of it is known, and so it is told: an alert on a missing number never fires.
            ("queue_jobs unassigned ready", 0),
            ("oldest unassigned", 0),
        ] {
            assert_eq!(seen.get(gauge), Some(&value), "{gauge}: {seen:#?}");
        }
        assert!((40..60).contains(&seen["oldest syncs"]), "{seen:#?}");

        // Three lanes run their one job; what is behind them could not run if a worker were free.
        let mut conn = db.pool().acquire().await.unwrap();
        let (mut left, track, lease) = (3, Track::new("syncs", ""), Duration::from_mins(1));
        while left > 0 {
            let claimed = claim(&mut conn, &track, worker, left, lease, track.floor).await.unwrap();
            left -= u32::try_from(claimed.jobs.len()).unwrap();
        }
        let seen = gauges(&db).await;
        assert_eq!(seen["queue_jobs syncs running"], 3, "{seen:#?}");
        assert_eq!(seen["queue_jobs syncs ready"] + seen["queue_jobs syncs blocked"], 3, "{seen:#?}");
        assert_eq!(seen["worker_slots syncs busy"], 3);
        assert_eq!(seen["worker_slots syncs idle"], 0, "a rescued job may be one too many");

        sql(&db, "insert into greenroom.queues (name, paused) values ('syncs', true)").await;
        let seen = gauges(&db).await;
        assert_eq!((seen["queue_jobs syncs ready"], seen["oldest syncs"]), (0, 0), "{seen:#?}");
        db.advance(Duration::from_secs(31)).await;
        assert_eq!(gauges(&db).await["workers syncs"], 0, "it has not been seen for half a lease");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_oldest_is_found_behind_any_number_of_younger_lanes() {
        let (db, _) = world(&[of("old")]).await;
        db.advance(Duration::from_mins(10)).await;
        // A lane each, and nothing but their ids tells which comes first.
        sql(
            &db,
            "insert into background_jobs (job_type, payload)
             select 'sync', jsonb_build_object('connection', n::text) from generate_series(1, 1500) n;
             select greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(id::text),
                                   array_agg(1), array_agg(rank))
               from background_jobs",
        )
        .await;
        let seen = gauges(&db).await;
        assert!((600..660).contains(&seen["oldest syncs"]), "{seen:#?}");
        assert!(seen["queue_jobs syncs ready"] >= 1_000, "{seen:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_shut_is_told_of_pools_lanes_and_schedules() {
        let (db, _) = world(&[of("a"), of("b")]).await;
        sql(
            &db,
            "insert into greenroom.pools (name, budget, window_cron, granted, open_until) values
                 ('quota', 100, '0 0 * * *', 40, null), ('mail', null, null, 7, greenroom.now() + interval '1 h');
             insert into greenroom.schedules (name, kind, cron, next_fire_at, paused) values
                 ('late', 'sync', '0 3 * * *', greenroom.now() - interval '90 s', false),
                 ('early', 'sync', '0 3 * * *', greenroom.now() + interval '90 s', false),
                 ('off', 'sync', '0 3 * * *', greenroom.now() - interval '1 day', true);
             update greenroom.lanes set open_until = greenroom.now() + interval '1 h', awake = false
              where key = 'connection:a'",
        )
        .await;
        let seen = gauges(&db).await;
        for (gauge, value) in [
            ("units_budget quota", 100),
            ("units_granted quota", 40),
            ("breaker_open quota", 0),
            ("breaker_open mail", 1),
            ("lanes_open syncs", 1),
            ("queue_jobs syncs blocked", 1),
            ("queue_jobs syncs ready", 1),
            ("schedule_lag early", 0),
        ] {
            assert_eq!(seen.get(gauge), Some(&value), "{gauge}: {seen:#?}");
        }
        assert!((90..120).contains(&seen["schedule_lag late"]), "{seen:#?}");
        assert!(
            !seen.contains_key("schedule_lag off") && !seen.contains_key("units_budget mail"),
            "{seen:#?}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_cost_does_not_grow_with_the_table() {
        let (db, _) = world(&[]).await;
        sql(
            &db,
            "insert into background_jobs (job_type, queue, lane, max_attempts, run_at, rank, status, completed_at)
             select 'sync', 'syncs', greenroom.lane_id('syncs', '', '#' || n % 8), 3, t.now,
                    greenroom.job_rank(t.now, 5::smallint) + n, s.status,
                    case when s.status = 'completed' then t.now end
               from (select greenroom.now() as now) t cross join generate_series(1, 10000) n
              cross join (values ('pending'), ('completed')) s (status)",
        )
        .await;
        crate::sweep(db.pool(), &Settings::default()).await.unwrap();
        let seen = gauges(&db).await;
        assert_eq!(seen["queue_jobs syncs ready"], 5_001, "more than it counts to: {seen:#?}");
    }
}
