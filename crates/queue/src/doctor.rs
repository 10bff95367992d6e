//! The doctor: what is wrong with the queue and its database, or soon will be, and what to do about it.
//!
//! A check is a function with one question. It looks and changes nothing, and what it finds names its
//! cause and a remedy. One that cannot be asked is a finding too: the rest goes on.

mod server;
mod table;
mod work;

use std::time::Duration;

use greenroom_model::Clock;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::claim::timed;

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(20);

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// Jobs do not run as they should, or soon will not.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How grave it is.
    pub health: Health,
    /// What was found.
    pub says: String,
    /// What to do; none where all is well.
    pub advice: Option<String>,
}

impl Finding {
    fn new(health: Health, says: impl Into<String>, advice: Option<String>) -> Self {
        Self { check: "", health, says: says.into(), advice }
    }

    /// All is well.
    pub fn ok(says: impl Into<String>) -> Self {
        Self::new(Health::Ok, says, None)
    }

    /// Somebody should look.
    pub fn warning(says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Health::Warning, says, Some(advice.into()))
    }

    /// Something is wrong.
    pub fn problem(says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Health::Problem, says, Some(advice.into()))
    }

    /// Names the check that found it.
    #[must_use]
    pub fn of(mut self, check: &'static str) -> Self {
        self.check = check;
        self
    }
}

/// Examines the server and the way to it; needs no schema.
pub async fn examine_server(pool: &PgPool) -> Vec<Finding> {
    vec![
        ask(pool, "version", server::version).await,
        ask(pool, "limits", server::limits).await,
        ask(pool, "connections", server::connections).await,
        server::notifications(pool, pool, server::DELIVERY).await.of("notifications"),
    ]
}

/// Examines the queue's tables and what goes on in them; needs the schema of this build.
pub async fn examine_queue(pool: &PgPool, clock: &Clock) -> Vec<Finding> {
    vec![
        ask(pool, "clock", async |conn: &mut PgConnection| server::clock(conn, clock).await).await,
        ask(pool, "rights", table::rights).await,
        ask(pool, "row security", table::row_security).await,
        ask(pool, "horizon", table::horizon).await,
        ask(pool, "replication slots", table::slots).await,
        ask(pool, "idle transactions", table::idle_transactions).await,
        ask(pool, "table settings", table::settings).await,
        ask(pool, "dead rows", table::dead_rows).await,
        ask(pool, "indexes", table::indexes).await,
        ask(pool, "plans", table::plans).await,
        ask(pool, "leaders", work::leaders).await,
        ask(pool, "workers", work::workers).await,
        ask(pool, "unserved queues", work::unserved).await,
        ask(pool, "unknown kinds", work::unknown_kinds).await,
        ask(pool, "pauses", work::pauses).await,
        ask(pool, "breakers", work::breakers).await,
        ask(pool, "leases", work::leases).await,
        ask(pool, "due jobs", work::due).await,
        ask(pool, "ticks", work::ticks).await,
    ]
}

async fn ask(
    pool: &PgPool,
    name: &'static str,
    check: impl AsyncFnOnce(&mut PgConnection) -> Result<Finding, sqlx::Error>,
) -> Finding {
    let found = timed(pool, LIMIT, check).await;
    found.unwrap_or_else(|error| unasked(&error)).of(name)
}

fn unasked(error: &dyn std::fmt::Display) -> Finding {
    Finding::problem(format!("could not be examined: {error}"), "see to that first, and ask again")
}

/// Names a few of many.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Says how long something has lasted.
fn lasting(secs: f64) -> String {
    match secs {
        ..120.0 => format!("{secs:.0} s"),
        ..7_200.0 => format!("{:.0} min", secs / 60.0),
        ..172_800.0 => format!("{:.0} h", secs / 3_600.0),
        _ => format!("{:.0} days", secs / 86_400.0),
    }
}

#[cfg(test)]
mod tests;
