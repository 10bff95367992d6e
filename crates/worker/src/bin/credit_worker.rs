//! `credit-worker`: begins the periods of credits, and audits the accounts.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Runs the jobs of credits: monthly resets and the nightly audit")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(greenroom_worker::run_worker("credit-worker", &["credits"], cli.args).await)
}
