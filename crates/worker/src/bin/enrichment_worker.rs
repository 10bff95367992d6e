//! `enrichment-worker`: reads comments and ranks them.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Runs the jobs that read comments and rank them")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(greenroom_worker::run_worker("enrichment-worker", &["enrichment"], cli.args).await)
}
