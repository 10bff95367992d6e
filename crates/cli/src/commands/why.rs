//! `greenroom why`: why a job does not run, in words that say what to do.

use std::fmt::Write as _;

use chrono::SecondsFormat;
use greenroom_model::JobId;
use greenroom_queue::{Why, why};

use crate::terminal::plain;
use crate::{CliError, Terminal};

/// The job that is asked about.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job.
    id: JobId,
}

pub(super) async fn run(args: &Args, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let answer = why(&mut *pool.acquire().await?, args.id).await?;
    terminal.answer(&answer, || text(&answer))
}

fn text(why: &Why) -> String {
    let job = &why.job;
    let mut text = format!("{} {} of queue {} is {}\n", job.kind, job.id, job.queue, job.status);
    for reason in &why.reasons {
        // Writing to a String cannot fail.
        let _ = write!(text, "  {:18} {}", reason.code, plain(&reason.text));
        if let Some(until) = reason.until {
            let _ = write!(text, " (until {})", until.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
        text.push('\n');
        for holder in &reason.holders {
            let _ = writeln!(text, "  {:18} held by {holder}", "");
        }
        if let Some(command) = &reason.command {
            let _ = writeln!(text, "  {:18} to go on now: {}", "", plain(command));
        }
    }
    text
}
