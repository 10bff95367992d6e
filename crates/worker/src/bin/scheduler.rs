//! `scheduler`: enqueues what is due, and migrates the database if it is told to.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Enqueues what is due")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::SchedulerArgs,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(greenroom_worker::run_scheduler(cli.args).await)
}
