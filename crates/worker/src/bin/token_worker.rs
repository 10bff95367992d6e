//! `token-worker`: refreshes the tokens of connected accounts before they end.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Runs the jobs that keep connected accounts alive")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(greenroom_worker::run_worker("token-worker", &["tokens"], cli.args).await)
}
