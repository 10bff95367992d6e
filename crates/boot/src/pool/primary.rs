//! Which of several servers is the primary, now and after a failover.
//!
//! Every new connection is asked whether its server can be written to. Where several servers are known,
//! one more connection watches: when it breaks, or its server turns out to be a standby, the pool is led
//! to whichever server is the primary by then, and the connections that lie idle are dropped.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::error::BootError;

/// How often the primary is asked whether it still is one.
const WATCH: Duration = Duration::from_secs(2);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Reads the servers out of `DATABASE_URL`: one address, or several with commas between.
///
/// Only a comma before a scheme parts two of them: a password may hold one too.
pub(super) fn servers(urls: &str) -> Result<Vec<PgConnectOptions>, BootError> {
    let mut addresses: Vec<String> = Vec::new();
    for part in urls.split(',') {
        match addresses.last_mut() {
            Some(last) if !part.trim_start().starts_with("postgres") => {
                last.push(',');
                last.push_str(part);
            }
            _ => addresses.push(part.to_owned()),
        }
    }
    addresses.iter().map(|address| address.trim().parse().map_err(|_| BootError::DatabaseUrl)).collect()
}

/// Asks all servers at once and returns the primary, with a connection to it.
pub(super) async fn find(
    servers: &[PgConnectOptions],
    patience: Duration,
) -> Result<(PgConnectOptions, PgConnection), BootError> {
    let mut asked = JoinSet::new();
    for server in servers.iter().cloned() {
        asked.spawn(async move {
            let answer = timeout(patience, async {
                let mut conn = PgConnection::connect_with(&server).await?;
                Ok((is_primary(&mut conn).await?, conn))
            });
            (answer.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)), server)
        });
    }
    let mut refusal = BootError::Database(sqlx::Error::PoolTimedOut);
    while let Some(Ok((answer, server))) = asked.join_next().await {
        match answer {
            Ok((true, conn)) => return Ok((server, conn)),
            Ok((false, _)) => refusal = BootError::Standby,
            // That a standby answered tells more than that another server does not.
            Err(error) if !matches!(refusal, BootError::Standby) => refusal = BootError::Database(error),
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Refuses a new connection to a standby; the pool tries anew until the primary answers.
pub(super) async fn must_be(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    if is_primary(conn).await? {
        return Ok(());
    }
    Err(sqlx::Error::Configuration("the server is a standby, which cannot be written to".into()))
}

async fn is_primary(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::raw_sql("select not pg_is_in_recovery()").fetch_one(conn).await?.try_get(0)
}

/// Leads a pool to the primary until it is closed; `conn` watches the present one.
pub(super) async fn follow(pool: PgPool, servers: Vec<PgConnectOptions>, mut conn: PgConnection) {
    loop {
        tokio::select! {
            () = pool.close_event() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        if matches!(timeout(ANSWER, is_primary(&mut conn)).await, Ok(Ok(true))) {
            continue;
        }
        match find(&servers, ANSWER).await {
            Ok((server, watching)) => {
                conn = watching;
                pool.set_connect_options(server);
                // What lies idle leads to the old primary; what is in use meets its own timeout.
                let mut dropped = 0;
                while let Some(idle) = pool.try_acquire() {
                    drop(idle.detach());
                    dropped += 1;
                }
                warn!("Lost the primary and found one again; dropped {dropped} idle connections");
            }
            Err(error) => debug!(%error, "No primary answers; asking again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_before_a_scheme_parts_two_addresses() {
        let hosts = |urls: &str| -> Vec<String> {
            servers(urls).unwrap().iter().map(|server| server.get_host().to_owned()).collect()
        };
        assert_eq!(hosts("postgres://a/x"), ["a"]);
        assert_eq!(hosts("postgres://a/x, postgresql://b/x,postgres://c/x"), ["a", "b", "c"]);
        assert_eq!(hosts("postgres://me:1,2@a/x,postgres://b/x"), ["a", "b"]);
        assert!(servers("postgres://a/x,b").is_ok_and(|servers| servers.len() == 1));
        assert!(servers("a,postgres://a/x").is_err());
    }
}
