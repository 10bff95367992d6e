//! `greenroom schedules`: looks at what comes by itself, and pauses, overrides and runs it.

#[cfg(test)]
mod tests;
mod view;

use clap::{Subcommand, ValueEnum};
use greenroom_queue::schedules::{Override, list, pause, reset, set, show};
use greenroom_queue::{CatchUp, Queue};
use serde_json::json;
use sqlx::PgConnection;

use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the schedules, with their next tick and what became of the last one.
    List,
    /// Shows a schedule and its coming ticks.
    Show {
        /// The schedule; `schedules list` names them.
        name: String,
        /// How many coming ticks.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
        next: u16,
    },
    /// Stops schedules from firing until they are resumed.
    Pause {
        /// The schedules.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Lets paused schedules go on; ticks they missed follow their catch-up.
    Resume {
        /// The schedules.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Enqueues a schedule's job now; its ticks stay as they are.
    Run {
        /// The schedule.
        name: String,
    },
    /// Overrides what the code declares, until it is reset.
    Set {
        /// The schedule.
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Goes back to what the code declares.
    Reset {
        /// The schedule.
        name: String,
    },
}

/// What can be overridden.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct To {
    /// When it fires: minute hour day month weekday, with seconds before them if need be, or @daily and its like.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The zone whose wall clock the expression means, such as UTC or Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// What becomes of ticks that were missed.
    #[arg(long)]
    catch_up: Option<Missed>,
}

/// What becomes of missed ticks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Missed {
    /// They are left out.
    Skip,
    /// The latest of them runs.
    Latest,
    /// Every one of them runs.
    All,
}

impl From<Missed> for CatchUp {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Skip => Self::Skip,
            Missed::Latest => Self::Latest,
            Missed::All => Self::All,
        }
    }
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::List => {
            let rows = list(&mut conn, None).await?;
            let shown: Vec<view::Shown> = rows.into_iter().map(|row| view::Shown::of(row, 1)).collect();
            let table: Vec<_> = shown.iter().map(view::Shown::row).collect();
            terminal.answer_table(&json!({"schedules": shown}), view::HEAD, &table)
        }
        Command::Show { name, next } => answer(&mut conn, &name, next, terminal).await,
        Command::Pause { names } => set_paused(&mut conn, &names, true, terminal).await,
        Command::Resume { names } => set_paused(&mut conn, &names, false, terminal).await,
        Command::Run { name } => {
            let row = show(&mut conn, &name).await?;
            let job = greenroom_worker::jobs(None).build(&row.kind, &row.payload.to_string(), None)?;
            let enqueued = Queue::new(pool.clone()).enqueue_many(&[job]).await?;
            let (id, created) =
                enqueued.first().map(|job| (job.id, job.created())).ok_or(sqlx::Error::RowNotFound)?;
            if !created && !terminal.json {
                terminal.note(&format!("note: job {id} with the same unique key is open already"));
            }
            terminal.answer(&json!({"id": id, "kind": row.kind, "created": created}), || id.to_string())
        }
        Command::Set { name, to } => {
            let catch_up = to.catch_up.map(CatchUp::from);
            set(&mut conn, &name, &Override { cron: to.cron, timezone: to.timezone, catch_up }).await?;
            answer(&mut conn, &name, 1, terminal).await
        }
        Command::Reset { name } => {
            reset(&mut conn, &name).await?;
            answer(&mut conn, &name, 1, terminal).await
        }
    }
}

async fn answer(
    conn: &mut PgConnection,
    name: &str,
    next: u16,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let shown = view::Shown::of(show(conn, name).await?, next);
    terminal.answer(&shown, || shown.text())
}

async fn set_paused(
    conn: &mut PgConnection,
    names: &[String],
    paused: bool,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    pause(conn, names, paused).await?;
    let state = if paused { "paused" } else { "resumed" };
    terminal.answer(&json!({"names": names, "paused": paused}), || {
        names.iter().map(|name| format!("{name} is {state}")).collect::<Vec<_>>().join("\n")
    })
}
