//! A database of a test's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use greenroom_model::Clock;
use greenroom_postgres::Source;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool, Row};

use crate::server::{address, admin, options, run, source};
use crate::{secrets, template};

/// Small, since many tests run at once on one server; enough for a test of concurrency.
const CONNECTIONS: u32 = 8;
/// What the name of every such database begins with; the second of its birth follows.
const PREFIX: &str = "greenroom_test_";
/// A database this old belongs to a test that was killed.
const ABANDONED: Duration = Duration::from_hours(6);

/// Tells whether a connection that lay idle may be used, as the house's own pool does: sqlx 0.9.0 hands on
/// one whose `begin` was dropped half-way (its issue 4393), and tests drop jobs at any point.
async fn is_outside_a_transaction(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql("select transaction_timestamp() = statement_timestamp()");
    asked.fetch_one(conn).await?.try_get(0)
}

/// An empty database with the whole schema, for one test; dropped with this value.
#[derive(Debug)]
pub struct Database {
    source: &'static Source,
    name: String,
    pool: PgPool,
    clock: Clock,
}

impl Database {
    /// Makes a database with the schema of this build.
    pub async fn new() -> Self {
        secrets::listen();
        let source = source().await;
        let mut admin = admin(source).await;
        sweep(&mut admin).await;
        let template = template::ready(source, &mut admin).await;
        let made = Self::copy(source, &mut admin, &template).await;
        admin.close().await.unwrap();
        made
    }

    /// Makes a database without any schema, for tests that migrate it themselves.
    ///
    /// Its clock cannot be moved before it has one.
    pub async fn empty() -> Self {
        let source = source().await;
        let mut admin = admin(source).await;
        let made = Self::copy(source, &mut admin, "template0").await;
        admin.close().await.unwrap();
        made
    }

    async fn copy(source: &'static Source, admin: &mut PgConnection, template: &str) -> Self {
        let name = name(SystemTime::now());
        // A copy of the files takes a third of the time that a copy through the log takes.
        let sql = format!("create database {name} template {template} strategy file_copy");
        run(admin, sql)
            .await
            .unwrap_or_else(|error| panic!("no database could be made for this test: {error}"));
        let options = options(source, &name)
            .application_name(thread::current().name().unwrap_or("a test"))
            // A statement that waits for ever should fail where it stands, not by the harness's patience.
            .options([("statement_timeout", "60s")]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .before_acquire(|conn, _| Box::pin(is_outside_a_transaction(conn)))
            .connect_lazy_with(options);
        Self { source, name, pool, clock: Clock::system() }
    }

    /// Returns a pool of a few connections, opened as they are needed.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns the database's address, for another process or a pool of another kind.
    pub fn url(&self) -> String {
        address(self.source, &self.name)
    }

    /// Returns a clock that moves with the database's.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Moves `greenroom.now()` and the clock forward.
    pub async fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        let sql = "update greenroom.clock_offset set by_micros = by_micros + $1";
        sqlx::query(sql).bind(micros).execute(&self.pool).await.unwrap();
        self.clock.advance(by);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if thread::panicking() && std::env::var("GREENROOM_KEEP_DB").is_ok_and(|keep| keep == "1") {
            keep(self);
            return;
        }
        let (source, name, failed) = (self.source, self.name.clone(), thread::panicking());
        // A test's own runtime cannot be waited for from within, so another thread brings one of its own.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let found = secrets::scan(source, &name).await;
                let mut admin = admin(source).await;
                run(&mut admin, format!("drop database if exists {name} with (force)")).await.unwrap();
                admin.close().await.unwrap();
                found
            })
        });
        // A failure is told by that thread; the test's own outcome stands, and `sweep` comes by later.
        let Ok(found) = dropped.join() else { return };
        if failed {
            return;
        }
        let found = found.unwrap_or_else(|error| panic!("this test's tables cannot be searched: {error}"));
        assert!(found.is_empty(), "a secret stands in the open in {}", found.join(", "));
        let heard = secrets::overheard();
        assert!(heard.is_empty(), "a secret was said in the open, by this test or one beside it: {heard:#?}");
    }
}

/// Leaves the database, and the server if it is ours, and says where they are.
#[expect(clippy::print_stderr, reason = "for whoever looks into a failed test")]
fn keep(database: &Database) {
    eprintln!("the database of this test is kept: psql '{}'", database.url());
    if let Source::Ours(postgres) = database.source {
        let keep = postgres.room().join("keep");
        match std::fs::write(&keep, []) {
            Ok(()) => eprintln!("its server stays until you remove {}", keep.display()),
            Err(error) => eprintln!("its server goes soon: {}: {error}", keep.display()),
        }
    }
}

fn name(now: SystemTime) -> String {
    let secs = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("{PREFIX}{secs}_{:016x}", rand::random::<u64>())
}

/// Removes what tests left that were killed; once a process will do.
async fn sweep(admin: &mut PgConnection) {
    static SWEPT: AtomicBool = AtomicBool::new(false);
    if SWEPT.swap(true, Ordering::Relaxed) {
        return;
    }
    // One that somebody is connected to, such as a person who looks into it, is not abandoned.
    let sql = "select datname::text from pg_database as database
               where starts_with(datname, $1)
                 and not exists (select from pg_stat_activity where datid = database.oid)";
    let names: Vec<String> = sqlx::query_scalar(sql).bind(PREFIX).fetch_all(&mut *admin).await.unwrap();
    for name in names.iter().filter(|name| is_abandoned(name, SystemTime::now())) {
        // Another process may be faster, or somebody may just have come.
        run(admin, format!("drop database if exists {name}")).await.ok();
    }
}

fn is_abandoned(name: &str, now: SystemTime) -> bool {
    let secs = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()?.parse().ok());
    let born = secs.map(|secs| UNIX_EPOCH + Duration::from_secs(secs));
    born.and_then(|born| now.duration_since(born).ok()).is_some_and(|age| age > ABANDONED)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use chrono::{DateTime, TimeDelta, Utc};
    use url::Url;

    use super::*;

    async fn sql_now(db: &Database) -> DateTime<Utc> {
        sqlx::query_scalar("select greenroom.now()").fetch_one(db.pool()).await.unwrap()
    }

    #[tokio::test]
    async fn sql_and_rust_move_together() {
        let db = Database::new().await;
        let before = sql_now(&db).await;
        assert!((db.clock().now() - before).abs() < TimeDelta::seconds(5));
        db.advance(Duration::from_hours(30)).await;
        db.advance(Duration::from_micros(1_500)).await;
        let after = sql_now(&db).await;
        assert!(after - before >= TimeDelta::hours(30) + TimeDelta::microseconds(1_500));
        assert!((db.clock().now() - after).abs() < TimeDelta::seconds(5));
    }

    #[tokio::test]
    async fn a_column_default_and_an_index_scan_see_the_moved_clock() {
        let db = Database::new().await;
        db.advance(Duration::from_hours(48)).await;
        sqlx::raw_sql("create table born (at timestamptz primary key default greenroom.now()); insert into born default values")
            .execute(db.pool())
            .await
            .unwrap();
        let due =
            "select count(*) from born where at <= greenroom.now() and at > now() + interval '47 hours'";
        let count: i64 = sqlx::query_scalar(due).fetch_one(db.pool()).await.unwrap();
        assert_eq!(count, 1);
    }

    #[tokio::test]
    async fn tests_do_not_see_each_other_and_leave_nothing() {
        let (one, other) = tokio::join!(Database::new(), Database::new());
        sqlx::query("create table only_here ()").execute(one.pool()).await.unwrap();
        let seen: Option<String> = sqlx::query_scalar("select to_regclass('only_here')::text")
            .fetch_one(other.pool())
            .await
            .unwrap();
        assert_eq!(seen, None);
        let (source, name) = (one.source, one.name.clone());
        // Still connected: a test need not close its pool.
        drop(one);
        assert!(!exists(source, &name).await);
        assert!(exists(source, &other.name).await);
    }

    #[tokio::test]
    async fn a_test_that_leaves_a_token_in_the_open_fails() {
        for (table, row, is_told) in [
            ("(access_token text)", "('ya29.a0AfB_byC')", false),
            (
                "(access_token text, note jsonb)",
                r#"('', '{"said": "the token 1//0gAbCd_efGh is wrong"}')"#,
                true,
            ),
            ("(note text)", "('by gr_0123456789ab_secretsecret')", true),
            ("(note text)", "('see https://example.com//0 and ya29')", false),
        ] {
            let db = Database::new().await;
            let sql = format!("create table notes {table}; insert into notes values {row}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(db.pool()).await.unwrap();
            let end = thread::spawn(move || drop(db)).join();
            assert_eq!(end.is_err(), is_told, "{row}");
        }
    }

    #[tokio::test]
    async fn an_empty_database_has_no_schema() {
        let db = Database::empty().await;
        let sql = "select exists (select from pg_namespace where nspname = 'greenroom')";
        let there: bool = sqlx::query_scalar(sql).fetch_one(db.pool()).await.unwrap();
        assert!(!there);
    }

    #[tokio::test]
    async fn its_address_reaches_it() {
        use sqlx::ConnectOptions;
        use sqlx::postgres::PgConnectOptions;
        let db = Database::new().await;
        let options: PgConnectOptions = db.url().parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let name: String =
            sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.unwrap();
        assert_eq!(name, db.name);
    }

    async fn exists(source: &Source, name: &str) -> bool {
        let mut admin = admin(source).await;
        let sql = "select exists (select from pg_database where datname = $1)";
        let there = sqlx::query_scalar(sql).bind(name).fetch_one(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        there
    }

    #[test]
    fn only_the_old_are_abandoned() {
        let born = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert!(!is_abandoned(&name(born), born + Duration::from_hours(5)));
        assert!(is_abandoned(&name(born), born + Duration::from_hours(7)));
        assert!(!is_abandoned("greenroom_test_of_somebody", born));
    }

    #[tokio::test]
    #[ignore = "a part of the test below, run by it in a process of its own"]
    async fn fail_with_a_database() {
        if std::env::var_os("GREENROOM_FAIL_HERE").is_some() {
            let _db = Database::new().await;
            panic!("on purpose");
        }
    }

    /// Runs the failing test with another setting of `GREENROOM_KEEP_DB`, and returns what it said.
    fn fail(keep: &str) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "database::tests::fail_with_a_database", "--ignored", "--nocapture"])
            .envs([("GREENROOM_FAIL_HERE", "1"), ("GREENROOM_KEEP_DB", keep)])
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    #[tokio::test]
    async fn the_database_of_a_failed_test_is_kept_and_named_on_demand() {
        let source = source().await;
        assert!(!fail("0").contains("is kept"));
        let marker = match source {
            Source::Ours(postgres) => postgres.room().join("keep"),
            Source::Given(_) => std::path::PathBuf::new(),
        };
        // Somebody's real failure may be kept at the same time.
        let ours = !marker.exists();
        let said = fail("1");
        let url = said.split('\'').find(|part| part.starts_with("postgres://")).unwrap();
        let name = Url::parse(url).unwrap().path().trim_start_matches('/').to_owned();
        let kept = exists(source, &name).await;
        let mut admin = admin(source).await;
        run(&mut admin, format!("drop database if exists {name}")).await.unwrap();
        if ours && marker.exists() {
            std::fs::remove_file(&marker).unwrap();
        }
        assert!(kept, "{said}");
    }
}
