//! `greenroom bench`: measures, and prints the tables of it.

mod adapter;
mod campaigns;
mod credits;
mod enrich;
mod queue;
mod sync;

use crate::{CliError, Terminal};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Syncs one large channel from the sandbox, beside a bare client that reads the same pages.
    Sync(sync::SyncArgs),
    /// Drains, enqueues and waits in every way that matters, beside other queues, and judges the gates.
    Queue(queue::QueueArgs),
    /// Charges, reserves and settles, and begins the month of a million accounts while charges go on.
    Credits(credits::CreditsArgs),
    /// Plans everybody who is due, and sends to a mail server on this machine.
    Campaigns(campaigns::CampaignsArgs),
    /// Reads comments as fast as it can, and with labelled texts tells how often it is right.
    Enrich(enrich::EnrichArgs),
    /// Does one thing with the queue on the empty database of `DATABASE_URL`, and says in one line of JSON
    /// how long it took: what a comparison of queues calls.
    #[command(subcommand)]
    Adapter(adapter::Op),
}

/// Measures, and tells what was seen.
pub(super) async fn run(bench: &Bench, terminal: &mut Terminal) -> Result<(), CliError> {
    match bench {
        Bench::Sync(args) => sync::run(args, terminal).await,
        Bench::Queue(args) => queue::run(args, terminal).await,
        Bench::Credits(args) => credits::run(args, terminal).await,
        Bench::Campaigns(args) => campaigns::run(args, terminal).await,
        Bench::Enrich(args) => enrich::run(args, terminal).await,
        Bench::Adapter(op) => adapter::run(op, terminal).await,
    }
}
