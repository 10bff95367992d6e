//! The queue's gauges: how the queues stand ([`crate::overview`]), and what of pools and schedules can be
//! counted. One process collects, the one that leads the sweep, every five seconds; what that costs does
//! not grow with the table.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::warn;

use crate::claim::timed;
use crate::overview::{self, QueueRow};
use crate::{QueueError, Settings};

const EVERY: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_secs(2);

/// Sets the gauges, while its process leads.
#[derive(Debug)]
pub(crate) struct Collector {
    next: Instant,
    settings: Settings,
}

/// One value of a pool or a schedule.
struct Gauge {
    what: String,
    name: String,
    value: f64,
}

/// What is read at once.
struct Counts {
    queues: Vec<QueueRow>,
    others: Vec<Gauge>,
}

impl Collector {
    pub(crate) fn new(settings: &Settings) -> Self {
        // Not at once: a leader that starts has work to find first.
        Self { next: Instant::now() + FIRST, settings: settings.clone() }
    }

    /// Collects if it is time; a failure costs the gauges and nothing else.
    pub(crate) async fn collect(&mut self, pool: &PgPool) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        match self.read(pool).await {
            Ok(counts) => {
                counts.queues.into_iter().for_each(set_queue);
                counts.others.into_iter().for_each(set);
            }
            Err(error) => warn!(%error, "Could not count the jobs; the gauges have gaps"),
        }
    }

    async fn read(&self, pool: &PgPool) -> Result<Counts, QueueError> {
        timed(pool, self.settings.statement_timeout(), async |conn: &mut PgConnection| {
            let queues = overview::read(&mut *conn, &self.settings).await?;
            let others = sqlx::query_as!(
                Gauge,
                r#"
                select g.what as "what!", p.name as "name!", g.value::float8 as "value!"
                  from greenroom.pools p cross join lateral (values
                    ('breaker_open', (p.open_until is not null)::int::bigint),
                    ('units_granted', case when p.budget is not null then p.granted end),
                    ('units_budget', p.budget)
                 ) as g (what, value)
                 where g.value is not null
                union all
                select 'schedule_lag', name, greatest(0, date_part('epoch', greenroom.now() - next_fire_at))
                  from greenroom.schedules where not paused and next_fire_at is not null
                "#
            )
            .fetch_all(conn)
            .await?;
            Ok(Counts { queues, others })
        })
        .await
    }
}

/// Sets the gauges of a queue. Where nothing is known of it they say 0, since an alert on a number that is
/// missing never fires.
#[expect(clippy::cast_precision_loss, reason = "counts end at some thousands")]
fn set_queue(row: QueueRow) {
    let queue = row.queue;
    let jobs = [
        ("ready", row.ready),
        ("blocked", row.blocked),
        ("later", row.later),
        ("held", row.held),
        ("running", row.running),
    ];
    for (state, n) in jobs {
        metrics::gauge!("greenroom_queue_jobs", "queue" => queue.clone(), "state" => state).set(n as f64);
    }
    for (state, n) in [("busy", row.running), ("idle", row.idle)] {
        metrics::gauge!("greenroom_worker_slots", "queue" => queue.clone(), "state" => state).set(n as f64);
    }
    let oldest = row.oldest_secs.unwrap_or_default();
    metrics::gauge!("greenroom_queue_oldest_runnable_age_seconds", "queue" => queue.clone()).set(oldest);
    metrics::gauge!("greenroom_workers", "queue" => queue.clone()).set(row.workers as f64);
    metrics::gauge!("greenroom_lanes_open", "queue" => queue).set(row.open_lanes as f64);
}

fn set(Gauge { what, name, value }: Gauge) {
    match what.as_str() {
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
        let of_queue = |row: QueueRow| {
            [
                ("queue_jobs", " ready", row.ready),
                ("queue_jobs", " blocked", row.blocked),
                ("queue_jobs", " later", row.later),
                ("queue_jobs", " held", row.held),
                ("queue_jobs", " running", row.running),
                ("worker_slots", " busy", row.running),
                ("worker_slots", " idle", row.idle),
                ("workers", "", row.workers),
                ("oldest", "", row.oldest_secs.unwrap_or_default() as i64),
                ("lanes_open", "", row.open_lanes),
            ]
            .map(|(what, state, n)| (format!("{what} {}{state}", row.queue), n))
        };
        let others = read.others.into_iter().map(|g| (format!("{} {}", g.what, g.name), g.value as i64));
        read.queues.into_iter().flat_map(of_queue).chain(others).collect()
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
            ("queue_jobs syncs ready", 3),
            // A lane runs one at a time.
            ("queue_jobs syncs blocked", 3),
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
            let claimed = claim(&mut conn, &track, worker, left, lease, track.floor, &[]).await.unwrap();
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
             update greenroom.lanes set open_until = greenroom.now() + interval '1 h' where key = 'connection:a';
             update greenroom.turns set awake = false
              where lane = (select id from greenroom.lanes where key = 'connection:a')",
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
             select 'sync', 'syncs', greenroom.lane_id('syncs', '', 'connection:' || n % 8), 3, t.now,
                    greenroom.job_rank(t.now, 5::smallint) + n, s.status,
                    case when s.status = 'completed' then t.now end
               from (select greenroom.now() as now) t cross join generate_series(1, 10000) n
              cross join (values ('pending'), ('completed')) s (status)",
        )
        .await;
        crate::sweep(db.pool(), &Settings::default()).await.unwrap();
        let seen = gauges(&db).await;
        // Eight lanes, of which each runs one at a time.
        assert_eq!(seen["queue_jobs syncs ready"], 8, "{seen:#?}");
        assert_eq!(seen["queue_jobs syncs blocked"], 5_001, "more than it counts to: {seen:#?}");
        sql(&db, "update greenroom.lanes set cap = null").await;
        let seen = gauges(&db).await;
        assert_eq!(seen["queue_jobs syncs ready"], 5_001, "more than it counts to: {seen:#?}");
    }
}
