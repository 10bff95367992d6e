//! `greenroom bench adapter`: one operation of the queue a call, for harnesses that compare queues.
//!
//! The shapes are fixed: one line of JSON on standard output. Jobs do nothing and carry `{"seq": n}`.
//! One worker, as a process has it: its engine on a pool of its own, a graceful stop at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_boot::{Config, pool};
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Settings, Stop, Worker};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{CliError, Terminal};

const QUEUE: &str = "bench";
/// Jobs that one statement enqueues in bulk.
const CHUNK: u64 = 1_000;
/// Jobs in hand at once: what has begun and what waits its turn in the process.
const SLOTS: u32 = 2_000;
/// The same under `BENCH_DEFAULTS=1`: what a worker has if nobody says otherwise.
const DEFAULT_SLOTS: u32 = 10;
/// How long nothing may happen before the operation is given up; `BENCH_TIMEOUT` seconds stand over it.
const PATIENCE: Duration = Duration::from_mins(2);

/// An operation of the queue.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Op {
    /// Brings the database to this build's schema.
    Setup,
    /// Enqueues jobs one at a time, each in a transaction of its own.
    Enqueue {
        /// Jobs.
        n: u64,
        /// Tasks that enqueue at the same time.
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        producers: u32,
    },
    /// Enqueues jobs a thousand at a time.
    Bulk {
        /// Jobs.
        n: u64,
    },
    /// Runs jobs by one worker until that many are done.
    Drain {
        /// Jobs.
        n: u64,
    },
    /// Enqueues jobs one after the other for an idle worker, and tells how soon each began.
    Latency {
        /// Jobs.
        count: u64,
        /// The pause between two of them, in milliseconds.
        every_ms: u64,
    },
}

/// The job that does nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seq {
    seq: u64,
}

/// What the handlers saw.
#[derive(Debug)]
pub(super) struct Seen {
    handled: AtomicU64,
    wanted: AtomicU64,
    enough: Notify,
    /// When each began, in nanoseconds after the epoch below, by `seq`; empty where nobody asks.
    began: Vec<AtomicU64>,
    epoch: Instant,
}

impl Seen {
    pub(super) fn new(wanted: u64, timed: usize) -> Self {
        Self {
            handled: AtomicU64::new(0),
            wanted: AtomicU64::new(wanted),
            enough: Notify::new(),
            began: (0..timed).map(|_| AtomicU64::new(0)).collect(),
            epoch: Instant::now(),
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Waits until as many were handled as are wanted.
    async fn until_enough(&self) {
        loop {
            let notified = self.enough.notified();
            if self.handled.load(Ordering::Acquire) >= self.wanted.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }
}

impl Job for Seq {
    const KIND: &'static str = "bench.nothing";
    const POLICY: Policy = Policy::on(QUEUE);
    type State = Seen;
    type Report = ();

    async fn run(self, seen: &Seen, _: &Context) -> Result<Done<()>, Stop> {
        if let Some(began) = usize::try_from(self.seq).ok().and_then(|seq| seen.began.get(seq)) {
            began.store(seen.nanos().max(1), Ordering::Release);
        }
        if seen.handled.fetch_add(1, Ordering::AcqRel) + 1 == seen.wanted.load(Ordering::Acquire) {
            seen.enough.notify_waiters();
        }
        Ok(().into())
    }
}

pub(super) async fn run(op: &Op, terminal: &mut Terminal) -> Result<(), CliError> {
    let cpu = Cpu::now();
    let begun = Instant::now();
    let mut answer = match op {
        Op::Setup => {
            let pool = terminal.connect().await?;
            greenroom_postgres::migrate(&pool.connect_options()).await?;
            json!({"op": "setup", "n": 0, "done": 0, "secs": begun.elapsed().as_secs_f64()})
        }
        Op::Enqueue { n, producers } => {
            let queue = Queue::new(producers_pool(terminal, *producers).await?);
            let begun = Instant::now();
            let done = enqueue_singly(&queue, *n, *producers).await?;
            queue.flush().await;
            json!({"op": "enqueue", "n": n, "done": done, "secs": begun.elapsed().as_secs_f64()})
        }
        Op::Bulk { n } => {
            let queue = Queue::new(terminal.database().await?);
            let begun = Instant::now();
            let done = enqueue_in_bulk(&queue, *n).await?;
            queue.flush().await;
            json!({"op": "bulk", "n": n, "done": done, "secs": begun.elapsed().as_secs_f64()})
        }
        Op::Drain { n } => drain(terminal, *n).await?,
        Op::Latency { count, every_ms } => {
            latency(terminal, *count, Duration::from_millis(*every_ms)).await?
        }
    };
    answer["cpu_s"] = json!(cpu.secs_since());
    terminal.print(&answer.to_string())
}

async fn producers_pool(terminal: &Terminal, producers: u32) -> Result<PgPool, CliError> {
    let config = terminal.config()?;
    let settings: pool::DatabaseSettings = config.section("database")?;
    let wanted = settings.max_connections.max(producers.try_into().unwrap_or(settings.max_connections));
    let settings = pool::DatabaseSettings { max_connections: wanted, ..settings };
    Ok(pool::connect(&terminal.secret("DATABASE_URL")?, &settings, "greenroom-bench").await?)
}

/// Enqueues `n` jobs, each by a call of its own, from several tasks; returns how many are there.
pub(super) async fn enqueue_singly(queue: &Queue, n: u64, producers: u32) -> Result<u64, CliError> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..producers {
        let (queue, next) = (queue.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut done = 0;
            loop {
                let seq = next.fetch_add(1, Ordering::Relaxed);
                if seq >= n {
                    return Ok::<u64, CliError>(done);
                }
                queue.enqueue(&Seq { seq }).await?;
                done += 1;
            }
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        done += ended.map_err(|error| CliError::Failed(error.to_string()))??;
    }
    Ok(done)
}

/// Enqueues `n` jobs in statements of a thousand; returns how many are there.
pub(super) async fn enqueue_in_bulk(queue: &Queue, n: u64) -> Result<u64, CliError> {
    let mut done = 0;
    while done < n {
        let until = n.min(done + CHUNK);
        let jobs: Vec<NewJob> =
            (done..until).map(|seq| NewJob::of(&Seq { seq })).collect::<Result<_, _>>()?;
        done += queue.enqueue_many(&jobs).await?.len() as u64;
    }
    Ok(done)
}

/// A worker at work.
pub(super) struct AtWork {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), greenroom_queue::WorkerError>>,
}

impl AtWork {
    pub(super) fn start(queue: Queue, engine: PgPool, settings: Settings, seen: &Arc<Seen>) -> Self {
        let stop = CancellationToken::new();
        let jobs = Jobs::new().with::<Seq>(Some(seen));
        let slots = if std::env::var_os("BENCH_DEFAULTS").is_some() { DEFAULT_SLOTS } else { SLOTS };
        let worker = Worker::new(queue, jobs, settings).engine(engine).serve(QUEUE, slots);
        Self { stop: stop.clone(), task: tokio::spawn(worker.run(stop, CancellationToken::new())) }
    }

    /// Stops it as a deploy would; tells whether it ended cleanly.
    pub(super) async fn stop(self) -> bool {
        self.stop.cancel();
        matches!(self.task.await, Ok(Ok(())))
    }
}

async fn worker(terminal: &Terminal, queue: Queue, seen: &Arc<Seen>) -> Result<AtWork, CliError> {
    let config = Config::load()?;
    let url = terminal.secret("DATABASE_URL")?;
    let engine = greenroom_worker::engine_pool(&config, &url, "greenroom-bench").await?;
    let settings: Settings = config.section("queue")?;
    Ok(AtWork::start(queue, engine, settings, seen))
}

async fn drain(terminal: &Terminal, n: u64) -> Result<serde_json::Value, CliError> {
    let pool = terminal.database().await?;
    let seen = Arc::new(Seen::new(n, 0));
    let worker = worker(terminal, Queue::new(pool.clone()), &seen).await?;
    let begun = Instant::now();
    let timed_out = tokio::time::timeout(patience(), seen.until_enough()).await.is_err();
    let secs = begun.elapsed().as_secs_f64();
    let clean_stop = worker.stop().await;
    let secs_total = begun.elapsed().as_secs_f64();
    let done = sqlx::query_scalar!(
        r#"select count(*) as "n!" from background_jobs where job_type = $1 and status = 'completed'"#,
        Seq::KIND
    )
    .fetch_one(&pool)
    .await?;
    Ok(json!({
        "op": "drain", "n": n, "done": done, "secs": secs,
        "handled": seen.handled.load(Ordering::Acquire), "secs_total": secs_total,
        "clean_stop": clean_stop, "timed_out": timed_out,
    }))
}

async fn latency(terminal: &Terminal, count: u64, every: Duration) -> Result<serde_json::Value, CliError> {
    let queue = Queue::new(terminal.database().await?);
    let seen = Arc::new(Seen::new(count, usize::try_from(count).unwrap_or(usize::MAX)));
    let worker = worker(terminal, queue.clone(), &seen).await?;
    // Not a part of what is measured: connecting, and the worker's first look.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let mut sent = Vec::new();
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    for seq in 0..count {
        ticks.tick().await;
        let before = seen.nanos();
        queue.enqueue(&Seq { seq }).await?;
        sent.push((before, seen.nanos()));
    }
    // The time-out says itself in `lost`.
    let _ = tokio::time::timeout(patience(), seen.until_enough()).await;
    let secs = begun.elapsed().as_secs_f64();
    worker.stop().await;
    let (mut pick, mut e2e) = (Vec::new(), Vec::new());
    for ((before, after), start) in sent.iter().zip(&seen.began) {
        let start = start.load(Ordering::Acquire);
        if start > 0 {
            pick.push(start.saturating_sub(*after));
            e2e.push(start.saturating_sub(*before));
        }
    }
    Ok(json!({
        "op": "latency", "n": count, "done": pick.len(), "secs": secs,
        "lost": count - pick.len() as u64, "pick_ms": Percentiles::of(pick), "e2e_ms": Percentiles::of(e2e),
    }))
}

/// Three percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

impl Percentiles {
    /// Takes them of times in nanoseconds.
    pub(super) fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds to three places are wanted")]
        let at = |percent: usize| {
            let at = (nanos.len() * percent).div_ceil(100).saturating_sub(1);
            nanos.get(at).map_or(0.0, |nanos| (*nanos as f64 / 1_000.0).round() / 1_000.0)
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

fn patience() -> Duration {
    let set = std::env::var("BENCH_TIMEOUT").ok().and_then(|secs| secs.parse().ok());
    set.and_then(|secs| Duration::try_from_secs_f64(secs).ok()).unwrap_or(PATIENCE)
}

/// The processor time of this process, from the kernel's own account.
pub(super) struct Cpu(f64);

impl Cpu {
    pub(super) fn now() -> Self {
        Self(process_cpu_secs().unwrap_or_default())
    }

    /// Returns the seconds used since, on all threads together.
    pub(super) fn secs_since(&self) -> f64 {
        ((process_cpu_secs().unwrap_or_default() - self.0) * 100.0).round() / 100.0
    }
}

/// Reads user and system time from `/proc`, which counts in hundredths of a second.
fn process_cpu_secs() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let of = Percentiles::of((1..=100).map(|ms| ms * 1_000_000).collect());
        assert_eq!((of.p50, of.p95, of.p99), (50.0, 95.0, 99.0));
        assert!(Percentiles::of(Vec::new()).p50.abs() < f64::EPSILON);
    }
}
