//! `greenroom-api`: answers programs over HTTP.

use clap::Parser;

#[derive(Parser)]
#[command(version, about = "Answers programs over HTTP; settings are in config/default.toml, section [api]")]
struct Cli {}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    Cli::parse();
    greenroom_api::exit(greenroom_api::run().await)
}
