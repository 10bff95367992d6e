//! The command line that every measured queue has, and how it is timed: the same as `greenroom bench adapter`.

mod seen;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

pub use seen::Seen;

/// Jobs that one statement enqueues in bulk.
const CHUNK: u64 = 1_000;
/// Connections of a process that does not ask for more.
const CONNECTIONS: u32 = 10;

/// A queue to measure.
pub trait Peer: Clone + Send + Sync + 'static {
    /// Takes the pool it works on, and whether to leave everything at its defaults.
    fn new(pool: PgPool, defaults: bool) -> Self;
    /// Makes its tables.
    fn setup(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Enqueues these jobs, `{"seq": n}` each, in one statement.
    fn enqueue(&self, seqs: Vec<u64>) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Runs a worker whose handler tells `seen`, until it is stopped, and then gracefully to its end.
    fn work(
        &self,
        seen: Arc<Seen>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Counts the jobs that are not done.
    fn open(&self) -> impl Future<Output = anyhow::Result<u64>> + Send;
}

/// Does what the command line says, and prints one line of JSON.
#[tokio::main]
pub async fn run<P: Peer>() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let producers = if let ["enqueue", _, producers] = words[..] { producers.parse()? } else { 1 };
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS.max(producers)).connect(&url).await?;
    let peer = P::new(pool, std::env::var_os("BENCH_DEFAULTS").is_some());
    let mut answer = match words[..] {
        ["setup"] => {
            let begun = Instant::now();
            peer.setup().await?;
            json!({"op": "setup", "n": 0, "done": 0, "secs": secs(begun)})
        }
        ["enqueue", n, producers] => enqueue(&peer, n.parse()?, producers.parse()?).await?,
        ["bulk", n] => bulk(&peer, n.parse()?).await?,
        ["drain", n] => drain(&peer, n.parse()?).await?,
        ["latency", count, every_ms] => {
            latency(&peer, count.parse()?, Duration::from_millis(every_ms.parse()?)).await?
        }
        _ => bail!("usage: setup | enqueue N PRODUCERS | bulk N | drain N | latency COUNT EVERY_MS"),
    };
    answer["cpu_s"] = json!(seen::process_cpu_secs());
    println!("{answer}");
    Ok(())
}

async fn enqueue<P: Peer>(peer: &P, n: u64, producers: u32) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..producers {
        let (peer, next) = (peer.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let seq = next.fetch_add(1, Ordering::Relaxed);
                if seq >= n {
                    return anyhow::Ok(());
                }
                peer.enqueue(vec![seq]).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(json!({"op": "enqueue", "n": n, "done": n, "secs": secs(begun)}))
}

async fn bulk<P: Peer>(peer: &P, n: u64) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let mut done = 0;
    while done < n {
        let until = n.min(done + CHUNK);
        peer.enqueue((done..until).collect()).await?;
        done = until;
    }
    Ok(json!({"op": "bulk", "n": n, "done": done, "secs": secs(begun)}))
}

async fn drain<P: Peer>(peer: &P, n: u64) -> anyhow::Result<Value> {
    let before = peer.open().await?;
    let (seen, stop) = (Arc::new(Seen::new(n, 0)), CancellationToken::new());
    let begun = Instant::now();
    let worker = tokio::spawn({
        let (peer, seen, stop) = (peer.clone(), Arc::clone(&seen), stop.clone());
        async move { peer.work(seen, stop).await }
    });
    let timed_out = tokio::time::timeout(patience(), seen.until_enough()).await.is_err();
    let took = secs(begun);
    stop.cancel();
    let clean_stop = matches!(tokio::time::timeout(Duration::from_secs(20), worker).await, Ok(Ok(Ok(()))));
    let secs_total = secs(begun);
    Ok(json!({
        "op": "drain", "n": n, "done": before.saturating_sub(peer.open().await?), "secs": took,
        "handled": seen.handled(), "secs_total": secs_total, "clean_stop": clean_stop, "timed_out": timed_out,
    }))
}

async fn latency<P: Peer>(peer: &P, count: u64, every: Duration) -> anyhow::Result<Value> {
    let (seen, stop) = (Arc::new(Seen::new(count, usize::try_from(count)?)), CancellationToken::new());
    let worker = tokio::spawn({
        let (peer, seen, stop) = (peer.clone(), Arc::clone(&seen), stop.clone());
        async move { peer.work(seen, stop).await }
    });
    // Not a part of what is measured: connecting, and the worker's first look.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let mut sent = Vec::new();
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    for seq in 0..count {
        ticks.tick().await;
        let before = seen.nanos();
        peer.enqueue(vec![seq]).await?;
        sent.push((before, seen.nanos()));
    }
    // The time-out says itself in `lost`.
    let _ = tokio::time::timeout(patience(), seen.until_enough()).await;
    let took = secs(begun);
    stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(20), worker).await;
    let (mut pick, mut e2e) = (Vec::new(), Vec::new());
    for ((before, after), began) in sent.iter().zip(seen.began()) {
        if began > 0 {
            pick.push(began.saturating_sub(*after));
            e2e.push(began.saturating_sub(*before));
        }
    }
    Ok(json!({
        "op": "latency", "n": count, "done": pick.len(), "secs": took, "lost": count - pick.len() as u64,
        "pick_ms": seen::percentiles(pick), "e2e_ms": seen::percentiles(e2e),
    }))
}

fn secs(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn patience() -> Duration {
    let set = std::env::var("BENCH_TIMEOUT").ok().and_then(|secs| secs.parse().ok());
    set.and_then(|secs| Duration::try_from_secs_f64(secs).ok()).unwrap_or(Duration::from_mins(2))
}
