//! The pool of database connections, each with its limits set when it is opened.
//!
//! The limits are sent as connection options, so that no statement ever runs without them. sqlx itself
//! sets no keepalive: a cut link would leave a session, and its locks, on the server for ever.
//!
//! A pool works on the primary of the servers it is told of, and moves when that moves ([`primary`]). What
//! stands between, and would break LISTEN and prepared statements without a word, is refused ([`pooler`]).

mod pooler;
mod primary;

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

/// The engine's statements are each written for an index. One plan is made of each, once, which walks it,
/// whatever the statistics of the moment say: its tables go from nothing to a million rows in minutes, and
/// planning a statement costs more than running it.
const ENGINE_PLANS: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// How long a connection may take to say that it lives, before it is given up for another one.
const QUESTION: Duration = Duration::from_secs(3);

/// Makes a pool for a database that answers; the name is what `pg_stat_activity` shows.
pub async fn connect(
    database_url: &SecretString,
    settings: &DatabaseSettings,
    application_name: &str,
) -> Result<PgPool, BootError> {
    let options = PgPoolOptions::new().before_acquire(|conn, _| Box::pin(is_outside_a_transaction(conn)));
    open(options, &[], database_url, settings, application_name).await
}

/// Makes a pool whose connections are lent without a question, which spares a round trip each time.
///
/// For the queue's engine alone, which runs single statements under a timeout of its own: it leaves no
/// transaction behind, and meets a dead connection by trying once more.
pub async fn connect_for_engine(
    database_url: &SecretString,
    settings: &DatabaseSettings,
    application_name: &str,
) -> Result<PgPool, BootError> {
    open(PgPoolOptions::new(), &ENGINE_PLANS, database_url, settings, application_name).await
}

async fn open(
    options: PgPoolOptions,
    plans: &'static [(&'static str, &'static str)],
    database_url: &SecretString,
    settings: &DatabaseSettings,
    application_name: &str,
) -> Result<PgPool, BootError> {
    let limits = [
        ("statement_timeout", settings.statement_timeout_ms),
        ("lock_timeout", settings.lock_timeout_ms),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout_ms),
    ];
    let limited = |server: PgConnectOptions| {
        server
            .application_name(application_name)
            .options(limits.map(|(name, millis)| (name, format!("{millis}ms"))))
            .options(LIVENESS)
            // Our statements are short: compiling one takes longer than running it.
            .options([("jit", "off")])
            .options(plans.iter().copied())
    };
    let servers: Vec<PgConnectOptions> =
        primary::servers(database_url.expose_secret())?.into_iter().map(limited).collect();
    let patience = Duration::from_millis(settings.acquire_timeout_ms.get());
    // A pool would keep trying and then say only that it timed out; these connections tell the cause.
    let (server, mut first) = primary::find(&servers, patience).await?;
    pooler::refuse(&server, &mut first, patience).await?;
    let pool = options
        .max_connections(settings.max_connections.get())
        .acquire_timeout(patience)
        // Where a question is asked at all, it is not the pool's own, which costs as much and tells less.
        .test_before_acquire(false)
        .after_connect(|conn, _| Box::pin(primary::must_be(conn)))
        .after_release(|conn, _| Box::pin(answers(conn)))
        .connect_lazy_with(server);
    if servers.len() > 1 {
        tokio::spawn(primary::follow(pool.clone(), servers, first));
    } else {
        first.close().await.map_err(BootError::Database)?;
    }
    Ok(pool)
}

/// Tells whether a connection that lay idle may be used; an error or a no has the pool take another.
///
/// In sqlx 0.9.0 a `begin` that is dropped half-way (a job that is interrupted, a client that hangs up)
/// leaves its connection in a transaction of which sqlx does not know (its issue 4393). Whoever got it
/// next would see all statements succeed, and nothing of them be committed.
async fn is_outside_a_transaction(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // One message: a transaction that began with another one began at another time.
    let asked = sqlx::raw_sql("select transaction_timestamp() = statement_timestamp()").fetch_one(conn);
    // Over a link that was cut the answer never comes.
    tokio::time::timeout(QUESTION, asked).await.map_err(|_| sqlx::Error::PoolTimedOut)??.try_get(0)
}

/// Makes sure that a connection which comes back still answers.
///
/// sqlx asks by itself, and for ever: on a link that was cut under a query, a request that ran out of time
/// would keep its place in the pool until the kernel gives up, a quarter of an hour later.
async fn answers(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(QUESTION, conn.ping()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use greenroom_testkit::{Database, Link};

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
        let nowhere = "postgres://me:hunter2@127.0.0.1:1/x";
        for url in ["", "hunter2", nowhere, &format!("{nowhere},{nowhere}"), &format!("{nowhere},hunter2")] {
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_way_that_is_cut_is_left_for_another() {
        let database = Database::new().await;
        let ways = [Link::to(&database).await, Link::to(&database).await];
        let urls = ways.iter().map(Link::url).collect::<Vec<_>>().join(",");
        let config =
            Config::load().unwrap().with([("database.acquire_timeout_ms", "2000".to_owned())]).unwrap();
        let pool = connect(&urls.into(), &config.section("database").unwrap(), "test").await.unwrap();
        let answers = async || sqlx::query("select 1").execute(&pool).await.is_ok();
        assert!(answers().await);
        // Whichever answered first has two connections at least: one watches, one was used.
        let taken = usize::from(ways[1].opened() > ways[0].opened());
        let other = ways[1 - taken].opened();
        ways[taken].cut();
        let cut = Instant::now();
        while !answers().await {
            assert!(cut.elapsed() < Duration::from_secs(20), "it still knocks at the closed door");
        }
        assert!(ways[1 - taken].opened() > other + 1);
        pool.close().await;
    }
}
