//! The server under measurement, and what a piece of work cost it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_postgres::{Postgres, Source, Use, find_or_start};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::Instant;

use super::cpu;
use crate::CliError;

/// The one database, dropped and made anew for each measurement.
const DATABASE: &str = "greenroom_bench_queue";

/// The private server, with `fsync` on and PostgreSQL's default settings.
pub(super) struct Server {
    postgres: Postgres,
    postmaster: u32,
    admin: PgConnection,
}

/// The counters of the server and the machine at one moment.
struct Reading {
    at: Instant,
    server_cpu: f64,
    our_cpu: f64,
    machine_cpu: f64,
    wal_bytes: i64,
    full_pages: i64,
    transactions: i64,
    dead_rows: i64,
}

/// What was spent between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub secs: f64,
    /// Processor time of PostgreSQL, in seconds.
    pub server_cpu: f64,
    /// Processor time of everybody who is neither PostgreSQL nor we nor the measured queue, in seconds.
    pub others_cpu: f64,
    pub wal_bytes: i64,
    /// Whole pages in it, which the first change after a checkpoint writes.
    pub full_pages: i64,
    pub transactions: i64,
    /// Row versions updated or deleted, each a dead row for vacuum.
    pub dead_rows: i64,
}

impl Server {
    /// Finds or starts it. `DATABASE_URL` is never read: what is dropped here must be ours.
    pub(super) async fn start() -> Result<Self, CliError> {
        let Source::Ours(postgres) = find_or_start(Use::Demo, &std::env::current_dir()?).await? else {
            return Err(CliError::Failed("queues are measured on a private server only".to_owned()));
        };
        let file = std::fs::read_to_string(postgres.data().join("postmaster.pid"))?;
        let postmaster = file.lines().next().and_then(|line| line.trim().parse().ok());
        let postmaster = postmaster
            .ok_or_else(|| CliError::Failed("the server's postmaster.pid is not read".to_owned()))?;
        let admin = postgres.options("postgres").connect().await?;
        Ok(Self { postgres, postmaster, admin })
    }

    /// Drops and recreates the database. The checkpoint keeps the whole pages of an earlier measurement's
    /// neighbours out of this one's WAL: tables that are new after it are never logged whole.
    pub(super) async fn fresh(&mut self) -> Result<(), CliError> {
        self.postgres.recreate_database(DATABASE).await?;
        sqlx::query("checkpoint").execute(&mut self.admin).await?;
        Ok(())
    }

    /// Does what autovacuum would do some time later, so that it does not do it while we measure.
    pub(super) async fn tidy(&self) -> Result<(), CliError> {
        let mut conn = self.connect().await?;
        sqlx::query("vacuum (analyze)").execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Drops the database: it may be large.
    pub(super) async fn leave(self) -> Result<(), CliError> {
        Ok(self.postgres.drop_database(DATABASE).await?)
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, CliError> {
        Ok(self.postgres.options(DATABASE).connect().await?)
    }

    pub(super) fn url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// Returns its address behind a port of this machine.
    pub(super) fn url_at(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.postgres.room().join(".s.PGSQL.5432")
    }

    pub(super) fn room(&self) -> &Path {
        self.postgres.room()
    }

    pub(super) fn database() -> &'static str {
        DATABASE
    }

    /// Returns a program that came with the server.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let server = std::fs::read_link(format!("/proc/{}/exe", self.postmaster)).ok()?;
        Some(server.with_file_name(name)).filter(|program| program.exists())
    }

    pub(super) async fn version(&mut self) -> Result<String, CliError> {
        Ok(sqlx::query_scalar("select current_setting('server_version')").fetch_one(&mut self.admin).await?)
    }

    /// Does some work, and returns what it brought and what it cost.
    pub(super) async fn measure<T>(
        &mut self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<(T, Spent), CliError> {
        let before = self.read().await?;
        let brought = work.await?;
        // Sessions tell what they did when they end, which they do just after their client is gone.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = self.read().await?;
        Ok((brought, after.since(&before)))
    }

    async fn read(&mut self) -> Result<Reading, CliError> {
        // Not checked at compile time, as nothing here: these are the server's own views, and queues of others.
        let (wal_bytes, full_pages, transactions): (i64, i64, i64) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint, wal_fpi, xact_commit
               from pg_stat_wal, pg_stat_database where datname = $1",
        )
        .bind(DATABASE)
        .fetch_one(&mut self.admin)
        .await?;
        let mut conn = self.connect().await?;
        let dead_rows = sqlx::query_scalar(
            "select coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables",
        )
        .fetch_one(&mut conn)
        .await?;
        conn.close().await?;
        Ok(Reading {
            at: Instant::now(),
            server_cpu: cpu::of_server(self.postmaster)?,
            our_cpu: cpu::of_us(),
            machine_cpu: cpu::of_machine(),
            wal_bytes,
            full_pages,
            transactions,
            dead_rows,
        })
    }
}

impl Reading {
    fn since(&self, before: &Self) -> Spent {
        let server_cpu = self.server_cpu - before.server_cpu;
        let all = self.machine_cpu - before.machine_cpu;
        Spent {
            secs: (self.at - before.at).as_secs_f64(),
            server_cpu,
            others_cpu: (all - server_cpu - (self.our_cpu - before.our_cpu)).max(0.0),
            wal_bytes: self.wal_bytes - before.wal_bytes,
            full_pages: self.full_pages - before.full_pages,
            transactions: self.transactions - before.transactions,
            dead_rows: self.dead_rows - before.dead_rows,
        }
    }
}
