//! The commands, a file each.

mod migrate;

use std::future::Future;

use clap::Subcommand;

use crate::{CliError, Terminal};

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Brings `DATABASE_URL` to the schema of this build; safe to repeat, and to run twice at once.
    Migrate,
}

impl Command {
    pub(crate) async fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Migrate => until_interrupted(migrate::run(terminal)).await,
        }
    }
}

/// Runs a command that ends by itself, unless somebody presses Ctrl-C first.
async fn until_interrupted(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        // First the command: while it has not waited for anything yet, Ctrl-C ends the process as ever.
        biased;
        done = command => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}
