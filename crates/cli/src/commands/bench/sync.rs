//! `greenroom bench sync`: how fast a channel is synced, beside a bare client that reads the same pages.
//!
//! The sandbox runs in a process of its own with some latency, so that this process's memory and time are
//! the sync's. The bare client keeps as many requests in flight, parses what it reads, and stores nothing:
//! no sync of these pages can be faster.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, TryStreamExt as _};
use greenroom_queue::{Job as _, Limits};
use greenroom_sandbox::{Bucket, Ready, Stats};
use greenroom_worker::Served;
use greenroom_youtube::SyncChannel;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::commands::demo::resident_bytes;
use crate::stage::Stage;
use crate::{CliError, Terminal};

const DATABASE: &str = "greenroom_bench";

/// The size of the channel and the distance to it.
#[derive(Debug, clap::Args)]
pub(crate) struct SyncArgs {
    /// Videos of the channel.
    #[arg(long, default_value_t = 1_000)]
    videos: u32,
    /// Its comments, replies included.
    #[arg(long, default_value_t = 100_000)]
    comments: u64,
    /// How long each answer takes at least, in milliseconds.
    #[arg(long, default_value_t = 20)]
    latency_ms: u64,
    /// Requests in flight at most, of the sync and of the bare client alike.
    #[arg(long, default_value_t = 16)]
    in_flight: u16,
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    what: &'static str,
    secs: f64,
    api_calls: u64,
    rows: i64,
    rows_per_sec: f64,
    /// The most memory this process held while it ran.
    peak_resident_bytes: Option<u64>,
}

/// Measures, and tells the rows.
pub(super) async fn run(args: &SyncArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let rows = sync(args, &terminal.progress()).await?;
    terminal.answer(&rows, || table(args, &rows))
}

/// Runs the benchmark and returns its rows: first sync, the same again, the bare client.
async fn sync(args: &SyncArgs, progress: &ProgressBar) -> Result<Vec<Measured>, CliError> {
    let (ready, _sandbox) = spawn_sandbox(args).await?;
    let mut stage = Stage::set(DATABASE, &ready, "http://127.0.0.1:8080").await?;
    stage.set_in_flight(args.in_flight).await?;
    let (agency, _) = stage.agency("Bench").await?;
    let google = &ready.google;
    let creator = stage.creator(agency, "Bench").await?;
    let connection = stage.connect(creator, &google.channel_id, &google.refresh_token).await?;

    let stop = CancellationToken::new();
    let served = [Served { queue: SyncChannel::POLICY.queue.to_owned(), slots: Some(1) }];
    let worker = greenroom_worker::worker(
        &stage.config,
        stage.queue.clone(),
        stage.engine.clone(),
        &stage.house,
        &served,
        1,
    )?;
    // However large the channel is, its quota is no limit here.
    let limits = Limits { units: Some(u32::MAX), ..Limits::default() };
    greenroom_worker::jobs(None).register(&stage.pool).await?;
    greenroom_queue::set_limits(&mut *stage.pool.acquire().await?, greenroom_youtube::POOL.name, &limits)
        .await?;
    let worker = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    let mut measured = Vec::new();
    for what in ["first sync", "the same again, unchanged"] {
        measured.push(one_sync(&stage, &ready, connection, what, progress).await?);
    }
    stop.cancel();
    worker
        .await
        .map_err(|error| CliError::Failed(error.to_string()))?
        .map_err(greenroom_worker::StartError::from)?;
    progress.set_message("bare client");
    measured.push(bare(&ready, args.in_flight).await?);
    progress.finish_and_clear();
    stage.pool.close().await;
    Ok(measured)
}

async fn one_sync(
    stage: &Stage,
    ready: &Ready,
    connection: greenroom_model::ConnectionId,
    what: &'static str,
    progress: &ProgressBar,
) -> Result<Measured, CliError> {
    reset_peak();
    let (begun, calls_before) = (Instant::now(), units(ready).await?);
    let job = SyncChannel { connection_id: connection, trigger: greenroom_youtube::Trigger::Scheduled };
    let job = stage.queue.enqueue(&job).await.map_err(greenroom_youtube::Error::from)?;
    loop {
        let row = greenroom_queue::show(&mut *stage.pool.acquire().await?, job.id).await?;
        progress.set_message(what);
        match row.status.as_str() {
            "completed" => break,
            "failed" => return Err(CliError::Failed(format!("the sync failed: {:?}", row.error_message))),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let secs = begun.elapsed().as_secs_f64();
    let rows = sqlx::query_scalar!(
        r#"select (select count(*) from youtube_videos) + (select count(*) from youtube_comments) as "rows!""#
    )
    .fetch_one(&stage.pool)
    .await?;
    Ok(row(what, secs, units(ready).await? - calls_before, rows))
}

fn row(what: &'static str, secs: f64, api_calls: u64, rows: i64) -> Measured {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rows_per_sec = rows as f64 / secs;
    Measured { what, secs, api_calls, rows, rows_per_sec, peak_resident_bytes: peak_bytes() }
}

/// Starts the sandbox as a process of its own; it ends with the handle.
async fn spawn_sandbox(args: &SyncArgs) -> Result<(Ready, Child), CliError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["sandbox", "--listen", "127.0.0.1:0"])
        .args(["--videos", &args.videos.to_string(), "--comments", &args.comments.to_string()])
        .args(["--latency-ms", &args.latency_ms.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output =
        child.stdout.take().ok_or_else(|| CliError::Failed("the sandbox has no output".to_owned()))?;
    let line = BufReader::new(output).lines().next_line().await?;
    let line = line.ok_or_else(|| CliError::Failed("the sandbox ended before it was ready".to_owned()))?;
    let ready = serde_json::from_str(&line)
        .map_err(|error| CliError::Failed(format!("the sandbox's first line is not understood: {error}")))?;
    Ok((ready, child))
}

/// Reads the channel with nothing but a client: the same pages, as many in flight, nothing stored.
async fn bare(ready: &Ready, in_flight: u16) -> Result<Measured, CliError> {
    reset_peak();
    let client = Bare::new(ready, in_flight).await?;
    let begun = Instant::now();
    let videos = client.channel(&ready.google.channel_id).await?;
    let at_once = usize::from(in_flight);
    stream::iter(videos.into_iter().map(Ok))
        .try_for_each_concurrent(at_once, |video| client.video(video, at_once))
        .await?;
    let rows = i64::try_from(client.rows.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    Ok(row(
        "bare client, same pages",
        begun.elapsed().as_secs_f64(),
        client.calls.load(Ordering::Relaxed),
        rows,
    ))
}

struct Bare {
    http: reqwest::Client,
    base: String,
    token: String,
    in_flight: Semaphore,
    calls: AtomicU64,
    rows: AtomicU64,
}

impl Bare {
    async fn new(ready: &Ready, in_flight: u16) -> Result<Self, CliError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .gzip(true)
            .user_agent("bare (gzip)")
            .build()
            .map_err(lost)?;
        let google = &ready.google;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &google.refresh_token),
            ("client_id", &google.client_id),
            ("client_secret", &google.client_secret),
        ];
        let granted: Value = http
            .post(format!("{}/token", ready.base_url))
            .form(&form)
            .send()
            .await
            .map_err(lost)?
            .json()
            .await
            .map_err(lost)?;
        let token = granted["access_token"].as_str().unwrap_or_default().to_owned();
        let in_flight = Semaphore::new(usize::from(in_flight));
        let base = ready.base_url.clone();
        Ok(Self { http, base, token, in_flight, calls: AtomicU64::new(0), rows: AtomicU64::new(0) })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        let _permit = self.in_flight.acquire().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/youtube/v3/{path}", self.base);
        let answer = self.http.get(url).query(query).bearer_auth(&self.token).send().await.map_err(lost)?;
        answer.json().await.map_err(lost)
    }

    /// Reads the channel and its videos; returns the ids of those with comments.
    async fn channel(&self, id: &str) -> Result<Vec<String>, CliError> {
        let channel =
            self.get("channels", &[("part", "id,snippet,statistics,contentDetails"), ("id", id)]).await?;
        let uploads = text(&channel["items"][0]["contentDetails"]["relatedPlaylists"]["uploads"]);
        let (mut with_comments, mut page) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("part", "contentDetails"), ("playlistId", &uploads), ("maxResults", "50")];
            if !page.is_empty() {
                query.push(("pageToken", &page));
            }
            let items = self.get("playlistItems", &query).await?;
            let ids: Vec<String> =
                list(&items["items"]).map(|item| text(&item["contentDetails"]["videoId"])).collect();
            let parts = [("part", "id,snippet,contentDetails,statistics"), ("id", &ids.join(","))];
            let videos = self.get("videos", &parts).await?;
            for video in list(&videos["items"]) {
                self.rows.fetch_add(1, Ordering::Relaxed);
                if video["statistics"]["commentCount"] != "0" {
                    with_comments.push(text(&video["id"]));
                }
            }
            page = text(&items["nextPageToken"]);
            if page.is_empty() {
                return Ok(with_comments);
            }
        }
    }

    async fn video(&self, id: String, at_once: usize) -> Result<(), CliError> {
        let mut page = String::new();
        loop {
            let mut query = vec![
                ("part", "id,snippet,replies"),
                ("videoId", id.as_str()),
                ("maxResults", "100"),
                ("order", "time"),
                ("textFormat", "plainText"),
            ];
            if !page.is_empty() {
                query.push(("pageToken", &page));
            }
            let threads = self.get("commentThreads", &query).await?;
            let mut cut = Vec::new();
            for thread in list(&threads["items"]) {
                let inline = list(&thread["replies"]["comments"]).count() as u64;
                let replies = thread["snippet"]["totalReplyCount"].as_u64().unwrap_or(0);
                self.rows.fetch_add(1 + if replies > inline { 0 } else { inline }, Ordering::Relaxed);
                if replies > inline {
                    cut.push(text(&thread["id"]));
                }
            }
            stream::iter(cut.into_iter().map(Ok))
                .try_for_each_concurrent(at_once, |id| self.replies(id))
                .await?;
            page = text(&threads["nextPageToken"]);
            if page.is_empty() {
                return Ok(());
            }
        }
    }

    async fn replies(&self, thread: String) -> Result<(), CliError> {
        let mut page = String::new();
        loop {
            let mut query = vec![
                ("part", "id,snippet"),
                ("parentId", thread.as_str()),
                ("maxResults", "100"),
                ("textFormat", "plainText"),
            ];
            if !page.is_empty() {
                query.push(("pageToken", &page));
            }
            let replies = self.get("comments", &query).await?;
            self.rows.fetch_add(list(&replies["items"]).count() as u64, Ordering::Relaxed);
            page = text(&replies["nextPageToken"]);
            if page.is_empty() {
                return Ok(());
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

async fn units(ready: &Ready) -> Result<u64, CliError> {
    let http = reqwest::Client::builder().no_proxy().build().map_err(lost)?;
    let stats = http.get(format!("{}/_sandbox/stats", ready.base_url)).send().await.map_err(lost)?;
    let stats: Stats = stats.json().await.map_err(lost)?;
    Ok(stats.units(Bucket::Default))
}

fn lost(error: reqwest::Error) -> CliError {
    CliError::Failed(format!("the sandbox could not be asked: {}", error.without_url()))
}

/// Has the kernel measure the peak anew, where it can.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024).or_else(resident_bytes)
}

/// Writes the rows as a table for a person.
pub(crate) fn table(args: &SyncArgs, rows: &[Measured]) -> String {
    let mut text = format!(
        "{} videos, {} comments, {} ms of latency, {} requests in flight\n\n{:<28}{:>9}{:>11}{:>10}{:>10}{:>11}\n",
        args.videos,
        args.comments,
        args.latency_ms,
        args.in_flight,
        "",
        "seconds",
        "API calls",
        "rows",
        "rows/s",
        "peak MB"
    );
    for row in rows {
        let peak =
            row.peak_resident_bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes / 1_000_000).to_string());
        let _ = writeln!(
            text,
            "{:<28}{:>9.1}{:>11}{:>10}{:>10.0}{:>11}",
            row.what, row.secs, row.api_calls, row.rows, row.rows_per_sec, peak
        );
    }
    text
}
