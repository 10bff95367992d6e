//! The probes: what other engines were seen to lose, repeat or strand, each a test here.
//!
//! Real workers on a real database, one world for all of them. Among them are the six that `apalis-postgres`
//! 1.0 fails ([ADR 1](../../../docs/adr/0001-apalis-runs-the-workers-the-storage-is-ours.md)).

mod claims;
mod ends;
mod stops;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use greenroom_model::JobId;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::{Claimed, Track};
use crate::control::{self, Cancelled};
use crate::lane::wake_full;
use crate::settle::{Settlement, Verdict, complete};
use crate::{
    Backoff, Context, Done, Filter, Job, JobRow, Jobs, Lane, NewJob, Policy, Queue, QueueError, Settings,
    Stop, Worker, WorkerError, enqueue, sweep,
};

/// Does what its payload says, and counts how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Probe {
    does: Does,
    #[serde(default)]
    key: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Does {
    Nothing,
    Sleep(u64),
    Fail,
    Panic,
    Snooze(i64),
    Discard,
    CompleteInTransaction,
    CompleteThenRollBack,
    WaitForInterrupt,
    Checkpoint,
    ReportNul,
}

#[derive(Default)]
struct Seen {
    runs: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Report {
    text: String,
}

impl Job for Probe {
    const KIND: &'static str = "probe";
    const POLICY: Policy = Policy::on("probes")
        .max_attempts(3)
        .timeout(Duration::from_millis(1_500))
        .backoff(Backoff::new(Duration::from_secs(3), Duration::from_mins(1)));
    type State = Seen;
    type Report = Report;

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, seen: &Seen, ctx: &Context) -> Result<Done<Report>, Stop> {
        seen.runs.fetch_add(1, Ordering::SeqCst);
        let report = Report { text: "done".to_owned() };
        match self.does {
            Does::Sleep(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Does::Fail => return Err(Stop::retry("it broke")),
            #[expect(clippy::panic, reason = "this is what is probed")]
            Does::Panic => panic!("the handler panicked"),
            Does::Snooze(secs) if seen.runs.load(Ordering::SeqCst) == 1 => {
                let until = greenroom_model::Clock::system().now() + TimeDelta::seconds(secs);
                return Err(Stop::snooze_until(until, "the platform said so"));
            }
            Does::Nothing | Does::Snooze(_) => {}
            Does::Discard => return Err(Stop::cancel("it can never work")),
            Does::CompleteInTransaction | Does::CompleteThenRollBack => {
                let mut tx = ctx.queue().pool().begin().await?;
                sqlx::query!("insert into users (email) values ($1)", format!("{}@example.test", ctx.id()))
                    .execute(&mut *tx)
                    .await?;
                let done = ctx.complete(&mut tx, report).await?;
                if self.does == Does::CompleteThenRollBack && ctx.attempt() == 1 {
                    tx.rollback().await?;
                    return Err(Stop::retry("the commit failed"));
                }
                tx.commit().await?;
                return Ok(done);
            }
            Does::WaitForInterrupt => {
                ctx.interrupted().await;
                return Err(Stop::interrupted());
            }
            Does::Checkpoint => {
                let step: u32 = ctx.checkpoint()?.unwrap_or(0);
                if step < 2 {
                    let mut conn = ctx.queue().pool().acquire().await?;
                    ctx.save_checkpoint(&mut conn, &(step + 1)).await?;
                    return Err(Stop::interrupted());
                }
                return Ok(Report { text: format!("resumed at {step}") }.into());
            }
            Does::ReportNul => {
                return Ok(Report { text: "a\0b".to_owned() }.into());
            }
        }
        Ok(report.into())
    }
}

/// One of a connection's jobs: never two at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Serial {
    account: String,
}

impl Job for Serial {
    const KIND: &'static str = "serial";
    const POLICY: Policy = Policy::on("probes").lane("account", 1);
    type State = Seen;
    type Report = ();

    async fn run(self, seen: &Seen, _: &Context) -> Result<Done<()>, Stop> {
        let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
        seen.runs.fetch_add(1, Ordering::SeqCst);
        Ok(().into())
    }
}

fn does(does: Does) -> Probe {
    Probe { does, key: None }
}

struct House {
    db: Database,
    queue: Queue,
    seen: Arc<Seen>,
}

struct Running {
    worker: JoinHandle<Result<(), WorkerError>>,
    gently: CancellationToken,
    at_once: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.gently.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

fn quick() -> Settings {
    Settings { poll_interval_ms: 200, sweep_interval_ms: 100, cancel_grace_ms: 300, ..Settings::default() }
}

impl House {
    async fn new() -> Self {
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        Self { db, queue, seen: Arc::default() }
    }

    fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    fn jobs(&self) -> Jobs {
        Jobs::new().with::<Probe>(Some(&self.seen)).with::<Serial>(Some(&self.seen))
    }

    fn start(&self, slots: u32, settings: Settings) -> Running {
        let (gently, at_once) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker::new(self.queue.clone(), self.jobs(), settings)
            .serve("probes", slots)
            .shutdown_timeout(Duration::from_millis(400));
        Running { worker: tokio::spawn(worker.run(gently.clone(), at_once.clone())), gently, at_once }
    }

    async fn show(&self, job: JobId) -> JobRow {
        control::show(&mut self.pool().acquire().await.unwrap(), job).await.unwrap()
    }

    async fn until(&self, what: &str, job: JobId, holds: impl Fn(&JobRow) -> bool) -> JobRow {
        let begun = Instant::now();
        loop {
            let row = self.show(job).await;
            if holds(&row) {
                return row;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "never {what}: {row:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_ended(&self, job: JobId) -> JobRow {
        self.until("ended", job, |row| row.completed_at.is_some()).await
    }

    async fn outcomes(&self, job: JobId) -> Vec<String> {
        let attempts = control::attempts(&mut self.pool().acquire().await.unwrap(), job).await.unwrap();
        attempts.into_iter().map(|attempt| attempt.outcome).collect()
    }

    fn runs(&self) -> u32 {
        self.seen.runs.load(Ordering::SeqCst)
    }
}

async fn claim(conn: &mut sqlx::PgConnection, slots: u32) -> Vec<Claimed> {
    let (track, lease) = (Track::new("probes", ""), Duration::from_mins(1));
    crate::claim::claim(conn, &track, uuid::Uuid::now_v7(), slots, lease, track.floor, &[])
        .await
        .unwrap()
        .jobs
}

/// The wake follows the commit by some milliseconds.
async fn until_claimed(conn: &mut sqlx::PgConnection) -> Claimed {
    loop {
        if let Some(claimed) = claim(conn, 1).await.pop() {
            return claimed;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
