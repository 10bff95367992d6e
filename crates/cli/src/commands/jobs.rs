//! `greenroom jobs`: looks at jobs, and enqueues, cancels and retries them.

#[cfg(test)]
mod tests;
mod view;

use clap::{Subcommand, ValueEnum};
use greenroom_model::{JobId, UserId};
use greenroom_queue::{Cancelled, Filter, Outcome, Queue, attempts, cancel, list, retry, show};
use serde_json::json;

use super::follow::follow;
use crate::{CliError, Terminal};

/// The most that a payload may have, with room for what JSON's layout adds.
const PAYLOAD_LIMIT: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists jobs, the newest first.
    List {
        /// Only those that stand so.
        #[arg(long)]
        status: Option<Status>,
        /// Only those of this queue.
        #[arg(long)]
        queue: Option<String>,
        /// Only those of this kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only those of this user.
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Begins after this job: the `next` of the page before.
        #[arg(long, value_name = "ID")]
        after: Option<JobId>,
    },
    /// Shows a job, and its attempts that did not simply succeed.
    Show {
        /// The job.
        id: JobId,
    },
    /// Runs a failed job again with all its attempts, and a waiting one at once.
    Retry {
        /// The job.
        id: JobId,
    },
    /// Cancels a job: at once while it waits, by asking its worker while it runs.
    Cancel {
        /// The job.
        id: JobId,
    },
    /// Enqueues a job of a kind; where an open one holds the same unique key, that one is named.
    Enqueue {
        /// The kind; `jobs kinds` lists them.
        kind: String,
        /// What it is to do, as JSON; - reads standard input.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        payload: String,
        /// The user whose job it is.
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Follows the job to its end; exits 1 if it fails.
        #[arg(long)]
        wait: bool,
    },
    /// Lists the kinds of jobs that this build knows; needs no database.
    Kinds,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Status {
    Pending,
    Running,
    Completed,
    Failed,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    match command {
        Command::List { status, queue, kind, user, limit, after } => {
            let status = status.map(|status| status.as_str().to_owned());
            let filter = Filter { status, queue, kind, users: user.map(|user| vec![user]) };
            let pool = terminal.database().await?;
            let page = list(&mut *pool.acquire().await?, &filter, after, limit).await?;
            let rows: Vec<_> = page.jobs.iter().map(view::row).collect();
            terminal.answer_table(&page, view::HEAD, &rows)?;
            if let Some(next) = page.next.filter(|_| !terminal.json) {
                terminal.note(&format!("more with --after {next}"));
            }
            Ok(())
        }
        Command::Show { id } => {
            let pool = terminal.database().await?;
            let mut conn = pool.acquire().await?;
            let job = show(&mut conn, id).await?;
            let attempts = attempts(&mut conn, id).await?.into_iter().map(|ended| view::Attempt {
                attempt: ended.number,
                outcome: ended.outcome,
                error: ended.error,
                started_at: ended.started_at,
                finished_at: ended.finished_at,
            });
            let shown = view::Shown { job, attempts: attempts.collect() };
            terminal.answer(&shown, || shown.text())
        }
        Command::Retry { id } => {
            let pool = terminal.database().await?;
            retry(&pool, id).await?;
            terminal.answer(&json!({"id": id, "status": "pending"}), || format!("{id} is pending"))
        }
        Command::Cancel { id } => {
            let pool = terminal.database().await?;
            let cancelled = cancel(&pool, id).await?;
            terminal.answer(&json!({"id": id, "cancelled": cancelled}), || match cancelled {
                Cancelled::AtOnce => format!("{id} is cancelled"),
                Cancelled::Requested => format!("{id} runs; its worker was asked to end it"),
            })
        }
        Command::Enqueue { kind, payload, user, wait } => {
            let payload = if payload == "-" { terminal.read_all(PAYLOAD_LIMIT)? } else { payload };
            let job = greenroom_worker::jobs(None).build(&kind, &payload, user)?;
            let pool = terminal.database().await?;
            let enqueued = Queue::new(pool.clone()).enqueue_many(&[job]).await?;
            let (id, outcome) =
                enqueued.first().map(|job| (job.id, job.outcome)).ok_or(sqlx::Error::RowNotFound)?;
            // A document says so itself, and an error after it stands alone on standard error.
            if let Some(note) = view::met(id, outcome).filter(|_| !terminal.json) {
                terminal.note(&note);
            }
            if wait {
                return follow(&pool, id, terminal).await;
            }
            terminal.answer(
                &json!({"id": id, "kind": kind, "created": outcome == Outcome::Created, "outcome": outcome}),
                || id.to_string(),
            )
        }
        Command::Kinds => {
            let jobs = greenroom_worker::jobs(None);
            let kinds: Vec<view::Kind> = jobs.kinds().map(view::Kind::of).collect();
            let rows: Vec<_> = kinds.iter().map(view::Kind::row).collect();
            terminal.answer_table(&json!({"kinds": kinds}), view::KIND_HEAD, &rows)
        }
    }
}
