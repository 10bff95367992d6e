//! Why a job does not run: every hold on it, who has what it waits for, and when it will go on.
//!
//! The answer is read from the same rows that the claim heeds, so it cannot disagree with it for longer
//! than a moment. Nothing here changes anything.

mod ended;
mod holds;
#[cfg(test)]
mod tests;
mod waiting;

use chrono::{DateTime, SecondsFormat, Utc};
use greenroom_model::JobId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::QueueError;
use crate::control::{JobRow, show};

/// Counts stop here: what is more is told as this many.
const MANY: i64 = 1_000;
/// A worker that has been silent for longer is not counted on; it speaks every sixth of a lease.
const SILENT_SECS: f64 = 60.0;
/// Holders that are named.
const NAMED: usize = 10;

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
    /// The command that ends it now, where there is one.
    pub command: Option<String>,
    /// The jobs that hold what this one waits for.
    pub holders: Vec<JobId>,
}

impl Reason {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), until: None, command: None, holders: Vec::new() }
    }

    fn until(mut self, until: Option<DateTime<Utc>>) -> Self {
        self.until = until;
        self
    }

    fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    fn held_by(mut self, mut holders: Vec<JobId>) -> Self {
        holders.truncate(NAMED);
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
    /// Whether somebody sweeps: promotes, rescues, wakes.
    swept: bool,
}

/// Tells why a job waits, runs or has ended.
pub async fn why(conn: &mut PgConnection, id: JobId) -> Result<Why, QueueError> {
    let job = show(conn, id).await?;
    let at = sqlx::query_as!(
        Position,
        r#"select lane, pool, rank, held, after_batch, worker_id, leased_until, greenroom.now() as "now!",
                  exists (select from greenroom.leaders
                           where role = 'sweeper' and until > greenroom.now()) as "swept!"
             from background_jobs where id = $1"#,
        id.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(QueueError::NotFound(id))?;
    let reasons = match job.status.as_str() {
        "pending" => waiting::reasons(conn, &job, &at).await?,
        "running" => running(conn, &job, &at).await?,
        _ => vec![ended::reason(&job)],
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

async fn running(conn: &mut PgConnection, job: &JobRow, at: &Position) -> Result<Vec<Reason>, QueueError> {
    let mut reasons = Vec::new();
    if let Some(until) = at.leased_until.filter(|until| *until < at.now) {
        let then = if at.swept {
            "the sweeper rescues it within a second or so"
        } else {
            "nobody sweeps, so nobody rescues it: start a worker"
        };
        let text = format!("its worker let the lease run out at {}, and {then}", instant(until));
        reasons.push(Reason::new("lease_expired", text));
    }
    if job.cancel_requested {
        reasons.push(Reason::new("cancelling", "an operator wants it to end, and its worker was told"));
    }
    let since = job.started_at.map(instant).unwrap_or_default();
    let worker = match at.worker_id {
        Some(worker) => {
            sqlx::query!("select host, pid, seen_at from greenroom.workers where id = $1", worker)
                .fetch_optional(conn)
                .await?
        }
        None => None,
    };
    reasons.push(if let Some(worker) = worker {
        let silence = (at.now - worker.seen_at).as_seconds_f64();
        let silence = if silence > SILENT_SECS {
            format!(", which has said nothing for {silence:.0} s")
        } else {
            String::new()
        };
        let text =
            format!("it runs since {since} in process {} of host {}{silence}", worker.pid, worker.host);
        Reason::new("running", text)
    } else {
        let text =
            format!("it runs since {since} on a worker that has gone; it is rescued when its lease ends");
        Reason::new("worker_gone", text).until(at.leased_until)
    });
    Ok(reasons)
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Tells a count that was not taken further than [`MANY`].
fn many(count: i64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        more if more >= MANY => format!("{MANY} or more {noun}s"),
        some => format!("{some} {noun}s"),
    }
}

/// Writes an argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/@+".contains(letter);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}
