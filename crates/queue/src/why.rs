//! Why a job does not run: every hold on it, who has what it waits for, and when it will go on.
//!
//! The answer is read from the same rows that the claim heeds, so it cannot disagree with it for longer
//! than a moment. Nothing here changes anything.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::QueueError;
use crate::control::{JobRow, show};

/// Counts stop here: what is more is told as this many.
const MANY: i64 = 1_000;
/// A worker that has been silent for longer is not counted on.
const SILENT_SECS: f64 = 90.0;

/// Why a job stands as it does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Why {
    /// The job.
    pub job: JobRow,
    /// One sentence: the reason that matters most.
    pub verdict: String,
    /// When it will go on, as far as anybody can tell.
    pub until: Option<DateTime<Utc>>,
    /// Every reason, the one that matters most first.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Reason {
    /// Its name for programs, such as `lane_full`.
    pub code: &'static str,
    /// The reason in words.
    pub text: String,
    /// When it ends, if that is known.
    pub until: Option<DateTime<Utc>>,
    /// The jobs that hold what this one waits for.
    pub holders: Vec<JobId>,
}

impl Reason {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), until: None, holders: Vec::new() }
    }

    fn until(mut self, until: Option<DateTime<Utc>>) -> Self {
        self.until = until;
        self
    }

    fn held_by(mut self, holders: Vec<JobId>) -> Self {
        self.holders = holders;
        self
    }
}

/// What the job's row says beyond [`JobRow`].
struct Position {
    lane: i64,
    pool: String,
    rank: Option<i64>,
    held: Option<String>,
    after_batch: Option<Uuid>,
    worker_id: Option<Uuid>,
    leased_until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

/// Tells why a job waits, runs or has ended.
pub async fn why(conn: &mut PgConnection, id: JobId) -> Result<Why, QueueError> {
    let job = show(conn, id).await?;
    let at = sqlx::query_as!(
        Position,
        r#"select lane, pool, rank, held, after_batch, worker_id, leased_until, greenroom.now() as "now!"
             from background_jobs where id = $1"#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(QueueError::NotFound(id))?;
    let reasons = match job.status.as_str() {
        "pending" => waiting(conn, &job, &at).await?,
        "running" => running(conn, &job, &at).await?,
        _ => vec![ended(&job)],
    };
    let verdict = reasons.first().map_or_else(String::new, |reason| reason.text.clone());
    // It goes on when the last hold ends; one whose end is not known leaves that open.
    let until = if reasons.iter().all(|reason| reason.until.is_some()) {
        reasons.iter().filter_map(|reason| reason.until).max()
    } else {
        None
    };
    Ok(Why { job, verdict, until, reasons })
}

async fn waiting(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Vec<Reason>, QueueError> {
    let mut reasons = Vec::new();
    reasons.extend(not_yet(conn, job, at).await?);
    reasons.extend(nobody_there(conn, job).await?);
    reasons.extend(held_up_by_its_queue(conn, job).await?);
    if !at.pool.is_empty() {
        reasons.extend(held_up_by_its_pool(conn, at).await?);
    }
    reasons.extend(held_up_by_its_lane(conn, at).await?);
    if reasons.is_empty() {
        reasons.push(in_turn(conn, job, at).await?);
    }
    Ok(reasons)
}

/// Set aside, not due, or due and not yet in the order of the claim.
async fn not_yet(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Option<Reason>, QueueError> {
    if at.held.as_deref() == Some("kind") {
        let text = format!("its kind {} is paused, until somebody resumes it", job.kind);
        return Ok(Some(Reason::new("kind_paused", text)));
    }
    if let Some(batch) = at.after_batch.filter(|_| at.held.is_some()) {
        let open = sqlx::query_scalar!(
            r#"select id as "id: JobId" from background_jobs
                where batch = $1 and batch is not null and status in ('pending', 'running') limit $2"#,
            batch,
            MANY,
        )
        .fetch_all(conn)
        .await?;
        let text = format!("it waits for the batch {batch}, of which {} jobs are open", many(open.len()));
        return Ok(Some(Reason::new("batch_open", text).held_by(open.into_iter().take(10).collect())));
    }
    if at.rank.is_some() {
        return Ok(None);
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
                let error = last.error.unwrap_or_default();
                format!("its last attempt was {}, and the next is due later: {error}", last.outcome)
            }
            None => "it was enqueued for later".to_owned(),
        };
        return Ok(Some(Reason::new("not_due", text).until(Some(job.run_at))));
    }
    let swept: bool = sqlx::query_scalar!(
        r#"select exists (select from greenroom.leaders
                           where role = 'sweeper' and until > greenroom.now()) as "swept!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(Some(if swept {
        Reason::new("due", "it is due, and the sweeper takes it up within a second or so").until(Some(at.now))
    } else {
        Reason::new("nobody_sweeps", "it is due, but nobody sweeps: no worker of any queue runs")
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
            format!("no release that has ever run here declares the kind {}", job.kind)
        } else {
            format!("no worker serves the queue {}", job.queue)
        };
        return Ok(Some(Reason::new("no_worker", text)));
    }
    let busy = sqlx::query_scalar!(
        r#"select id as "id: JobId" from background_jobs
            where status = 'running' and queue = $1 order by leased_until limit $2"#,
        job.queue,
        slots,
    )
    .fetch_all(conn)
    .await?;
    let taken = i64::try_from(busy.len()).unwrap_or(i64::MAX) >= slots;
    Ok(taken.then(|| {
        let text = format!("all {slots} slots of the queue {} are taken", job.queue);
        Reason::new("workers_busy", text).held_by(busy.into_iter().take(10).collect())
    }))
}

async fn held_up_by_its_queue(conn: &mut PgConnection, job: &JobRow) -> Result<Vec<Reason>, QueueError> {
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
    if paused.queue {
        let text = format!("its queue {} is paused, until somebody resumes it", job.queue);
        reasons.push(Reason::new("queue_paused", text));
    }
    if paused.kind {
        let text = format!("its kind {} is paused, until somebody resumes it", job.kind);
        reasons.push(Reason::new("kind_paused", text));
    }
    Ok(reasons)
}

async fn held_up_by_its_pool(conn: &mut PgConnection, at: &Position) -> Result<Vec<Reason>, QueueError> {
    let pool = sqlx::query!("select * from greenroom.pools where name = $1", at.pool)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(pool) = pool else { return Ok(Vec::new()) };
    let mut reasons = Vec::new();
    if pool.paused {
        let text = format!("its pool {} is paused, until somebody resumes it", pool.name);
        reasons.push(Reason::new("pool_paused", text));
    }
    if let Some(until) = pool.open_until {
        reasons.push(breaker("pool", &pool.name, until, at.now, pool.open_reason.as_deref()));
    }
    if pool.budget.is_some_and(|budget| pool.granted >= budget) {
        let budget = pool.budget.unwrap_or_default();
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
        if running.len() >= usize::try_from(cap).unwrap_or(usize::MAX) {
            let text = format!("its pool {} runs {cap} jobs at once, which is its cap", pool.name);
            reasons.push(Reason::new("pool_full", text).held_by(running.into_iter().take(10).collect()));
        }
    }
    Ok(reasons)
}

async fn held_up_by_its_lane(conn: &mut PgConnection, at: &Position) -> Result<Vec<Reason>, QueueError> {
    let lane = sqlx::query!("select * from greenroom.lanes where id = $1", at.lane)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(lane) = lane else { return Ok(Vec::new()) };
    let mut reasons = Vec::new();
    if lane.paused {
        let text = format!("its lane {} is paused, until somebody resumes it", lane.key);
        reasons.push(Reason::new("lane_paused", text));
    }
    if let Some(until) = lane.open_until {
        reasons.push(breaker("lane", &lane.key, until, at.now, lane.open_reason.as_deref()));
    }
    if let Some(cap) = lane.cap {
        let running = sqlx::query_scalar!(
            r#"select id as "id: JobId" from background_jobs where lane = $1 and lane > 0 and status = 'running' limit $2"#,
            at.lane,
            i64::from(cap),
        )
        .fetch_all(conn)
        .await?;
        if running.len() >= usize::try_from(cap).unwrap_or(usize::MAX) {
            let text = format!("its lane {} runs {cap} at once, which is its cap", lane.key);
            reasons.push(Reason::new("lane_full", text).held_by(running.into_iter().take(10).collect()));
        }
    }
    Ok(reasons)
}

fn breaker(
    scope: &str,
    name: &str,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    reason: Option<&str>,
) -> Reason {
    let reason = reason.unwrap_or("it failed too often");
    if until > now {
        let text = format!("the breaker of its {scope} {name} is open: {reason}");
        Reason::new("breaker_open", text).until(Some(until))
    } else {
        let text =
            format!("the breaker of its {scope} {name} is half-open, and one job tries alone: {reason}");
        Reason::new("breaker_half_open", text)
    }
}

/// Nothing holds it: others are before it.
async fn in_turn(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Reason, QueueError> {
    let before = sqlx::query!(
        r#"
        select (select count(*) from (select from background_jobs b
                                       where b.lane = $1 and b.status = 'pending' and b.rank < $2 limit $5) jobs) as "in_lane!",
               (select count(*) from (select from greenroom.lanes o
                                       where o.queue = $3 and o.pool = $4 and o.awake
                                         and o.vtime < (select vtime from greenroom.lanes where id = $1) limit $5) lanes) as "lanes!"
        "#,
        at.lane,
        at.rank,
        job.queue,
        at.pool,
        MANY,
    )
    .fetch_one(conn)
    .await?;
    let text = format!(
        "nothing holds it: {} jobs are before it in its lane, and {} lanes have their turn before",
        many_of(before.in_lane),
        many_of(before.lanes)
    );
    Ok(Reason::new("in_turn", text))
}

async fn running(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Vec<Reason>, QueueError> {
    let mut reasons = Vec::new();
    if at.leased_until.is_some_and(|until| until < at.now) {
        let text =
            "its worker has let the lease run out: it is rescued within a second or so where somebody sweeps";
        reasons.push(Reason::new("lease_expired", text));
    }
    if job.cancel_requested {
        reasons.push(Reason::new("cancelling", "an operator wants it to end, and its worker was told"));
    }
    let worker = match at.worker_id {
        Some(worker) => {
            sqlx::query!("select name, host, pid, seen_at from greenroom.workers where id = $1", worker)
                .fetch_optional(conn)
                .await?
        }
        None => None,
    };
    let since = job.started_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    reasons.push(if let Some(worker) = worker {
        let text = format!(
            "it runs since {since} on {} (host {}, process {})",
            worker.name, worker.host, worker.pid
        );
        Reason::new("running", text)
    } else {
        let text =
            format!("it runs since {since} on a worker that has gone; it is rescued when its lease ends");
        Reason::new("worker_gone", text).until(at.leased_until)
    });
    Ok(reasons)
}

fn ended(job: &JobRow) -> Reason {
    let error = job.error_message.as_deref().unwrap_or("no reason was kept");
    let (code, text) = match job.failure.as_deref() {
        None => ("completed", "it is done".to_owned()),
        Some("exhausted") => {
            ("exhausted", format!("it failed {} times and was given up: {error}", job.attempt))
        }
        Some("cancelled") => ("cancelled", "an operator cancelled it".to_owned()),
        Some("quarantined") => ("quarantined", format!("{error}; look into it before it is retried")),
        Some(_) => ("discarded", format!("its handler ended it for good: {error}")),
    };
    Reason::new(code, text).until(job.completed_at)
}

fn many(count: usize) -> String {
    many_of(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Tells a count that was not taken further than [`MANY`].
fn many_of(count: i64) -> String {
    if count >= MANY { format!("{MANY} or more") } else { count.to_string() }
}
