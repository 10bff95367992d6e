//! Breakers: what stands between jobs and an outside that does not serve.
//!
//! A breaker belongs to a pool or to a lane and is a state of its row, so all workers see the same. A
//! handler's failure trips it ([`crate::Stop::trip`]): at once when the outside said until when, else
//! after some failures in a row. While it is open its jobs wait and burn no attempt. Then it is half-open:
//! one job goes alone, and its outcome closes the breaker or opens it for twice as long.

use std::fmt;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use sqlx::PgConnection;
use tracing::{error, info};

use crate::claim::interval;
use crate::settle::{Settlement, Verdict};
use crate::{QueueError, Settings, lane};

/// A breaker, by the row that it is a state of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// That of a lane, by its id.
    Lane(i64),
    /// That of a pool, by its name.
    Pool(String),
}

impl Breaker {
    /// Finds a lane's breaker by the lane's names.
    pub async fn lane(
        conn: &mut PgConnection,
        queue: &str,
        pool: &str,
        key: &str,
    ) -> Result<Self, QueueError> {
        let id = sqlx::query_scalar!(
            "select id from greenroom.lanes where id = greenroom.lane_id($1, $2, $3)",
            queue,
            pool,
            key
        );
        let id = id.fetch_optional(conn).await?;
        id.map(Self::Lane).ok_or_else(|| QueueError::NoSuch { what: "lane", name: key.to_owned() })
    }

    const fn scope(&self) -> &'static str {
        match self {
            Self::Lane(_) => "lane",
            Self::Pool(_) => "pool",
        }
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(id) => write!(f, "lane {id}"),
            Self::Pool(name) => write!(f, "pool {name}"),
        }
    }
}

/// What a failure did to a breaker.
struct Tripped {
    open: bool,
    /// It was this failure that opened it.
    opened: bool,
    open_until: Option<DateTime<Utc>>,
}

/// Writes to the breakers what these outcomes say of them. A job that met an open breaker, or opened it,
/// is given back: it keeps its place and its attempt. Returns the breakers that have counted a failure and
/// are closed: a success closes such a count.
pub(crate) async fn heed(
    conn: &mut PgConnection,
    batch: &mut [Settlement],
    settings: &Settings,
) -> Result<Vec<Breaker>, sqlx::Error> {
    let mut suspects = Vec::new();
    for job in batch.iter_mut() {
        match (&job.verdict, &job.probes) {
            (Verdict::Tripped { breaker, until, error, after }, probes) => {
                let went_alone = probes.as_ref() == Some(breaker);
                let tripped = trip(conn, breaker, *until, went_alone, error, settings).await?;
                if tripped.opened {
                    alert(breaker, job, error, tripped.open_until);
                }
                let (error, after) = (error.clone(), *after);
                if !tripped.open {
                    suspects.push(breaker.clone());
                }
                job.verdict = if tripped.open {
                    Verdict::Released { after: None, reason: error }
                } else {
                    Verdict::Retry { error, after }
                };
            }
            (Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction, Some(breaker)) => {
                heal(conn, breaker).await?;
                info!("The breaker of {breaker} closed");
            }
            // Who went alone and says nothing of the outside lets the next one try, since he runs no more.
            _ => {}
        }
    }
    Ok(suspects)
}

async fn trip(
    conn: &mut PgConnection,
    breaker: &Breaker,
    until: Option<DateTime<Utc>>,
    probed: bool,
    reason: &str,
    settings: &Settings,
) -> Result<Tripped, sqlx::Error> {
    let threshold = settings.breaker_threshold;
    let (wait, longest) = (interval(settings.breaker_wait()), interval(settings.breaker_longest_wait()));
    let spread: f64 = rand::rng().random_range(0.75..=1.25);
    let row = match breaker {
        Breaker::Pool(name) => {
            sqlx::query_as!(
                Tripped,
                r#"
                with before as (
                    select name, failures, trips, open_until is not null as was_open
                      from greenroom.pools where name = $1 for no key update
                ), decided as (
                    select *, $2::timestamptz is not null or $3
                              or (not was_open and failures + 1 >= $4) as opens from before
                )
                update greenroom.pools p
                   set failures = d.failures + 1,
                       trips = d.trips + d.opens::int,
                       open_until = case when d.opens then greatest(p.open_until, coalesce($2,
                           greenroom.now() + least($6::interval, $5::interval * power(2, least(d.trips, 20))) * $7::float8)) else p.open_until end,
                       open_reason = case when d.opens then $8 else p.open_reason end,
                       updated_at = greenroom.now()
                  from decided d
                 where p.name = d.name
                returning p.open_until is not null as "open!", d.opens and not d.was_open as "opened!", p.open_until
                "#,
                name, until, probed, threshold, wait, longest, spread, reason,
            )
            .fetch_optional(&mut *conn)
            .await?
        }
        Breaker::Lane(id) => {
            sqlx::query_as!(
                Tripped,
                r#"
                with before as (
                    select id, failures, trips, open_until is not null as was_open
                      from greenroom.lanes where id = $1 for no key update
                ), decided as (
                    select *, $2::timestamptz is not null or $3
                              or (not was_open and failures + 1 >= $4) as opens from before
                )
                update greenroom.lanes l
                   set failures = d.failures + 1,
                       trips = d.trips + d.opens::int,
                       open_until = case when d.opens then greatest(l.open_until, coalesce($2,
                           greenroom.now() + least($6::interval, $5::interval * power(2, least(d.trips, 20))) * $7::float8)) else l.open_until end,
                       open_reason = case when d.opens then $8 else l.open_reason end
                  from decided d
                 where l.id = d.id
                returning l.open_until is not null as "open!", d.opens and not d.was_open as "opened!", l.open_until
                "#,
                id, until, probed, threshold, wait, longest, spread, reason,
            )
            .fetch_optional(&mut *conn)
            .await?
        }
    };
    if let (Breaker::Lane(id), Some(Tripped { open: true, .. })) = (breaker, &row) {
        lane::hush(conn, *id).await?;
    }
    Ok(row.unwrap_or(Tripped { open: false, opened: false, open_until: None }))
}

/// Says once that a breaker opened; the jobs that wait for it say nothing.
fn alert(breaker: &Breaker, job: &Settlement, reason: &str, until: Option<DateTime<Utc>>) {
    let until = until.map(|until| until.to_rfc3339()).unwrap_or_default();
    error!(job.id = %job.id, reason, "The breaker of {breaker} opened; its jobs wait until {until}");
    metrics::counter!("greenroom_breakers_opened_total", "scope" => breaker.scope()).increment(1);
}

/// Closes a breaker at once, as an operator who knows that the outside serves again.
pub async fn close_breaker(conn: &mut PgConnection, breaker: &Breaker) -> Result<(), QueueError> {
    if let Breaker::Pool(name) = breaker {
        sqlx::query_scalar!("select name from greenroom.pools where name = $1", name)
            .fetch_optional(&mut *conn)
            .await?
            .ok_or_else(|| QueueError::NoSuch { what: "pool", name: name.clone() })?;
    }
    heal(conn, breaker).await?;
    Ok(())
}

/// Forgets a breaker's failures, and closes it where it was open.
pub(crate) async fn heal(conn: &mut PgConnection, breaker: &Breaker) -> Result<(), sqlx::Error> {
    match breaker {
        Breaker::Pool(name) => {
            sqlx::query!(
                "update greenroom.pools
                    set failures = 0, trips = 0, open_until = null, open_reason = null,
                        updated_at = greenroom.now()
                  where name = $1",
                name
            )
            .execute(conn)
            .await?;
        }
        Breaker::Lane(id) => {
            sqlx::query!(
                "update greenroom.lanes
                    set failures = 0, trips = 0, open_until = null, open_reason = null
                  where id = $1",
                id
            )
            .execute(&mut *conn)
            .await?;
            lane::rouse(conn, *id).await?;
        }
    }
    Ok(())
}

/// Wakes lanes whose breakers have been open long enough: one job of each may try. Returns their queues.
pub(crate) async fn half_open(conn: &mut PgConnection, batch: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with over as (
            select id from greenroom.lanes
             where open_until <= greenroom.now() and not paused
               -- One whose probe is under way sleeps until that has ended.
               and not exists (select from background_jobs r where r.lane = lanes.id and r.lane > 0 and r.status = 'running')
             order by open_until limit $1 for no key update skip locked
        )
        select distinct queue as "queue!" from greenroom.rouse((select array_agg(id) from over), null)
        "#,
        batch
    )
    .fetch_all(conn)
    .await
}
