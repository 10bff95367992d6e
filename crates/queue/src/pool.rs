//! Pools: outside budgets that jobs share, over kinds, queues and processes.
//!
//! A pool has a cap on the jobs that run at once, which the claim counts from the jobs themselves, and a
//! budget of units a window, such as a platform's daily quota. The claim admits no job while no unit is
//! left; a handler spends units call by call ([`crate::Context::spend`], and `units.rs` for how).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tracing::warn;

use crate::{Cron, QueueError};

/// A pool as code declares it; operators may decide otherwise in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pool {
    /// Its name, by which kinds draw on it.
    pub name: &'static str,
    /// Jobs that may run at once, over all workers.
    pub cap: Option<u32>,
    /// Units that may be spent in a window, and when windows end.
    pub budget: Option<Budget>,
}

/// Units a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Units that may be spent in a window.
    pub units: u32,
    /// When a window ends and the next begins: a cron expression.
    pub cron: &'static str,
    /// The time zone of the expression.
    pub timezone: &'static str,
}

impl Pool {
    /// Returns a pool without limits.
    pub const fn named(name: &'static str) -> Self {
        Self { name, cap: None, budget: None }
    }

    /// Sets how many jobs may run at once.
    pub const fn cap(mut self, jobs: u32) -> Self {
        assert!(jobs > 0, "a pool that runs nothing blocks for ever");
        self.cap = Some(jobs);
        self
    }

    /// Sets how many units may be spent in a window.
    pub const fn budget(mut self, units: u32, cron: &'static str, timezone: &'static str) -> Self {
        self.budget = Some(Budget { units, cron, timezone });
        self
    }
}

/// Writes what code declares; what operators decided stays.
pub(crate) async fn declare(conn: &mut PgConnection, pools: &[Pool]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into greenroom.pools as p (name, cap, budget, window_cron, window_timezone)
        select * from unnest($1::text[], $2::int4[], $3::int8[], $4::text[], $5::text[]) as g
         order by 1   -- so that processes that start together do not wait for each other in a circle
        on conflict (name) do update
           set cap = excluded.cap, budget = excluded.budget, window_cron = excluded.window_cron,
               window_timezone = excluded.window_timezone, granted = least(p.granted, excluded.budget),
               -- Another window begins when the sweeper has computed its end.
               window_ends_at = case when p.window_cron = excluded.window_cron
                                      and p.window_timezone = excluded.window_timezone then p.window_ends_at end,
               updated_at = greenroom.now()
         where not p.overridden
           and (p.cap, p.budget, p.window_cron, p.window_timezone) is distinct from
               (excluded.cap, excluded.budget, excluded.window_cron, excluded.window_timezone)
        "#,
        &pools.iter().map(|pool| pool.name.to_owned()).collect::<Vec<_>>(),
        &pools.iter().map(|pool| pool.cap.map(u32::cast_signed)).collect::<Vec<_>>() as &[Option<i32>],
        &pools.iter().map(|pool| pool.budget.map(|b| i64::from(b.units))).collect::<Vec<_>>() as &[Option<i64>],
        &pools.iter().map(|pool| pool.budget.map(|b| b.cron.to_owned())).collect::<Vec<_>>() as &[Option<String>],
        &pools
            .iter()
            .map(|pool| pool.budget.map_or("UTC", |b| b.timezone).to_owned())
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Begins the next window of pools whose window is over. The value seen is the guard: two who do it at
/// once begin one window.
pub(crate) async fn renew_windows(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let over = sqlx::query!(
        r#"
        select name, window_cron as "cron!", window_timezone as timezone, window_ends_at as ends_at,
               greenroom.now() as "now!"
          from greenroom.pools
         where window_cron is not null and (window_ends_at is null or window_ends_at <= greenroom.now())
        "#
    )
    .fetch_all(&mut *conn)
    .await?;
    for pool in over {
        let next = Cron::parse(&pool.cron, &pool.timezone).map(|cron| cron.next_after(pool.now));
        let Ok(Some(next)) = next else {
            warn!(
                pool = pool.name,
                cron = pool.cron,
                "The pool has no next window: correct its cron expression"
            );
            continue;
        };
        sqlx::query!(
            "update greenroom.pools set granted = 0, window_ends_at = $3, updated_at = greenroom.now()
              where name = $1 and window_ends_at is not distinct from $2",
            pool.name,
            pool.ends_at,
            next,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// A pool as it stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// Jobs that may run at once.
    pub cap: Option<i32>,
    /// Jobs that run, counted no further than its cap, or than a thousand.
    pub running: i64,
    /// Units that may be spent in a window.
    pub budget: Option<i64>,
    /// Units of this window that processes hold or have spent.
    pub granted: i64,
    /// When windows end, as a cron expression.
    pub window_cron: Option<String>,
    /// The time zone of the expression.
    pub window_timezone: String,
    /// When this window ends.
    pub window_ends_at: Option<DateTime<Utc>>,
    /// Whether operators decided its limits, and not the code.
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

/// Lists the pools by name.
pub async fn pools(conn: &mut PgConnection) -> Result<Vec<PoolRow>, QueueError> {
    Ok(sqlx::query_as!(
        PoolRow,
        r#"
        select p.name, p.cap, r.n as "running!", p.budget, p.granted, p.window_cron, p.window_timezone,
               p.window_ends_at, p.overridden, p.paused, p.failures, p.open_until, p.open_reason
          from greenroom.pools p
         cross join lateral (
               select count(*) as n from (select from background_jobs b
                                           where b.pool = p.name and b.pool <> '' and b.status = 'running'
                                           limit coalesce(p.cap, 1000)) running) r
         order by p.name
        "#
    )
    .fetch_all(conn)
    .await?)
}

/// The limits of a pool, as an operator decides them.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Jobs that may run at once.
    pub cap: Option<u32>,
    /// Units that may be spent in a window.
    pub units: Option<u32>,
    /// When windows end: a cron expression, in the pool's time zone.
    pub cron: Option<String>,
    /// The time zone of the expression.
    pub timezone: Option<String>,
}

/// Overrides limits of a pool; those that are not named stay. What is declared in code is not written any
/// more, until [`reset`]. A new window begins where its expression changes.
pub async fn set_limits(conn: &mut PgConnection, name: &str, limits: &Limits) -> Result<(), QueueError> {
    let now = sqlx::query!(
        r#"select window_cron, window_timezone, budget from greenroom.pools where name = $1"#,
        name
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| no_such(name))?;
    let timezone = limits.timezone.as_deref().unwrap_or(&now.window_timezone);
    let cron = limits.cron.as_deref().or(now.window_cron.as_deref());
    if let Some(cron) = cron {
        Cron::parse(cron, timezone)?;
    } else if limits.units.or(now.budget.map(|_| 0)).is_some() {
        return Err(QueueError::NoWindow(name.to_owned()));
    }
    sqlx::query!(
        r#"
        update greenroom.pools p
           set overridden = true,
               cap = coalesce($2, p.cap), budget = coalesce($3, p.budget), window_cron = $4, window_timezone = $5,
               granted = least(p.granted, coalesce($3, p.budget)),
               window_ends_at = case when p.window_cron = $4 and p.window_timezone = $5 then p.window_ends_at end,
               updated_at = greenroom.now()
         where name = $1
        "#,
        name,
        limits.cap.map(u32::cast_signed),
        limits.units.map(i64::from),
        cron,
        timezone,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives the pool's limits back to the code, which writes them when the next process starts.
pub async fn reset(conn: &mut PgConnection, name: &str) -> Result<(), QueueError> {
    let reset = sqlx::query!("update greenroom.pools set overridden = false where name = $1", name);
    if reset.execute(conn).await?.rows_affected() == 0 { Err(no_such(name)) } else { Ok(()) }
}

fn no_such(name: &str) -> QueueError {
    QueueError::NoSuch { what: "pool", name: name.to_owned() }
}
