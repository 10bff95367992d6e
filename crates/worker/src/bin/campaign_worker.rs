//! `campaign-worker`: plans campaigns and sends mail.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Runs the jobs that plan campaigns and send mail")]
struct Cli {
    #[command(flatten)]
    args: greenroom_worker::Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    greenroom_worker::exit(
        greenroom_worker::run_worker("campaign-worker", &["campaigns", "mail"], cli.args).await,
    )
}
