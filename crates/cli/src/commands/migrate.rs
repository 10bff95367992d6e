//! `greenroom migrate`: brings a database to the schema of this build.

use greenroom_postgres::{fingerprint, is_current, migrate};
use serde::Serialize;

use crate::{CliError, Terminal};

#[derive(Serialize)]
struct Migrated {
    /// Whether this call did something.
    changed: bool,
    /// The name of this build's schema.
    schema: &'static str,
}

pub(super) async fn run(terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.connect().await?;
    let changed = !is_current(&pool).await?;
    migrate(&pool.connect_options()).await?;
    let migrated = Migrated { changed, schema: fingerprint() };
    terminal.answer(&migrated, || {
        let what = if changed { "is now" } else { "was already" };
        format!("the database {what} at the schema of this build ({})", migrated.schema)
    })
}
