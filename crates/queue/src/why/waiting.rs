//! Why a pending job waits: each question that the claim would ask, and then whose turn it is.

use sqlx::PgConnection;

use super::{MANY, Position, Reason, SILENT_SECS, holds, many};
use crate::QueueError;
use crate::control::JobRow;

pub(super) async fn reasons(
    conn: &mut PgConnection,
    job: &JobRow,
    at: &Position,
) -> Result<Vec<Reason>, QueueError> {
    let mut reasons = Vec::new();
    reasons.extend(not_yet(conn, job, at).await?);
    reasons.extend(nobody_there(conn, job).await?);
    reasons.extend(holds::of_queue(conn, job, at).await?);
    reasons.extend(holds::of_pool(conn, job, at).await?);
    reasons.extend(holds::of_lane(conn, job, at).await?);
    if reasons.is_empty() {
        reasons.push(in_turn(conn, job, at).await?);
    }
    Ok(reasons)
}

/// Set aside, not due, or due and not yet in the order of the claim.
async fn not_yet(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Option<Reason>, QueueError> {
    let now = format!("greenroom jobs retry {}", job.id);
    match (at.held.as_deref(), at.after_batch) {
        // Its kind tells the rest.
        (Some("kind"), _) => return Ok(None),
        (Some(_), Some(batch)) => {
            let open = sqlx::query_scalar!(
                r#"select id as "id: greenroom_model::JobId" from background_jobs
                    where batch = $1 and batch is not null and status in ('pending', 'running') limit $2"#,
                batch,
                MANY,
            )
            .fetch_all(conn)
            .await?;
            let open_jobs = many(i64::try_from(open.len()).unwrap_or(MANY), "job");
            let text = format!("it waits for the batch {batch}, which has {open_jobs} open");
            return Ok(Some(Reason::new("batch_open", text).held_by(open).command(now)));
        }
        _ if at.rank.is_some() => return Ok(None),
        _ => {}
    }
    if job.run_at > at.now {
        let last = sqlx::query!(
            "select outcome, error from greenroom.attempts where job_id = $1 order by id desc limit 1",
            job.id.0
        )
        .fetch_optional(conn)
        .await?;
        let text = match last {
            Some(last) => {
                let error = last.error.map(|error| format!(": {error}")).unwrap_or_default();
                format!(
                    "its last attempt was {}, with {} of {} used up; the next is due later{error}",
                    last.outcome, job.attempt, job.max_attempts
                )
            }
            None => "it was enqueued for later".to_owned(),
        };
        return Ok(Some(Reason::new("not_due", text).until(Some(job.run_at)).command(now)));
    }
    Ok(Some(if at.swept {
        Reason::new("due", "it is due, and the sweeper takes it up within a second or so").until(Some(at.now))
    } else {
        Reason::new("nobody_sweeps", "it is due, but nobody sweeps: start a worker, of any queue")
    }))
}

/// No worker serves the queue, or all of its slots are taken.
async fn nobody_there(conn: &mut PgConnection, job: &JobRow) -> Result<Option<Reason>, QueueError> {
    let slots = sqlx::query_scalar!(
        r#"
        select coalesce(sum(s.slots), 0) as "slots!"
          from greenroom.workers w cross join unnest(w.queues, w.queue_slots) as s (queue, slots)
         where s.queue = $1 and w.seen_at > greenroom.now() - make_interval(secs => $2)
        "#,
        job.queue,
        SILENT_SECS,
    )
    .fetch_one(&mut *conn)
    .await?;
    if slots == 0 {
        let text = if job.queue == "unassigned" {
            format!("no worker that ever ran here knows the kind {}: start one of its release", job.kind)
        } else {
            format!("no worker serves the queue {}: start one", job.queue)
        };
        return Ok(Some(Reason::new("no_worker", text)));
    }
    let busy = sqlx::query_scalar!(
        r#"select id as "id: greenroom_model::JobId" from background_jobs
            where status = 'running' and queue = $1 order by leased_until limit $2"#,
        job.queue,
        slots,
    )
    .fetch_all(conn)
    .await?;
    let taken = i64::try_from(busy.len()).unwrap_or(i64::MAX) >= slots;
    Ok(taken.then(|| {
        let text = format!("the queue {} has {}, and all run something", job.queue, many(slots, "slot"));
        Reason::new("workers_busy", text).held_by(busy)
    }))
}

/// Nothing holds it: others are before it.
async fn in_turn(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Reason, QueueError> {
    let in_lane = holds::before(conn, job, at).await?;
    let lanes = sqlx::query_scalar!(
        r#"select count(*) as "n!" from (
               select from greenroom.turns o
                where o.queue = $1 and o.pool = $2 and o.awake
                  and o.vtime < (select vtime from greenroom.turns where lane = $3) limit $4) lanes"#,
        job.queue,
        at.pool,
        at.lane,
        MANY,
    )
    .fetch_one(conn)
    .await?;
    let text = match (in_lane, lanes) {
        (0, 0) => "nothing holds it, and it is next".to_owned(),
        (jobs, lanes) => format!(
            "nothing holds it; before it come {} of its lane and {}",
            many(jobs, "job"),
            many(lanes, "other lane")
        ),
    };
    Ok(Reason::new("in_turn", text))
}
