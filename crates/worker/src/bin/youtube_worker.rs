//! `youtube-worker`: syncs YouTube channels, and keeps the house tidy between syncs.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Runs the jobs that sync YouTube channels")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(
        greenroom_worker::run_worker("youtube-worker", &["youtube", "housekeeping"], cli.args).await,
    )
}
