//! The pool of database connections, each with its limits set when it is opened.
//!
//! The limits are sent as connection options, so that no statement ever runs without them. sqlx itself
//! sets no keepalive: a cut link would leave a session, and its locks, on the server for ever.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Row};

use crate::error::BootError;

/// The section `[database]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct DatabaseSettings {
    pub max_connections: NonZeroU32,
    pub acquire_timeout_ms: NonZeroU64,
    pub statement_timeout_ms: NonZeroU64,
    pub lock_timeout_ms: NonZeroU64,
    pub idle_in_transaction_timeout_ms: NonZeroU64,
}

/// How soon the server notices that a client is gone: 15 s of silence, then three questions 5 s apart.
const LIVENESS: [(&str, &str); 5] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20s"),
    ("client_connection_check_interval", "5s"),
];

/// Makes a pool for a database that answers; the name is what `pg_stat_activity` shows.
pub async fn connect(
    database_url: &SecretString,
    settings: &DatabaseSettings,
    application_name: &str,
) -> Result<PgPool, BootError> {
    let options: PgConnectOptions =
        database_url.expose_secret().parse().map_err(|_| BootError::DatabaseUrl)?;
    let limits = [
        ("statement_timeout", settings.statement_timeout_ms),
        ("lock_timeout", settings.lock_timeout_ms),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout_ms),
    ];
    let options = options
        .application_name(application_name)
        .options(limits.map(|(name, millis)| (name, format!("{millis}ms"))))
        .options(LIVENESS)
        // Our statements are short: compiling one takes longer than running it.
        .options([("jit", "off")]);
    let patience = Duration::from_millis(settings.acquire_timeout_ms.get());
    // A pool would keep trying and then say only that it timed out; this connection tells the cause.
    let first = tokio::time::timeout(patience, PgConnection::connect_with(&options)).await;
    let first = first.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(BootError::Database)?;
    first.close().await.map_err(BootError::Database)?;
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections.get())
        .acquire_timeout(patience)
        // Instead of the pool's own question whether the connection lives, which costs as much.
        .test_before_acquire(false)
        .before_acquire(|conn, _| Box::pin(is_outside_a_transaction(conn)))
        .connect_lazy_with(options))
}

/// Tells whether a connection that lay idle may be used; an error or a no has the pool take another.
///
/// In sqlx 0.9.0 a `begin` that is dropped half-way (a job that is interrupted, a client that hangs up)
/// leaves its connection in a transaction of which sqlx does not know (its issue 4393). Whoever got it
/// next would see all statements succeed, and nothing of them be committed.
async fn is_outside_a_transaction(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // One message: a transaction that began with another one began at another time.
    let asked = sqlx::raw_sql("select transaction_timestamp() = statement_timestamp()");
    asked.fetch_one(conn).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use super::*;
    use crate::Config;

    fn settings() -> DatabaseSettings {
        Config::load().unwrap().section("database").unwrap()
    }

    #[tokio::test]
    async fn every_connection_has_its_limits_and_its_name() {
        let database = Database::new().await;
        let pool = connect(&database.url().into(), &settings(), "a-worker").await.unwrap();
        for (name, value) in [
            ("application_name", "a-worker"),
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
            ("client_connection_check_interval", "5s"),
        ] {
            let set: String =
                sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&pool).await.unwrap();
            assert_eq!(set, value, "{name}");
        }
    }

    #[tokio::test]
    async fn refuses_what_it_cannot_reach_without_showing_it() {
        for url in ["hunter2", "postgres://me:hunter2@127.0.0.1:1/x"] {
            let error = connect(&url.into(), &settings(), "test").await.unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("DATABASE_URL"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_begin_that_was_dropped_half_way_swallows_nothing() {
        let database = Database::new().await;
        let one = DatabaseSettings { max_connections: NonZeroU32::MIN, ..settings() };
        let pool = connect(&database.url().into(), &one, "test").await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        tokio::select! {
            biased;
            // Asked once, it has sent BEGIN and waits for the answer.
            _ = conn.begin() => panic!("it was to be dropped"),
            () = std::future::ready(()) => {}
        }
        drop(conn);
        sqlx::query("create table kept ()").execute(&pool).await.unwrap();
        pool.close().await;
        let kept: bool = sqlx::query_scalar("select to_regclass('kept') is not null")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert!(kept);
    }
}
