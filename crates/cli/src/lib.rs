//! The operator's hands: every command of `greenroom`, as a function of its arguments and a [`Terminal`].
//!
//! The manners are the same everywhere, so that commands can be piped and scripted:
//!
//! - standard output is data only; notes, progress, logs and errors go to standard error;
//! - `--json` prints one document, and an error is then one line of JSON with `code` and `message`;
//! - tables are drawn on a terminal only, elsewhere their cells stand between tabs;
//! - the end of a command is an [`Exit`], and [`CliError::exit`] alone decides which;
//! - a command asks for the secrets it uses and for no others.
//!
//! What a command does is done by the slices; here it is read from the command line and told.

mod commands;
mod error;
mod exit;
mod processes;
mod stage;
mod terminal;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::Parser;

pub use error::CliError;
pub use exit::Exit;
pub use terminal::Terminal;

/// Greenroom: the back office of a creator platform.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, propagate_version = true, after_help = exit::HELP)]
struct Cli {
    /// Prints one JSON document instead of text; errors too are JSON, on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: commands::Command,
}

/// Runs the command that these arguments name, the first being the program's own name.
pub async fn run(args: impl IntoIterator<Item = OsString>, mut terminal: Terminal) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let outcome = match Cli::try_parse_from(&args) {
        Ok(cli) => {
            terminal.json = cli.json;
            // Boxed, since it has many commands.
            Box::pin(cli.command.run(&mut terminal)).await
        }
        Err(said) if said.use_stderr() => {
            // Nothing was parsed, so the one flag that matters now is looked for by hand.
            terminal.json = args.iter().any(|arg| arg == "--json");
            Err(CliError::Arguments(said))
        }
        Err(asked_for) => terminal.print(&asked_for.render().to_string()),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => terminal.refuse(&error),
    }
}
