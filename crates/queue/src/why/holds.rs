//! What holds up a job: its queue, its kind, its pool, its lane.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use sqlx::PgConnection;

use super::{MANY, Position, Reason, many, quoted};
use crate::QueueError;
use crate::control::JobRow;

/// Its queue or its kind is paused.
pub(super) async fn of_queue(
    conn: &mut PgConnection,
    job: &JobRow,
    at: &Position,
) -> Result<Vec<Reason>, QueueError> {
    let paused = sqlx::query!(
        r#"
        select exists (select from greenroom.queues where name = $1 and paused) as "queue!",
               exists (select from greenroom.kinds where kind = $2 and paused) as "kind!"
        "#,
        job.queue,
        job.kind,
    )
    .fetch_one(conn)
    .await?;
    let mut reasons = Vec::new();
    if paused.kind {
        reasons.push(
            Reason::new("kind_paused", format!("its kind {} is paused", job.kind))
                .command(format!("greenroom queues resume --kind {}", quoted(&job.kind))),
        );
    } else if at.held.as_deref() == Some("kind") {
        let text = if at.swept {
            "its kind was resumed, and the sweeper puts it back within a second or so"
        } else {
            "its kind was resumed, but nobody sweeps: start a worker, of any queue"
        };
        reasons.push(Reason::new("kind_paused", text));
    }
    if paused.queue {
        reasons.push(
            Reason::new("queue_paused", format!("its queue {} is paused", job.queue))
                .command(format!("greenroom queues resume {}", quoted(&job.queue))),
        );
    }
    Ok(reasons)
}

/// Its pool admits nothing, or nobody asks it.
pub(super) async fn of_pool(
    conn: &mut PgConnection,
    job: &JobRow,
    at: &Position,
) -> Result<Vec<Reason>, QueueError> {
    if at.pool.is_empty() {
        return Ok(Vec::new());
    }
    let mut reasons = Vec::new();
    // Workers claim from the pools that their kinds name.
    let is_asked: bool = sqlx::query_scalar!(
        r#"select exists (select from greenroom.kinds where queue = $1 and pool = $2) as "is!""#,
        job.queue,
        at.pool,
    )
    .fetch_one(&mut *conn)
    .await?;
    if !is_asked {
        let text = format!(
            "no kind of the queue {} draws on the pool {} any more, so no worker claims it: cancel it and enqueue it anew",
            job.queue, at.pool
        );
        reasons.push(Reason::new("no_worker", text));
    }
    let pool = sqlx::query!("select * from greenroom.pools where name = $1", at.pool)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(pool) = pool else { return Ok(reasons) };
    let name = quoted(&pool.name);
    if pool.paused {
        reasons.push(
            Reason::new("pool_paused", format!("its pool {} is paused", pool.name))
                .command(format!("greenroom queues resume --pool {name}")),
        );
    }
    if let Some(until) = pool.open_until {
        let what = format!("pool {}", pool.name);
        reasons.push(
            breaker(&what, until, at.now, pool.open_reason.as_deref())
                .command(format!("greenroom queues close-breaker --pool {name}")),
        );
    }
    if let Some(budget) = pool.budget.filter(|budget| pool.granted >= *budget) {
        let text = format!("its pool {} has spent the {budget} units of this window", pool.name);
        reasons.push(Reason::new("pool_empty", text).until(pool.window_ends_at));
    }
    if let Some(cap) = pool.cap {
        let running = sqlx::query_scalar!(
            r#"select id as "id: JobId" from background_jobs
                where pool = $1 and pool <> '' and status = 'running' limit $2"#,
            at.pool,
            i64::from(cap),
        )
        .fetch_all(conn)
        .await?;
        if is_full(&running, cap) {
            let text =
                format!("its pool {} runs {}, and no more at once", pool.name, many(cap.into(), "job"));
            reasons.push(Reason::new("pool_full", text).held_by(running));
        }
    }
    Ok(reasons)
}

/// Its lane gives nothing, or sleeps although it could.
pub(super) async fn of_lane(
    conn: &mut PgConnection,
    job: &JobRow,
    at: &Position,
) -> Result<Vec<Reason>, QueueError> {
    let lane = sqlx::query!(
        "select l.*, t.head, t.awake from greenroom.lanes l join greenroom.turns t on t.lane = l.id where l.id = $1",
        at.lane
    )
    .fetch_optional(&mut *conn)
        .await?;
    let Some(lane) = lane else {
        return Ok(asleep("its lane is not known yet", at).into_iter().collect());
    };
    let mut reasons = Vec::new();
    let named = || {
        let pool = if at.pool.is_empty() { String::new() } else { format!(" --pool {}", quoted(&at.pool)) };
        format!("{} --lane {}{pool}", quoted(&job.queue), quoted(&lane.key))
    };
    if lane.paused {
        reasons.push(
            Reason::new("lane_paused", format!("its lane {} is paused", lane.key))
                .command(format!("greenroom queues resume {}", named())),
        );
    }
    if let Some(until) = lane.open_until {
        let what = format!("lane {}", lane.key);
        reasons.push(
            breaker(&what, until, at.now, lane.open_reason.as_deref())
                .command(format!("greenroom queues close-breaker {}", named())),
        );
    }
    if let Some(cap) = lane.cap {
        let running = sqlx::query_scalar!(
            r#"select id as "id: JobId" from background_jobs where lane = $1 and lane > 0 and status = 'running' limit $2"#,
            at.lane,
            i64::from(cap),
        )
        .fetch_all(&mut *conn)
        .await?;
        if is_full(&running, cap) {
            let place = match before(conn, job, at).await? {
                0 => "it is the next one of it".to_owned(),
                1 => "1 job of it comes before".to_owned(),
                more => format!("{} of it come before", many(more, "job")),
            };
            let text = format!(
                "its lane {} runs {}, and no more at once; {place}",
                lane.key,
                many(cap.into(), "job")
            );
            reasons.push(Reason::new("lane_full", text).held_by(running));
        }
    }
    // A claim that just emptied it, or waits for the one job of a breaker, lets it sleep rightly.
    if reasons.is_empty() && (!lane.awake || at.rank.is_some_and(|rank| rank < lane.head)) {
        reasons.extend(asleep(&format!("its lane {} sleeps although it could go on", lane.key), at));
    }
    Ok(reasons)
}

/// Counts the jobs of its lane that come before it. Those of one SQL insert share a rank, and go about in the
/// order of their ids.
pub(super) async fn before(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<i64, QueueError> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) filter (where rank < $2 or id < $3) as "n!"
             from (select id, rank from background_jobs
                    where lane = $1 and status = 'pending' and rank <= $2 order by rank limit $4) jobs"#,
        at.lane,
        at.rank,
        job.id.0,
        MANY,
    )
    .fetch_one(conn)
    .await?)
}

/// The claim does not look at a lane that sleeps; a wake was lost, or is on its way.
fn asleep(says: &str, at: &Position) -> Option<Reason> {
    // Whoever gives it a rank wakes its lane.
    at.rank?;
    let then = if at.swept {
        "the sweeper wakes it within a second or so"
    } else {
        "nobody sweeps: start a worker, of any queue"
    };
    Some(Reason::new("asleep", format!("{says}; {then}")))
}

fn is_full(running: &[JobId], cap: i32) -> bool {
    usize::try_from(cap).is_ok_and(|cap| running.len() >= cap)
}

fn breaker(what: &str, until: DateTime<Utc>, now: DateTime<Utc>, reason: Option<&str>) -> Reason {
    let reason = reason.unwrap_or("it failed too often");
    if until > now {
        let text = format!("the breaker of its {what} is open: {reason}");
        Reason::new("breaker_open", text).until(Some(until))
    } else {
        let text = format!("the breaker of its {what} is half-open, and one job tries alone: {reason}");
        Reason::new("breaker_half_open", text)
    }
}
