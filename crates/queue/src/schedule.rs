//! Schedules: what is enqueued when, with nobody there.
//!
//! A tick is `(name, fire time)`. Whoever moves a schedule's `next_fire_at` on, under the value he
//! saw, enqueues the tick in the same transaction: so each is enqueued once under any number of
//! schedulers. The leader is for economy.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::claim::timed;
use crate::{Cron, Heartbeat, Jobs, Leader, Queue, QueueError, enqueue};

const TICK: Duration = Duration::from_secs(1);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most missed ticks of one schedule that `all` catches up with at a time.
const CATCH_UP_LIMIT: usize = 1_000;
/// How late a tick may be and still not be a missed one.
const ON_TIME: Duration = Duration::from_mins(1);

/// What becomes of ticks that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// The latest of them runs.
    Latest,
    /// Every one of them runs.
    All,
}

impl CatchUp {
    fn parse(text: &str) -> Self {
        match text {
            "skip" => Self::Skip,
            "all" => Self::All,
            _ => Self::Latest,
        }
    }
}

/// Enqueues what the policies of a list of jobs say is due.
#[derive(Debug)]
pub struct Scheduler {
    queue: Queue,
    jobs: Jobs,
    heartbeat: Heartbeat,
}

struct Due {
    name: String,
    kind: String,
    cron: String,
    timezone: String,
    catch_up: String,
    payload: serde_json::Value,
    next_fire_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl Scheduler {
    /// Makes a scheduler for the jobs whose policy has a cron expression.
    pub fn new(queue: Queue, jobs: Jobs) -> Self {
        Self { queue, jobs, heartbeat: Heartbeat::new() }
    }

    /// Returns the heartbeat of the loop that ticks, every second.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Ticks while it leads, until it is told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), QueueError> {
        self.jobs.register(self.queue.pool()).await?;
        self.declare().await?;
        let mut leader = Leader::new(self.queue.pool().clone(), "scheduler", Uuid::now_v7());
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.heartbeat.beat();
            tokio::select! {
                () = stop.cancelled() => break,
                _ = interval.tick() => {}
            }
            if !leader.leads().await {
                continue;
            }
            if let Err(error) = self.tick().await {
                warn!(%error, "A tick failed; the next one goes on");
            }
        }
        leader.resign().await;
        Ok(())
    }

    /// Writes the schedules that the policies declare; what an operator paused stays paused.
    pub async fn declare(&self) -> Result<(), QueueError> {
        let now = now(self.queue.pool()).await?;
        for info in self.jobs.kinds() {
            let Some(expression) = info.policy.cron else {
                continue;
            };
            let next = Cron::parse(expression, "UTC")?.next_after(now);
            timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
                sqlx::query!(
                    r#"
                    insert into greenroom.schedules as s (name, kind, cron, next_fire_at)
                    values ($1, $1, $2, $3)
                    on conflict (name) do update
                       -- Ticks that were missed while nobody ran are still to be caught up with.
                       set cron = excluded.cron, next_fire_at = excluded.next_fire_at, updated_at = greenroom.now()
                     where s.cron is distinct from excluded.cron or s.next_fire_at is null
                    "#,
                    info.kind,
                    expression,
                    next,
                )
                .execute(conn)
                .await
            })
            .await?;
        }
        Ok(())
    }

    /// Enqueues every tick that is due; returns how many.
    pub async fn tick(&self) -> Result<usize, QueueError> {
        let due = timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query_as!(
                Due,
                r#"
                select name, kind, cron, timezone, catch_up, payload, next_fire_at as "next_fire_at!",
                       greenroom.now() as "now!"
                  from greenroom.schedules
                 where not paused and next_fire_at <= greenroom.now()
                 order by next_fire_at
                "#
            )
            .fetch_all(conn)
            .await
        })
        .await?;
        let mut ticks = 0;
        for schedule in due {
            match self.fire(&schedule).await {
                Ok(fired) => ticks += fired,
                // One schedule that cannot run must not hold up the others.
                Err(error) => warn!(schedule = schedule.name, %error, "Could not enqueue the tick"),
            }
        }
        Ok(ticks)
    }

    async fn fire(&self, schedule: &Due) -> Result<usize, QueueError> {
        let cron = Cron::parse(&schedule.cron, &schedule.timezone)?;
        let (fires, next) = missed(&cron, schedule);
        let payload = schedule.payload.to_string();
        let mut jobs = Vec::with_capacity(fires.len());
        for _ in &fires {
            match self.jobs.build(&schedule.kind, &payload, None) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    // Another release may know the kind: its scheduler fires it.
                    warn!(schedule = schedule.name, %error, "This release cannot make the job");
                    return Ok(0);
                }
            }
        }
        let mut tx = self.queue.pool().begin().await?;
        let moved = sqlx::query!(
            r#"
            update greenroom.schedules
               set next_fire_at = $3, last_fire_at = coalesce($4, last_fire_at), updated_at = greenroom.now()
             where name = $1 and next_fire_at = $2 and not paused
            "#,
            schedule.name,
            schedule.next_fire_at,
            next,
            fires.last().copied(),
        )
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(0);
        }
        let enqueued = enqueue(&mut tx, &jobs).await.map_err(|error| match error {
            crate::EnqueueError::Database(error) => QueueError::Database(error),
            other => QueueError::Database(sqlx::Error::Encode(other.into())),
        })?;
        tx.commit().await?;
        self.queue.wake(&enqueued);
        info!(
            schedule = schedule.name,
            "Enqueued {} of {} ticks",
            enqueued.iter().filter(|e| e.created).count(),
            fires.len()
        );
        Ok(fires.len())
    }
}

/// Returns the fire times to enqueue now, by the catch-up policy, and the next one after them.
fn missed(cron: &Cron, schedule: &Due) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let mut fires = vec![schedule.next_fire_at];
    let mut next = cron.next_after(schedule.next_fire_at);
    let policy = CatchUp::parse(&schedule.catch_up);
    while let Some(fire) = next.filter(|fire| *fire <= schedule.now) {
        if policy == CatchUp::All {
            if fires.len() >= CATCH_UP_LIMIT {
                // The rest is caught up with at the next tick.
                return (fires, next);
            }
            fires.push(fire);
        } else {
            fires[0] = fire;
        }
        next = cron.next_after(fire);
    }
    if policy == CatchUp::Skip {
        fires.retain(|fire| (schedule.now - *fire).to_std().is_ok_and(|late| late <= ON_TIME));
    }
    (fires, next)
}

async fn now(pool: &PgPool) -> Result<DateTime<Utc>, QueueError> {
    timed(pool, STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
        sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(conn).await
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use greenroom_testkit::Database;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::{drain, enqueued};
    use crate::{Context, Done, Job, Policy, Stop};

    #[derive(Serialize, Deserialize)]
    struct Nightly {}

    impl Job for Nightly {
        const KIND: &'static str = "nightly";
        const POLICY: Policy = Policy::on("nights").cron("0 3 * * *");
        type State = ();
        type Report = ();

        async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
            Ok(().into())
        }
    }

    async fn scheduler(db: &Database) -> Scheduler {
        let scheduler =
            Scheduler::new(Queue::new(db.pool().clone()), Jobs::new().with::<Nightly>(Some(&Arc::new(()))));
        scheduler.jobs.register(db.pool()).await.unwrap();
        scheduler.declare().await.unwrap();
        scheduler
    }

    const DAY: Duration = Duration::from_hours(24);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tick_is_enqueued_once_by_any_number_of_schedulers() {
        let db = Database::new().await;
        let schedulers = futures::future::join_all((0..4).map(|_| scheduler(&db))).await;
        assert_eq!(schedulers[0].tick().await.unwrap(), 0, "nothing is due yet");
        db.advance(DAY).await;
        let ticks = futures::future::join_all(schedulers.iter().map(Scheduler::tick)).await;
        assert_eq!(ticks.into_iter().map(Result::unwrap).sum::<usize>(), 1);
        assert_eq!(enqueued::<Nightly>(db.pool()).await.unwrap().len(), 1);
        // A new release declares again, and nothing fires anew.
        schedulers[0].declare().await.unwrap();
        assert_eq!(schedulers[0].tick().await.unwrap(), 0);
        assert_eq!(drain(&schedulers[0].queue, &schedulers[0].jobs).await.unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn missed_ticks_follow_the_catch_up_policy() {
        for (policy, fires) in [("skip", 0), ("latest", 1), ("all", 4)] {
            let db = Database::new().await;
            let scheduler = scheduler(&db).await;
            // Four nights at three o'clock pass unseen, then it is not three o'clock.
            sqlx::query("update greenroom.schedules set catch_up = $1, next_fire_at = date_trunc('day', greenroom.now()) - interval '45 h'")
                .bind(policy)
                .execute(db.pool())
                .await
                .unwrap();
            let now = now(db.pool()).await.unwrap();
            let noon = now.date_naive().and_hms_opt(12, 0, 0).unwrap().and_utc() + chrono::TimeDelta::days(1);
            db.advance((noon - now).to_std().unwrap()).await;
            assert_eq!(scheduler.tick().await.unwrap(), fires, "{policy}");
            assert_eq!(scheduler.tick().await.unwrap(), 0, "{policy}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_schedule_does_not_fire() {
        let db = Database::new().await;
        let scheduler = scheduler(&db).await;
        sqlx::query("update greenroom.schedules set paused = true").execute(db.pool()).await.unwrap();
        db.advance(DAY).await;
        assert_eq!(scheduler.tick().await.unwrap(), 0);
    }
}
