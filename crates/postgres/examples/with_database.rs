//! Runs a command with `DATABASE_URL` naming a freshly migrated database that is dropped afterwards.
//!
//! `cargo run -p greenroom-postgres --example with_database -- env | grep DATABASE_URL`
//!
//! For whatever needs a database for a moment, such as checking queries at compile time. Nothing it
//! depends on checks queries at compile time itself, so it builds before they can be checked.

use std::error::Error;
use std::process::{ExitCode, id};

use greenroom_postgres::{Postgres, migrate};
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: with_database COMMAND [ARGUMENT…]")?;
    let postgres = Postgres::throwaway().await?;
    let name = format!("greenroom_with_{}", id());
    postgres.recreate_database(&name).await?;
    migrate(&postgres.options(&name)).await?;
    let status =
        Command::new(program).args(arguments).env("DATABASE_URL", postgres.url(&name)).status().await;
    postgres.drop_database(&name).await?;
    // A command that a signal ended has no code.
    Ok(status?.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
