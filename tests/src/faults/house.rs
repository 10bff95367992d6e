//! A database with errands in it, processes that run them, and the account in the end.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use greenroom_model::JobId;
use greenroom_queue::{Job, NewJob, Queue};
use greenroom_testkit::Database;
use sqlx::{AssertSqlSafe, PgPool};

use super::errand::{Does, Errand, HANDLERS_URL, QUEUE, SLOTS, Turn};
use crate::process;

const TABLES: &str = "
    create table runs (job uuid not null, at timestamptz not null default clock_timestamp());
    create table effects (job uuid not null, at timestamptz not null default clock_timestamp());
    create table steps (job uuid not null, step integer not null);
    create table kills (worker uuid not null, at timestamptz not null default clock_timestamp());
    create table refusals (word text not null check (word = ''));
";

pub(super) struct House {
    _db: Option<Database>,
    pub url: String,
    pub pool: PgPool,
    pub queue: Queue,
}

impl House {
    pub(super) async fn new() -> Self {
        let db = Database::new().await;
        let (url, pool) = (db.url(), db.pool().clone());
        Self { _db: Some(db), ..Self::at(url, pool).await }
    }

    /// On a database that the test brings itself.
    pub(super) async fn at(url: String, pool: PgPool) -> Self {
        sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
        Self { _db: None, url, queue: Queue::new(pool.clone()), pool }
    }

    pub(super) fn worker(&self) -> Plan<'_> {
        Plan { url: &self.url, slots: 1, queue: "errands", envs: Vec::new(), within: None }
    }

    /// Starts a process that has nothing to do but to lead the sweeping, as some worker of a pool always does.
    pub(super) async fn bystander(&self) -> Process {
        let bystander = self.worker().of("nothing").start();
        self.until("somebody sweeps", "exists (select from greenroom.leaders where role = 'sweeper')").await;
        bystander
    }

    pub(super) async fn enqueue<J: Job>(&self, jobs: impl IntoIterator<Item = J>) -> Vec<JobId> {
        let jobs: Vec<NewJob> = jobs.into_iter().map(|job| NewJob::of(&job).unwrap()).collect();
        let mut ids = Vec::new();
        for some in jobs.chunks(5_000) {
            ids.extend(self.queue.enqueue_many(some).await.unwrap().iter().map(|job| job.id));
        }
        ids
    }

    pub(super) async fn errands(&self, count: usize, does: Does) -> Vec<JobId> {
        self.enqueue(std::iter::repeat_n(Errand { does }, count)).await
    }

    pub(super) async fn turns(&self, count: usize, whose: &str, does: Does) -> Vec<JobId> {
        self.enqueue(std::iter::repeat_n(Turn { whose: whose.to_owned(), does }, count)).await
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    pub(super) async fn list(&self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&self.pool).await.unwrap()
    }

    pub(super) async fn holds(&self, condition: &str) -> bool {
        let asked = sqlx::query_scalar(AssertSqlSafe(format!("select {condition}")));
        // A server that is away has not said yes.
        asked.fetch_one(&self.pool).await.unwrap_or(false)
    }

    /// Waits until the database says so; returns how long that took.
    pub(super) async fn until(&self, what: &str, condition: &str) -> Duration {
        self.within(Duration::from_mins(2), what, condition).await
    }

    pub(super) async fn within(&self, limit: Duration, what: &str, condition: &str) -> Duration {
        let begun = Instant::now();
        while !self.holds(condition).await {
            if begun.elapsed() > limit {
                let open = "select left(to_jsonb(b)::text, 900) from background_jobs b
                             where status <> 'completed' limit 5";
                panic!("waited {limit:?} until {what}\n{}", self.list(open).await.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    pub(super) async fn until_idle(&self, limit: Duration) -> Duration {
        let idle = "not exists (select from background_jobs where status in ('pending', 'running'))";
        self.within(limit, "all is done", idle).await
    }

    /// All is completed, and was done once; returns how many jobs were begun more often than once needs.
    pub(super) async fn all_was_done_once(&self, jobs: usize) -> i64 {
        let jobs = i64::try_from(jobs).unwrap();
        assert_eq!(
            self.list("select status || coalesce(' ' || failure, '') || ' ' || count(*) from background_jobs group by status, failure").await,
            [format!("completed {jobs}")]
        );
        let lost = "select count(*) from background_jobs b where not exists (select from effects e where e.job = b.id)";
        assert_eq!(self.number(lost).await, 0, "effects that are missing");
        assert_eq!(self.number("select count(*) - count(distinct job) from effects").await, 0, "twice");
        self.number("select count(*) - count(distinct job) from runs").await
    }
}

/// A process to be started.
pub(super) struct Plan<'a> {
    url: &'a str,
    slots: u32,
    queue: &'a str,
    envs: Vec<(&'a str, String)>,
    within: Option<&'a str>,
}

impl<'a> Plan<'a> {
    pub(super) fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    fn of(mut self, queue: &'a str) -> Self {
        self.queue = queue;
        self
    }

    /// Has engine and handlers go to the database by another way.
    pub(super) fn by(mut self, url: &'a str) -> Self {
        self.url = url;
        self
    }

    /// Has the handlers alone go by another way.
    pub(super) fn handlers_by(self, url: &str) -> Self {
        self.env(HANDLERS_URL, url)
    }

    pub(super) fn env(mut self, name: &'a str, value: &str) -> Self {
        self.envs.push((name, value.to_owned()));
        self
    }

    /// Runs it in this network namespace.
    pub(super) fn within(mut self, namespace: &'a str) -> Self {
        self.within = Some(namespace);
        self
    }

    pub(super) fn start(self) -> Process {
        let log = tempfile::tempfile().unwrap();
        let this = std::env::current_exe().unwrap();
        let mut command = match self.within {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(this);
                command
            }
            None => Command::new(this),
        };
        let child = command
            .args(["--exact", "faults::errand::a_process", "--ignored", "--nocapture"])
            // Whatever the developer has set, this process works on the test's database only.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([
                ("GREENROOM_ENV", "test"),
                ("DATABASE_URL", self.url),
                (QUEUE, self.queue),
                ("GREENROOM__QUEUE__LEASE_SECS", "3"),
                ("GREENROOM__QUEUE__STATEMENT_TIMEOUT_MS", "1000"),
                ("GREENROOM__QUEUE__SWEEP_INTERVAL_MS", "200"),
                ("GREENROOM__DATABASE__IDLE_IN_TRANSACTION_TIMEOUT_MS", "2000"),
            ])
            .env(SLOTS, self.slots.to_string())
            .envs(self.envs)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        Process { child, log }
    }
}

/// A process that is killed when the test is over.
pub(super) struct Process {
    child: Child,
    log: File,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn send(&self, signal: &str) {
        process::send(self.child.id(), signal);
    }

    /// Kills it as a crash would, and notes that.
    pub(super) async fn kill(mut self, house: &House) {
        assert!(self.has_ended().is_none(), "it had ended by itself");
        sqlx::query("insert into kills (worker) select id from greenroom.workers where pid = $1")
            .bind(self.child.id().cast_signed())
            .execute(&house.pool)
            .await
            .unwrap();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to stop; returns how long that took.
    pub(super) async fn stop(mut self) -> Duration {
        let (status, took) = process::stop(&mut self.child).await;
        assert!(status.success(), "{status}");
        took
    }

    /// Returns what it has written to standard error.
    pub(super) fn log(&mut self) -> String {
        let mut text = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        let log = self.log();
        greenroom_testkit::overhear("a process of a fault test", &log);
        if std::thread::panicking() {
            let from = log.char_indices().rev().nth(3_000).map_or(0, |(at, _)| at);
            eprintln!("what process {} wrote last:\n{}", self.child.id(), &log[from..]);
        }
    }
}
