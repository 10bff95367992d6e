//! What is done to one job, to a few, or to all of a filter.
//!
//! All of a filter are counted first, and nothing is done to them without a word of consent.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use clap::Args;
use greenroom_model::JobId;
use greenroom_queue::{
    Act, BulkOutcome, Cancelled, Count, Filter, Pace, cancel, cancel_all, count_all, delete_all, retry,
    retry_all,
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::filters::Filters;
use crate::{CliError, Terminal};

/// Which jobs: those named, or all of a filter.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The jobs.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<JobId>,
    /// All jobs that the conditions name.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    all_of: All,
}

/// All jobs of a filter.
#[derive(Debug, Args)]
pub(crate) struct All {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    consent: Consent,
}

/// Whether it is meant.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Only counts.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Does it.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Tells whether to go on; what was counted is the answer of a dry run.
    pub(super) fn given(self, jobs: i64, what: &str) -> Result<bool, CliError> {
        if self.dry_run || jobs == 0 || self.yes {
            return Ok(!self.dry_run);
        }
        Err(CliError::Usage(format!(
            "{jobs} jobs would be {what}: say --yes to do it, --dry-run to only count"
        )))
    }
}

/// Returns the pace of so many a minute.
pub(super) fn pace(per_minute: Option<NonZeroU32>) -> Pace {
    per_minute.map_or(Pace::AtOnce, Pace::PerMinute)
}

pub(super) async fn retry_which(
    which: Which,
    per_minute: Option<NonZeroU32>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    if which.all {
        return all(Act::Retry, which.all_of, pace(per_minute), terminal).await;
    }
    let ids = which.named(per_minute.is_some())?;
    let pool = terminal.database().await?;
    let mut told = Told::default();
    for id in ids {
        let retried = retry(&pool, id).await;
        told.add(id, retried.map(|()| (json!({"id": id, "status": "pending"}), format!("{id} is pending"))));
    }
    told.answer(terminal)
}

pub(super) async fn cancel_which(which: Which, terminal: &mut Terminal) -> Result<(), CliError> {
    if which.all {
        return all(Act::Cancel, which.all_of, Pace::AtOnce, terminal).await;
    }
    let ids = which.named(false)?;
    let pool = terminal.database().await?;
    let mut told = Told::default();
    for id in ids {
        let cancelled = cancel(&pool, id).await.map(|how| {
            let text = match how {
                Cancelled::AtOnce => format!("{id} is cancelled"),
                Cancelled::Requested => format!("{id} runs; its worker was asked to end it"),
            };
            (json!({"id": id, "cancelled": how}), text)
        });
        told.add(id, cancelled);
    }
    told.answer(terminal)
}

pub(super) async fn delete(which: All, terminal: &mut Terminal) -> Result<(), CliError> {
    all(Act::Delete, which, Pace::AtOnce, terminal).await
}

impl Which {
    /// Returns the jobs that are named, and refuses conditions beside them.
    fn named(self, has_pace: bool) -> Result<Vec<JobId>, CliError> {
        let consent = self.all_of.consent;
        if has_pace || consent.dry_run || self.all_of.filters != Filters::default() {
            return Err(CliError::Usage(
                "conditions, --dry-run and --per-minute are for --all, not for named jobs".to_owned(),
            ));
        }
        Ok(self.ids)
    }
}

/// What became of each named job.
#[derive(Default)]
struct Told {
    documents: Vec<Value>,
    text: String,
    first_error: Option<CliError>,
}

impl Told {
    fn add(&mut self, id: JobId, done: Result<(Value, String), greenroom_queue::QueueError>) {
        match done {
            Ok((document, text)) => {
                self.documents.push(document);
                // Writing to a String cannot fail.
                let _ = writeln!(self.text, "{text}");
            }
            Err(error) => {
                let error = CliError::from(error);
                let refused = json!({"code": error.code(), "message": error.to_string()});
                self.documents.push(json!({"id": id, "error": refused}));
                let _ = writeln!(self.text, "{error}");
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// Answers with the one job, or with all; the first error ends the command.
    fn answer(mut self, terminal: &mut Terminal) -> Result<(), CliError> {
        if self.documents.len() == 1 {
            return match (self.first_error, self.documents.pop()) {
                (Some(error), _) => Err(error),
                (None, one) => terminal.answer(&one, || self.text),
            };
        }
        terminal.answer(&json!({"jobs": self.documents}), || self.text)?;
        self.first_error.map_or(Ok(()), Err)
    }
}

/// What was counted and done.
#[derive(Serialize)]
struct Account<'a> {
    matching: &'a [Count],
    dry_run: bool,
    #[serde(flatten)]
    outcome: Option<BulkOutcome>,
}

const HEAD: [&str; 3] = ["kind", "status", "jobs"];

async fn all(act: Act, which: All, pace: Pace, terminal: &mut Terminal) -> Result<(), CliError> {
    let filter = Filter::from(which.filters);
    let pool = terminal.database().await?;
    let matching = count_all(&pool, &filter, act).await?;
    let jobs = matching.iter().map(|count| count.jobs).sum();
    let what = match act {
        Act::Retry => "retried",
        Act::Cancel => "cancelled",
        Act::Delete => "deleted",
    };
    let rows: Vec<_> = matching
        .iter()
        .map(|count| [count.kind.clone(), count.status.clone(), count.jobs.to_string()])
        .collect();
    if !which.consent.given(jobs, what)? {
        return terminal.answer_table(
            &Account { matching: &matching, dry_run: true, outcome: None },
            HEAD,
            &rows,
        );
    }
    for [kind, status, jobs] in rows.iter().filter(|_| !terminal.json).cloned().collect::<Vec<_>>() {
        terminal.note(&format!("{jobs} {status} {kind}"));
    }
    let bar = terminal.progress();
    let tell = |so_far: &BulkOutcome| {
        bar.set_message(format!("{} of {jobs} {what}", so_far.done + so_far.requested));
    };
    let outcome = run(&pool, act, &filter, pace, tell).await?;
    bar.finish_and_clear();
    let text = said(&outcome, what);
    terminal.answer(&Account { matching: &matching, dry_run: false, outcome: Some(outcome) }, || text)
}

async fn run(
    pool: &PgPool,
    act: Act,
    filter: &Filter,
    pace: Pace,
    tell: impl FnMut(&BulkOutcome),
) -> Result<BulkOutcome, CliError> {
    Ok(match act {
        Act::Retry => retry_all(pool, filter, pace, tell).await?,
        Act::Cancel => cancel_all(pool, filter, tell).await?,
        Act::Delete => delete_all(pool, filter, tell).await?,
    })
}

/// Says what was done, and what was left and why.
pub(super) fn said(outcome: &BulkOutcome, what: &str) -> String {
    let mut text = format!("{} {what}", outcome.done);
    if outcome.requested > 0 {
        let _ = write!(text, "\n{} run; their workers were asked to end them", outcome.requested);
    }
    for (why, jobs) in &outcome.skipped {
        let _ = write!(text, "\n{jobs} left: {}", why.as_str());
    }
    text
}
