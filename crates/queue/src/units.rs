//! Units of a pool, spent call by call.
//!
//! Processes take units in grants of some seconds and spend them without asking, so the row of a busy
//! pool is not hot. A process that dies leaves its grant as spent: a budget is never exceeded, and at
//! worst a little of it is lost until the next window.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::warn;

use crate::QueueError;
use crate::claim::timed;

/// How long a grant is kept before what is left of it goes back.
const HOLD: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many calls' worth the first grant is.
const FIRST_GRANT: i64 = 10;

/// Counts units that were spent outside of any job, as far as the window has them.
pub async fn note_spent(conn: &mut PgConnection, pool: &str, units: u32) -> Result<(), QueueError> {
    sqlx::query!(
        "update greenroom.pools set granted = least(granted + $2, budget), updated_at = greenroom.now()
          where name = $1 and budget is not null",
        pool,
        i64::from(units),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a process holds of one pool.
#[derive(Debug, Default)]
struct Grant {
    left: i64,
    /// Units of the last grant, by whose use the next one is measured.
    size: i64,
    taken_at: Option<Instant>,
    window_ends_at: Option<DateTime<Utc>>,
    /// When the window ends, on this process's own clock.
    ends: Option<Instant>,
    /// Until when it is known that the pool has no budget.
    unlimited_until: Option<Instant>,
}

impl Grant {
    /// Returns how many units were spent in a second since the last grant.
    fn next_size(&self) -> i64 {
        let secs = self.taken_at.map_or(1.0, |at| at.elapsed().as_secs_f64().max(0.01));
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate")]
        let in_a_second = (self.size as f64 / secs) as i64;
        in_a_second
    }
}

/// The units that this process holds of every pool.
#[derive(Clone, Debug)]
pub(crate) struct Units {
    pool: PgPool,
    grants: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<Grant>>>>>,
}

impl Units {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, grants: Arc::default() }
    }

    fn grant(&self, pool: &str) -> Arc<tokio::sync::Mutex<Grant>> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(grants.entry(pool.to_owned()).or_default())
    }

    /// Spends units of a pool, of which a kind may use `share` percent.
    pub(crate) async fn spend(&self, pool: &str, units: u32, share: u8) -> Result<(), QueueError> {
        let units = i64::from(units);
        let grant = self.grant(pool);
        let mut grant = grant.lock().await;
        let now = Instant::now();
        if grant.unlimited_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        if grant.ends.is_none_or(|ends| now >= ends) {
            // What was left belongs to a window that is over.
            *grant = Grant { size: grant.size, ..Grant::default() };
        }
        // A share can only be judged against the row, so whoever has one asks for each spending.
        if share >= 100 && grant.left >= units {
            grant.left -= units;
            return Ok(());
        }
        let (least, wanted) = if share >= 100 {
            (units - grant.left, grant.next_size().max(units * FIRST_GRANT))
        } else {
            (units, units)
        };
        match self.take(pool, least, wanted, share).await? {
            Taken::Unlimited => grant.unlimited_until = Some(now + HOLD),
            Taken::Some { units: taken, ends_at, secs_left } => {
                if share >= 100 {
                    grant.left += taken - units;
                    grant.size = taken;
                    grant.taken_at = Some(now);
                    grant.window_ends_at = Some(ends_at);
                    grant.ends = Some(now + Duration::try_from_secs_f64(secs_left).unwrap_or_default());
                }
            }
            Taken::None { until } => return Err(QueueError::NoUnits { pool: pool.to_owned(), until }),
        }
        Ok(())
    }

    async fn take(&self, pool: &str, least: i64, wanted: i64, share: u8) -> Result<Taken, QueueError> {
        let row = timed(&self.pool, STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            sqlx::query!(
                r#"
                with before as (
                    -- A grant is at most a twentieth of the rest, so that the last units do not lie idle with
                    -- one process while another has work for them, and a process that dies takes few along.
                    select name, case when rest < $2 then rest else greatest($2, least($3, rest / 20)) end as units
                      from (select name, budget * $4::int8 / 100 - granted as rest
                              from greenroom.pools where name = $1 for no key update) p
                ), taken as (
                    update greenroom.pools p set granted = p.granted + b.units, updated_at = greenroom.now()
                      from before b
                     where p.name = b.name and b.units >= $2 and p.window_ends_at > greenroom.now()
                    returning p.name, b.units
                )
                select t.units as "units?", p.budget is null as "unlimited!", p.window_ends_at as ends_at,
                       extract(epoch from p.window_ends_at - greenroom.now())::float8 as secs_left,
                       greenroom.now() as "now!"
                  from greenroom.pools p left join taken t on t.name = p.name
                 where p.name = $1
                "#,
                pool,
                least,
                wanted,
                i64::from(share),
            )
            .fetch_optional(conn)
            .await
        })
        .await?;
        Ok(match row {
            None => Taken::Unlimited,
            Some(row) if row.unlimited => Taken::Unlimited,
            Some(row) => match (row.units, row.ends_at, row.secs_left) {
                (Some(units), Some(ends_at), Some(secs_left)) => Taken::Some { units, ends_at, secs_left },
                // The next window is about to begin, or was never computed: the sweeper does.
                (_, ends_at, _) => {
                    let soon = row.now + chrono::TimeDelta::seconds(1);
                    Taken::None { until: ends_at.map_or(soon, |at| at.max(soon)) }
                }
            },
        })
    }

    /// Gives back what is left of grants that are older than `age`.
    pub(crate) async fn give_back(&self, age: Duration) {
        let grants: Vec<(String, Arc<tokio::sync::Mutex<Grant>>)> = {
            let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
            grants.iter().map(|(name, grant)| (name.clone(), Arc::clone(grant))).collect()
        };
        for (pool, grant) in grants {
            let mut grant = grant.lock().await;
            if grant.left == 0 || grant.taken_at.is_none_or(|at| at.elapsed() < age) {
                continue;
            }
            let (left, ends_at) = (grant.left, grant.window_ends_at);
            let returned = timed(&self.pool, STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
                sqlx::query!(
                    // Of the same window only: in a later one they were never granted.
                    "update greenroom.pools set granted = greatest(0, granted - $2), updated_at = greenroom.now()
                      where name = $1 and window_ends_at is not distinct from $3",
                    pool,
                    left,
                    ends_at,
                )
                .execute(conn)
                .await
            });
            match returned.await {
                Ok(_) => *grant = Grant::default(),
                // Whether it was written is not known, so they count as spent.
                Err(error) => {
                    warn!(pool, %error, "Could not give back {left} units; they count as spent");
                    *grant = Grant::default();
                }
            }
        }
    }

    /// Gives back what is old, from time to time.
    pub(crate) async fn keep_house(self) {
        loop {
            tokio::time::sleep(HOLD).await;
            self.give_back(HOLD).await;
        }
    }
}

/// What asking for units brought.
enum Taken {
    Unlimited,
    Some { units: i64, ends_at: DateTime<Utc>, secs_left: f64 },
    None { until: DateTime<Utc> },
}
