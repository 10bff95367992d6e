//! The commands, a file each.

mod access;
mod bench;
mod bounce;
mod campaign;
mod connections;
mod credits;
mod demo;
mod doctor;
mod enrich;
mod follow;
mod instant;
mod jobs;
mod keys;
mod mail;
mod migrate;
mod outbox;
mod queues;
mod sandbox;
mod schedules;
mod sync;
mod tokens;
mod up;
mod why;

use std::future::Future;

use clap::Subcommand;

use crate::{CliError, Terminal};

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plays the main job from start to end, on a private PostgreSQL and the sandbox.
    Demo(demo::Args),
    /// Runs the whole house in one process, on a PostgreSQL of its own where `DATABASE_URL` is not set.
    Up(up::Args),
    /// Brings `DATABASE_URL` to the schema of this build; safe to repeat, and to run twice at once.
    Migrate,
    /// Serves local stand-ins of the platforms, and prints one line of JSON when they are ready.
    Sandbox(sandbox::Args),
    /// Looks at jobs, and enqueues, cancels, retries and deletes them.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Shows queues, lanes and pools, pauses them and sets their limits.
    #[command(subcommand)]
    Queues(queues::Command),
    /// Tells why a job does not run: what holds it, who has what it waits for, and until when.
    Why(why::Args),
    /// Looks at what comes by itself, and pauses, overrides and runs it.
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Syncs connected accounts on demand.
    #[command(subcommand)]
    Sync(sync::Command),
    /// Lists connected accounts, says what is the matter with one, and refreshes its tokens.
    #[command(subcommand)]
    Connections(connections::Command),
    /// Shows accounts, grants, refunds, resets and audits credits, and sets prices.
    #[command(subcommand)]
    Credits(credits::Command),
    /// Tells who gets which mail and why others do not; previews, pauses and resumes steps.
    #[command(subcommand)]
    Campaign(campaign::Command),
    /// Looks at messages one by one, sends them again and cancels them.
    #[command(subcommand)]
    Outbox(outbox::Command),
    /// Looks at whether receivers will believe that mail is ours.
    #[command(subcommand)]
    Mail(mail::Command),
    /// Takes what comes back as mail.
    #[command(subcommand)]
    Bounce(bounce::Command),
    /// Encrypts, decrypts, rotates and classifies a token; counts the stored ones by key and seals them again.
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Reads comments, one JSON object a line (`id`, `text`), and says what is in each; needs no database.
    Enrich,
    /// Makes and checks the keys of `ENCRYPTION_KEY`.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Makes, lists and revokes service tokens, by which programs call the API.
    #[command(subcommand)]
    Access(access::Command),
    /// Looks for what is wrong with the database and the queue, and says what to do; exits 1 on a problem.
    Doctor,
    /// Measures, and prints the tables of it.
    #[command(subcommand)]
    Bench(bench::Bench),
}

impl Command {
    pub(crate) async fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            // Those that serve listen for signals themselves: to be told to stop is their ordinary end.
            Self::Sandbox(args) => sandbox::run(args, terminal).await,
            Self::Up(args) => up::run(&args).await,
            Self::Demo(args) => demo::run(&args, terminal).await,
            Self::Bench(bench) => Box::pin(until_interrupted(bench::run(&bench, terminal))).await,
            Self::Enrich => enrich::run(terminal),
            Self::Doctor => until_interrupted(doctor::run(terminal)).await,
            Self::Migrate => until_interrupted(migrate::run(terminal)).await,
            Self::Queues(command) => until_interrupted(queues::run(command, terminal)).await,
            Self::Why(args) => until_interrupted(why::run(&args, terminal)).await,
            Self::Schedules(command) => until_interrupted(schedules::run(command, terminal)).await,
            // Boxed, since it has many commands of its own.
            Self::Jobs(command) => Box::pin(until_interrupted(jobs::run(command, terminal))).await,
            Self::Sync(command) => until_interrupted(sync::run(command, terminal)).await,
            Self::Connections(command) => until_interrupted(connections::run(command, terminal)).await,
            Self::Credits(command) => Box::pin(until_interrupted(credits::run(command, terminal))).await,
            Self::Campaign(command) => Box::pin(until_interrupted(campaign::run(command, terminal))).await,
            Self::Outbox(command) => until_interrupted(outbox::run(command, terminal)).await,
            Self::Mail(command) => Box::pin(until_interrupted(mail::run(command, terminal))).await,
            Self::Bounce(command) => until_interrupted(bounce::run(command, terminal)).await,
            Self::Access(command) => until_interrupted(access::run(command, terminal)).await,
            Self::Tokens(command) => until_interrupted(tokens::run(&command, terminal)).await,
            Self::Keys(command) => until_interrupted(keys::run(&command, terminal)).await,
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
