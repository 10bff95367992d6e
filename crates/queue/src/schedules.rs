//! Schedules as operators see and change them, in `greenroom.schedules`.
//!
//! What is written here the scheduler reads at its next look, a second later at most. None of it needs
//! the code that declares a schedule, so every release can do it for every other.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use serde_json::Value;
use sqlx::{Acquire, PgConnection};

use crate::{CatchUp, Cron, QueueError};

/// A schedule as it stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ScheduleRow {
    /// Its name: the kind of its jobs, where the code declares it.
    pub name: String,
    /// The kind of its jobs.
    pub kind: String,
    /// The expression in force.
    pub cron: String,
    /// The zone in force.
    pub timezone: String,
    /// What becomes of missed ticks: `skip`, `latest` or `all`.
    pub catch_up: String,
    /// Whether operators decided the three, and not the code.
    pub overridden: bool,
    /// The expression that the code declares.
    pub declared_cron: Option<String>,
    /// The zone that the code declares.
    pub declared_timezone: Option<String>,
    /// What the code says is to become of missed ticks.
    pub declared_catch_up: Option<String>,
    /// When a scheduler last said that its code has it.
    pub declared_at: Option<DateTime<Utc>>,
    /// Whether schedulers have run since without its code: then it does not fire.
    pub undeclared: bool,
    /// What its jobs are asked to do.
    pub payload: Value,
    /// Whether operators paused it.
    pub paused: bool,
    /// The tick that was enqueued last.
    pub last_fire_at: Option<DateTime<Utc>>,
    /// The job of that tick.
    pub last_job_id: Option<JobId>,
    /// How that job stands: its status, or why it failed; nothing when its row is gone.
    pub last_outcome: Option<String>,
    /// The tick that comes next, or is late.
    pub next_fire_at: Option<DateTime<Utc>>,
    /// By how many seconds it is late.
    pub lag_secs: f64,
    /// Ticks that enqueued nothing, since the job of an earlier one was still open.
    pub skipped: i64,
    /// Why it cannot fire.
    pub error: Option<String>,
    /// The database's time when this was read.
    #[serde(skip)]
    pub now: DateTime<Utc>,
}

impl ScheduleRow {
    /// Returns the coming ticks, of which the first may be late; what is paused has them too.
    pub fn upcoming(&self, n: usize) -> Vec<DateTime<Utc>> {
        let Ok(cron) = Cron::parse(&self.cron, &self.timezone) else {
            return Vec::new();
        };
        let first = self.next_fire_at.or_else(|| cron.next_after(self.now));
        std::iter::successors(first, |fire| cron.next_after(self.now.max(*fire))).take(n).collect()
    }
}

/// What operators decide about a schedule; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Override {
    /// The expression.
    pub cron: Option<String>,
    /// The zone whose wall clock it means.
    pub timezone: Option<String>,
    /// What becomes of ticks that were missed.
    pub catch_up: Option<CatchUp>,
}

/// Lists the schedules, by name; with a name, that one alone.
pub async fn list(conn: &mut PgConnection, name: Option<&str>) -> Result<Vec<ScheduleRow>, QueueError> {
    let mut rows = sqlx::query_as!(
        ScheduleRow,
        r#"
        select s.name, s.kind, s.cron, s.timezone, s.catch_up, s.overridden, s.declared_cron, s.declared_timezone,
               s.declared_catch_up, s.declared_at, s.payload, s.paused, s.last_fire_at, s.next_fire_at, s.skipped, s.error,
               s.last_job_id as "last_job_id: JobId",
               coalesce(j.failure, j.status) as last_outcome,
               -- Schedulers say every minute what their code has.
               coalesce(s.declared_at < (select max(declared_at) from greenroom.schedules) - interval '3 min', false)
                   as "undeclared!",
               greatest(0, extract(epoch from greenroom.now() - s.next_fire_at))::float8 as "lag_secs!",
               greenroom.now() as "now!"
          from greenroom.schedules s left join background_jobs j on j.id = s.last_job_id
         where $1::text is null or s.name = $1
         order by s.name
        "#,
        name
    )
    .fetch_all(conn)
    .await?;
    for row in &mut rows {
        // A mistake is told before its tick comes.
        if let Err(error) = Cron::parse(&row.cron, &row.timezone) {
            row.error = Some(error.to_string());
        }
    }
    Ok(rows)
}

/// Returns one schedule.
pub async fn show(conn: &mut PgConnection, name: &str) -> Result<ScheduleRow, QueueError> {
    list(conn, Some(name)).await?.pop().ok_or_else(|| QueueError::NoSchedule(name.to_owned()))
}

/// Pauses schedules, or lets them go on; none of them where one does not exist.
///
/// What was missed meanwhile follows each one's `catch_up`.
pub async fn pause(conn: &mut PgConnection, names: &[String], paused: bool) -> Result<(), QueueError> {
    let mut tx = conn.begin().await?;
    let there = sqlx::query_scalar!(
        r#"
        update greenroom.schedules s set paused = $2, updated_at = greenroom.now()
          from (select name from greenroom.schedules where name = any($1) order by name for no key update) named
         where s.name = named.name
        returning s.name
        "#,
        names,
        paused,
    )
    .fetch_all(&mut *tx)
    .await?;
    if let Some(missing) = names.iter().find(|name| !there.contains(name)) {
        return Err(QueueError::NoSchedule(missing.clone()));
    }
    tx.commit().await?;
    Ok(())
}

/// Overrides what the code declares. A tick that is due already still comes.
pub async fn set(conn: &mut PgConnection, name: &str, to: &Override) -> Result<(), QueueError> {
    let mut tx = conn.begin().await?;
    let row = sqlx::query!(
        "select cron, timezone from greenroom.schedules where name = $1 for no key update",
        name
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| QueueError::NoSchedule(name.to_owned()))?;
    let (cron, timezone) =
        (to.cron.as_ref().unwrap_or(&row.cron), to.timezone.as_ref().unwrap_or(&row.timezone));
    Cron::parse(cron, timezone)?;
    sqlx::query!(
        r#"
        update greenroom.schedules
           set cron = $2, timezone = $3, catch_up = coalesce($4, catch_up), error = null,
               -- Those that no code declares have nothing to override.
               overridden = declared_at is not null,
               next_fire_at = case when next_fire_at <= greenroom.now() or (cron, timezone) = ($2, $3)
                                   then next_fire_at end,
               updated_at = greenroom.now()
         where name = $1
        "#,
        name,
        cron,
        timezone,
        to.catch_up.map(CatchUp::as_str),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Goes back to what the code declares. A tick that is due already still comes.
pub async fn reset(conn: &mut PgConnection, name: &str) -> Result<(), QueueError> {
    let reset = sqlx::query!(
        r#"
        update greenroom.schedules
           set cron = declared_cron, timezone = declared_timezone, catch_up = declared_catch_up,
               overridden = false, error = null,
               next_fire_at = case when next_fire_at <= greenroom.now()
                                     or (cron, timezone) = (declared_cron, declared_timezone) then next_fire_at end,
               updated_at = greenroom.now()
         where name = $1 and declared_at is not null
        "#,
        name
    )
    .execute(&mut *conn)
    .await?;
    if reset.rows_affected() == 0 {
        show(conn, name).await?;
        return Err(QueueError::NotDeclared(name.to_owned()));
    }
    Ok(())
}
