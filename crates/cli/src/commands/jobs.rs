//! `greenroom jobs`: looks at jobs, and enqueues, cancels, retries and deletes them.

mod failures;
mod filters;
mod many;
#[cfg(test)]
mod tests;
mod view;

use std::num::NonZeroU32;

use clap::Subcommand;
use greenroom_model::{JobId, UserId};
use greenroom_queue::{Outcome, Queue, attempts, list, show};
use serde_json::json;

use self::filters::Filters;
use self::many::{All, Which};
use super::follow::follow;
use crate::{CliError, Terminal};

/// The most that a payload may have, with room for what JSON's layout adds.
const PAYLOAD_LIMIT: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists jobs, the newest first.
    List {
        #[command(flatten)]
        filters: Filters,
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
        /// Follows the job to its end; exits 1 if it fails.
        #[arg(long)]
        watch: bool,
    },
    /// Runs failed jobs again with all their attempts, and waiting ones at once.
    Retry {
        #[command(flatten)]
        which: Which,
        /// With --all: so many may begin in a minute.
        #[arg(long, value_name = "N")]
        per_minute: Option<NonZeroU32>,
    },
    /// Cancels jobs: at once while they wait, by asking their workers while they run.
    Cancel {
        #[command(flatten)]
        which: Which,
    },
    /// Deletes all finished jobs that the conditions name, with their attempts.
    Delete {
        #[command(flatten)]
        which: All,
    },
    /// Lists what fails alike, the largest groups first.
    Failures {
        #[command(flatten)]
        wanted: failures::Wanted,
    },
    /// Puts back a group of what failed alike, at once or at a pace.
    Redrive {
        #[command(flatten)]
        again: failures::Again,
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

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    match command {
        Command::List { filters, limit, after } => {
            let pool = terminal.database().await?;
            let page = list(&mut *pool.acquire().await?, &filters.into(), after, limit).await?;
            let rows: Vec<_> = page.jobs.iter().map(view::row).collect();
            terminal.answer_table(&page, view::HEAD, &rows)?;
            if let Some(next) = page.next.filter(|_| !terminal.json) {
                terminal.note(&format!("more with --after {next}"));
            }
            Ok(())
        }
        Command::Show { id, watch } => {
            let pool = terminal.database().await?;
            if watch {
                return follow(&pool, id, terminal).await;
            }
            let mut conn = pool.acquire().await?;
            let shown =
                view::Shown { job: show(&mut conn, id).await?, attempts: attempts(&mut conn, id).await? };
            terminal.answer(&shown, || shown.text())
        }
        Command::Retry { which, per_minute } => many::retry_which(which, per_minute, terminal).await,
        Command::Cancel { which } => many::cancel_which(which, terminal).await,
        Command::Delete { which } => many::delete(which, terminal).await,
        Command::Failures { wanted } => failures::list(wanted, terminal).await,
        Command::Redrive { again } => failures::put_back(again, terminal).await,
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
