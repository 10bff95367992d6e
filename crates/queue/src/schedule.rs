//! Schedules: what is enqueued when, with nobody there.
//!
//! A tick is `(name, fire time)`. Whoever moves a schedule's `next_fire_at` on, under the value he
//! saw, enqueues the tick in the same transaction: so each is enqueued once under any number of
//! schedulers. The leader is for economy.
//!
//! The code declares, and operators may override or pause ([`crate::schedules`]). What holds stands in
//! the row. A tick fires in a scheduler whose own code has the schedule, so one that no code has any more
//! stays in the table, and does nothing.

mod catch_up;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use catch_up::CatchUp;
use catch_up::{ON_TIME, missed};
use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use metrics::counter;
use sqlx::postgres::types::PgInterval;
use sqlx::{Acquire, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::claim::{interval, timed};
use crate::router::KindInfo;
use crate::{
    BuildError, Cron, CronError, Enqueued, Heartbeat, Jobs, Leader, NewJob, Queue, QueueError, enqueue,
};

const TICK: Duration = Duration::from_secs(1);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a scheduler says again what its code has.
const DECLARE_EVERY: Duration = Duration::from_mins(1);
/// How late a tick is when a scheduler fires it that does not lead: the leader's code lacks it.
const LEFT_BY_THE_LEADER: Duration = Duration::from_secs(15);

/// Enqueues what the policies of a list of jobs say is due.
#[derive(Debug)]
pub struct Scheduler {
    queue: Queue,
    jobs: Jobs,
    heartbeat: Heartbeat,
}

/// A schedule that this scheduler may fire.
struct Known {
    name: String,
    kind: String,
    cron: String,
    timezone: String,
    catch_up: String,
    payload: serde_json::Value,
    next_fire_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    /// Whether its tick has come, or is yet to be computed.
    is_due: bool,
}

/// Why a schedule cannot fire as it stands, until somebody changes its row.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Cron(#[from] CronError),
    #[error(transparent)]
    Job(#[from] BuildError),
}

/// What one look at a schedule comes to.
struct Plan {
    /// The fire times to enqueue now.
    fires: Vec<DateTime<Utc>>,
    jobs: Vec<NewJob>,
    next: Option<DateTime<Utc>>,
}

impl Scheduler {
    /// Makes a scheduler for the jobs whose policy has a cron expression.
    pub fn new(queue: Queue, jobs: Jobs) -> Self {
        Self { queue, jobs, heartbeat: Heartbeat::new() }
    }

    /// Returns what tells whether its loop turns, to be asked while it runs.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Ticks while it leads, until it is told to stop. A database that is away is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), QueueError> {
        let mut leader = Leader::new(self.queue.pool().clone(), "scheduler", Uuid::now_v7());
        let mut declared = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.heartbeat.beat();
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                turn = self.turn(&mut leader, &mut declared) => if let Err(error) = turn {
                    warn!(%error, "A tick failed; the next one goes on");
                }
            }
        }
        leader.resign().await;
        Ok(())
    }

    async fn turn(&self, leader: &mut Leader, declared: &mut Option<Instant>) -> Result<(), QueueError> {
        match declared {
            None => {
                let registered =
                    tokio::time::timeout(STATEMENT_TIMEOUT, self.jobs.register(self.queue.pool()));
                registered.await.map_err(|_| QueueError::Timeout(STATEMENT_TIMEOUT.as_millis()))??;
                self.declare().await?;
                *declared = Some(Instant::now());
            }
            Some(at) if at.elapsed() >= DECLARE_EVERY => {
                self.declare_again().await?;
                *declared = Some(Instant::now());
            }
            Some(_) => {}
        }
        let late = if leader.leads().await { Duration::ZERO } else { LEFT_BY_THE_LEADER };
        self.tick_if_late(late).await?;
        Ok(())
    }

    /// Writes the schedules that the policies declare. What an operator paused stays paused, what he
    /// overrode keeps his, and a tick that is due already still comes.
    pub async fn declare(&self) -> Result<(), QueueError> {
        let of = |field: fn(&KindInfo) -> &'static str| -> Vec<String> {
            self.scheduled().map(|info| field(info).to_owned()).collect()
        };
        let (names, crons) = (of(|info| info.kind), of(|info| info.policy.cron.unwrap_or_default()));
        let (zones, catch_ups) = (of(|info| info.policy.timezone), of(|info| info.policy.catch_up.as_str()));
        timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query!(
                r#"
                insert into greenroom.schedules as s
                       (name, kind, cron, timezone, catch_up, declared_cron, declared_timezone, declared_catch_up, declared_at)
                select name, name, cron, timezone, catch_up, cron, timezone, catch_up, greenroom.now()
                  from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as g (name, cron, timezone, catch_up)
                 order by name   -- so that schedulers that start together do not wait for each other in a circle
                on conflict (name) do update
                   set cron = case when s.overridden then s.cron else excluded.cron end,
                       timezone = case when s.overridden then s.timezone else excluded.timezone end,
                       catch_up = case when s.overridden then s.catch_up else excluded.catch_up end,
                       -- Computed anew where it changes; a tick that was missed is still to be caught up with.
                       next_fire_at = case when s.overridden or s.next_fire_at <= greenroom.now()
                                             or (s.cron, s.timezone) = (excluded.cron, excluded.timezone)
                                           then s.next_fire_at end,
                       declared_cron = excluded.declared_cron, declared_timezone = excluded.declared_timezone,
                       declared_catch_up = excluded.declared_catch_up, declared_at = excluded.declared_at,
                       updated_at = greenroom.now()
                "#,
                &names,
                &crons,
                &zones,
                &catch_ups,
            )
            .execute(conn)
            .await
        })
        .await?;
        Ok(())
    }

    /// Says that this code still has its schedules, and no more: of two releases side by side, the one
    /// that started last has the word.
    async fn declare_again(&self) -> Result<(), QueueError> {
        let names = self.names();
        timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query!(
                r#"
                update greenroom.schedules s set declared_at = greenroom.now()
                  from (select name from greenroom.schedules
                         where name = any($1) and declared_at is not null order by name for no key update) mine
                 where s.name = mine.name
                "#,
                &names
            )
            .execute(conn)
            .await
        })
        .await?;
        Ok(())
    }

    fn scheduled(&self) -> impl Iterator<Item = &KindInfo> {
        self.jobs.kinds().filter(|info| info.policy.cron.is_some())
    }

    fn names(&self) -> Vec<String> {
        self.scheduled().map(|info| info.kind.to_owned()).collect()
    }

    /// Enqueues every tick that is due; returns how many.
    pub async fn tick(&self) -> Result<usize, QueueError> {
        self.tick_if_late(Duration::ZERO).await
    }

    async fn tick_if_late(&self, late: Duration) -> Result<usize, QueueError> {
        let mut ticks = 0;
        for schedule in self.known(interval(late)).await? {
            self.heartbeat.beat();
            if !schedule.is_due {
                continue;
            }
            match self.plan(&schedule) {
                Ok(plan) => match self.fire(&schedule, &plan).await {
                    Ok(fired) => ticks += fired,
                    // One schedule that cannot fire must not hold up the others.
                    Err(error) => warn!(schedule = schedule.name, %error, "Could not enqueue the tick"),
                },
                Err(unfit) => self.note(&schedule, &unfit).await?,
            }
        }
        Ok(ticks)
    }

    /// Reads the schedules that this code has, and those that operators made for a kind it knows.
    async fn known(&self, late: PgInterval) -> Result<Vec<Known>, QueueError> {
        let (names, kinds) = (self.names(), self.jobs.kinds().map(|info| info.kind.to_owned()));
        let kinds: Vec<String> = kinds.collect();
        timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query_as!(
                Known,
                r#"
                select name, kind, cron, timezone, catch_up, payload, next_fire_at, greenroom.now() as "now!",
                       not paused and (next_fire_at is null or next_fire_at <= greenroom.now() - $3::interval) as "is_due!"
                  from greenroom.schedules
                 where case when declared_at is null then kind = any($2) else name = any($1) end
                 order by next_fire_at
                "#,
                &names,
                &kinds,
                late
            )
            .fetch_all(conn)
            .await
        })
        .await
    }

    fn plan(&self, schedule: &Known) -> Result<Plan, Unfit> {
        let cron = Cron::parse(&schedule.cron, &schedule.timezone)?;
        let (fires, next) = match schedule.next_fire_at {
            Some(first) => missed(&cron, CatchUp::parse(&schedule.catch_up), first, schedule.now),
            None => (Vec::new(), cron.next_after(schedule.now)),
        };
        let payload = schedule.payload.to_string();
        if fires.is_empty() {
            // A row that makes no job is told as wrong before its first tick comes.
            self.jobs.build(&schedule.kind, &payload, None)?;
        }
        let jobs = fires
            .iter()
            .map(|_| self.jobs.build(&schedule.kind, &payload, None))
            .collect::<Result<_, _>>()?;
        Ok(Plan { fires, jobs, next })
    }

    async fn fire(&self, schedule: &Known, plan: &Plan) -> Result<usize, QueueError> {
        let enqueued = timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            let mut tx = conn.begin().await?;
            let enqueued = move_on(&mut tx, schedule, plan).await?;
            tx.commit().await?;
            Ok(enqueued)
        })
        .await?;
        let Some(enqueued) = enqueued else {
            return Ok(0);
        };
        self.queue.wake(&enqueued);
        let Some(first) = schedule.next_fire_at else {
            return Ok(0);
        };
        if schedule.now - first > ON_TIME {
            counter!("greenroom_schedule_misfires_total", "schedule" => schedule.name.clone()).increment(1);
        }
        info!(
            schedule = schedule.name,
            "Enqueued {} of {} ticks",
            enqueued.iter().filter(|job| job.created()).count(),
            plan.fires.len()
        );
        Ok(plan.fires.len())
    }

    /// Writes down why a schedule does not fire, and says it once.
    async fn note(&self, schedule: &Known, unfit: &Unfit) -> Result<(), QueueError> {
        let error = unfit.to_string();
        let noted = timed(self.queue.pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query!(
                r#"
                update greenroom.schedules set error = $2, updated_at = greenroom.now()
                 where name = $1 and error is distinct from $2
                "#,
                schedule.name,
                error
            )
            .execute(conn)
            .await
        })
        .await?;
        if noted.rows_affected() > 0 {
            warn!(schedule = schedule.name, error, "The schedule cannot fire");
        }
        Ok(())
    }
}

/// Takes a tick, unless another scheduler was faster or somebody has changed the schedule meanwhile.
async fn move_on(
    conn: &mut PgConnection,
    schedule: &Known,
    plan: &Plan,
) -> Result<Option<Vec<Enqueued>>, sqlx::Error> {
    let mine = sqlx::query_scalar!(
        r#"
        select true as "mine!" from greenroom.schedules
         where name = $1 and next_fire_at is not distinct from $2 and cron = $3 and timezone = $4 and not paused
           for no key update skip locked
        "#,
        schedule.name,
        schedule.next_fire_at,
        schedule.cron,
        schedule.timezone,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if mine.is_none() {
        return Ok(None);
    }
    let enqueued = enqueue(conn, &plan.jobs).await.map_err(|error| match error {
        crate::EnqueueError::Database(error) => error,
        other => sqlx::Error::Encode(other.into()),
    })?;
    let skipped = enqueued.iter().filter(|job| !job.created()).count();
    sqlx::query!(
        r#"
        update greenroom.schedules
           set next_fire_at = $2, last_fire_at = coalesce($3, last_fire_at), skipped = skipped + $4,
               last_job_id = coalesce($5, last_job_id), error = null, updated_at = greenroom.now()
         where name = $1
        "#,
        schedule.name,
        plan.next,
        plan.fires.last().copied(),
        i64::try_from(skipped).unwrap_or(i64::MAX),
        enqueued.last().map(|job| job.id) as Option<JobId>,
    )
    .execute(conn)
    .await?;
    Ok(Some(enqueued))
}
