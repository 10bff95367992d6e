//! What fails alike, and how a group is put back.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use clap::Args;
use greenroom_queue::{BulkOutcome, Fingerprint, Group, Redrive, failures, plan_redrive, redrive};
use serde::Serialize;
use serde_json::json;

use super::many::{Consent, pace, said};
use super::view::{brief, instant};
use crate::commands::instant::instant as instant_or_age;
use crate::{CliError, Terminal};

/// Which groups to list.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only those of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Counts only jobs enqueued then or later: an instant, or an age such as 2h.
    #[arg(long, value_name = "INSTANT", value_parser = instant_or_age)]
    since: Option<DateTime<Utc>>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

/// Which group to put back, and how fast.
#[derive(Debug, Args)]
pub(crate) struct Again {
    /// The group, as `jobs failures` shows it.
    fingerprint: Fingerprint,
    /// So many may begin in a minute; without it all at once.
    #[arg(long, value_name = "N")]
    per_minute: Option<NonZeroU32>,
    #[command(flatten)]
    consent: Consent,
}

const HEAD: [&str; 7] = ["fingerprint", "jobs", "kind", "failure", "last", "newest", "error"];

fn row(group: &Group) -> [String; 7] {
    [
        group.fingerprint.to_string(),
        group.jobs.to_string(),
        group.kind.clone(),
        group.failure.clone().unwrap_or_default(),
        group.last_at.map(instant).unwrap_or_default(),
        group.newest.to_string(),
        brief(group.error.as_deref()),
    ]
}

pub(super) async fn list(wanted: Wanted, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    let groups = failures(&mut conn, wanted.kind.as_deref(), wanted.since, wanted.limit).await?;
    let rows: Vec<_> = groups.iter().map(row).collect();
    terminal.answer_table(&json!({"groups": groups}), HEAD, &rows)
}

/// What was planned and done.
#[derive(Serialize)]
struct Account {
    fingerprint: Fingerprint,
    #[serde(flatten)]
    plan: Redrive,
    dry_run: bool,
    #[serde(flatten)]
    outcome: Option<BulkOutcome>,
}

pub(super) async fn put_back(again: Again, terminal: &mut Terminal) -> Result<(), CliError> {
    let Again { fingerprint, per_minute, consent } = again;
    let pool = terminal.database().await?;
    let plan = plan_redrive(&pool, fingerprint, pace(per_minute)).await?;
    if plan.jobs == 0 {
        return Err(CliError::NotFound(format!(
            "no failed job has the fingerprint {fingerprint}: see `jobs failures`"
        )));
    }
    let until = instant(plan.until);
    if !consent.given(plan.jobs, &format!("put back until {until}"))? {
        let text = format!("{} jobs would be put back, the last for {until}", plan.jobs);
        return terminal.answer(&Account { fingerprint, plan, dry_run: true, outcome: None }, || text);
    }
    let bar = terminal.progress();
    let tell = |so_far: &BulkOutcome| bar.set_message(format!("{} of {} put back", so_far.done, plan.jobs));
    let outcome = redrive(&pool, fingerprint, pace(per_minute), tell).await?;
    bar.finish_and_clear();
    let text = format!("{}\nthe last may run at {until}", said(&outcome, "put back"));
    terminal.answer(&Account { fingerprint, plan, dry_run: false, outcome: Some(outcome) }, || text)
}
