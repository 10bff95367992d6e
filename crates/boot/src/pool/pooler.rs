//! Finds out whether a pooler in transaction mode stands between us and the database.
//!
//! Through one, sqlx returns other clients' results without an error, since prepared statements stay
//! behind on connections that go to others, and LISTEN never hears. Session mode is as good as none.
//!
//! Two connections tell: the server process behind one of them must stay the same from statement to
//! statement, and never be that of the other, although the other is in a transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use crate::error::BootError;

/// Other clients of a pooler come between; they cannot do so each time.
const ROUNDS: usize = 3;

/// Refuses a server that is reached through a pooler in transaction mode; `ours` is a connection to it.
pub(super) async fn refuse(
    server: &PgConnectOptions,
    ours: &mut PgConnection,
    patience: Duration,
) -> Result<(), BootError> {
    // A pooler that has no server left for the second connection lets it wait, whatever its mode.
    let shared = timeout(patience, is_shared(server, ours))
        .await
        .map_err(|_| BootError::OneConnection { secs: patience.as_secs_f32() })?;
    if shared.map_err(BootError::Database)? { Err(BootError::TransactionPooler) } else { Ok(()) }
}

async fn is_shared(server: &PgConnectOptions, ours: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut other = PgConnection::connect_with(server).await?;
    for _ in 0..ROUNDS {
        let process = ask(ours, "select pg_backend_pid()").await?;
        // One that takes its servers in turn has another for the next statement already.
        if ask(ours, "select pg_backend_pid()").await? != process {
            return Ok(true);
        }
        // One with a single server has only that to give. It is held until the rollback, so our next
        // statement would wait: whoever is found out is not asked again.
        if ask(&mut other, "begin; select pg_backend_pid()").await? == process
            || ask(ours, "select pg_backend_pid()").await? != process
        {
            return Ok(true);
        }
        sqlx::raw_sql("rollback").execute(&mut other).await?;
    }
    other.close().await?;
    Ok(false)
}

/// Asks by a simple query: prepared ones are what breaks.
async fn ask(conn: &mut PgConnection, question: &'static str) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql(question).fetch_one(conn).await?.try_get(0)
}

#[cfg(test)]
mod tests;
