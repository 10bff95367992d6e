//! `greenroom demo`: the main job, start to end, on a private PostgreSQL and the sandbox.
//!
//! An agency with two creators, who connect their accounts on consent pages; a sync requested over the API and one
//! that the schedule brings; comments that are read and listed ([`inbox`]); tokens that grow old and are renewed ([`consents`]); workers in this process, real HTTP
//! between all parts; then an act of the queue's own ([`act`]). It ends with an
//! account of what happened, in which the numbers of the database are held against those of the outside world.

mod act;
mod consents;
mod inbox;
mod mail;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_boot::signals;
use greenroom_credits::AuditWalk;
use greenroom_model::{Clock, ConnectionId, LocationId, UserId};
use greenroom_sandbox::{Bucket, Running, Sandbox};
use greenroom_vault::Secret;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::processes::Processes;
use crate::stage::Stage;
use crate::{CliError, Terminal};

const DATABASE: &str = "greenroom_demo";
/// How long the demo waits for its jobs before it says that something is wrong.
const PATIENCE: Duration = Duration::from_mins(5);

/// The options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Videos of each channel.
    #[arg(long, default_value_t = 120)]
    videos: u32,
    /// Comments of each channel, replies included.
    #[arg(long, default_value_t = 4_000)]
    comments: u64,
    /// Has the sandbox's language model read the comments, which costs credits, instead of the reader of the program.
    #[arg(long)]
    llm: bool,
    /// Keeps everything running until Ctrl-C, with the addresses to look at.
    #[arg(long)]
    stay: bool,
}

/// What happened, as one document.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    /// `ok` when every number agrees with the outside world.
    status: &'static str,
    /// What does not agree, in words.
    disagreements: Vec<String>,
    secs: f64,
    jobs: BTreeMap<String, BTreeMap<String, i64>>,
    rows: Rows,
    runs: BTreeMap<String, i64>,
    credits: Credits,
    quota_units: i64,
    /// What was read in the comments.
    inbox: inbox::Inbox,
    /// What became of mail.
    mail: mail::Mail,
    /// The queue's act: limits, a breaker, a retry, a redrive.
    queue: act::Queue,
    connections: consents::Connections,
    api_calls: BTreeMap<String, u64>,
    resident_bytes: Option<u64>,
    look_next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Rows {
    youtube_videos: i64,
    youtube_comments: i64,
    /// Of the comments, those that answer one.
    replies: i64,
}

#[derive(Debug, Serialize)]
struct Credits {
    events: i64,
    /// In whole credits, as exact decimals.
    charged: String,
    balances: String,
    reserved: String,
    /// Accounts whose month began, with a new allowance.
    periods_begun: i64,
}

/// Plays the demo and tells its account.
pub(super) async fn run(args: &Args, terminal: &mut Terminal) -> Result<(), CliError> {
    let account = play(args, terminal).await?;
    terminal.answer(&account, || describe(&account))?;
    match account.disagreements.first() {
        None => Ok(()),
        Some(first) => Err(CliError::Failed(format!("the account is not as it must be: {first}"))),
    }
}

async fn play(args: &Args, terminal: &mut Terminal) -> Result<Account, CliError> {
    let begun = Instant::now();
    let signals = signals::shutdown()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let outside = Clock::system();
    let sandbox = Sandbox::start(greenroom_sandbox::Settings {
        channels: 2,
        videos: args.videos,
        comments: args.comments,
        newest_at: midnight(Clock::system().now()),
        clock: outside.clone(),
        ..Default::default()
    })
    .await?;
    let ready = sandbox.ready();
    let mut stage = Stage::set(DATABASE, &ready, &format!("http://{}", listener.local_addr()?)).await?;
    stage.configure(mail::settings()).await?;
    if args.llm {
        stage.set_llm().await?;
    }
    let (agency, token) = stage.agency("Backstage Talent").await?;
    let cast = Cast {
        ada: stage.creator(agency, "Ada").await?,
        grace: stage.creator(agency, "Grace").await?,
        stage_door: stage.location(agency, "The stage door").await?,
        token,
    };
    mail::cast(&stage, agency, &cast).await?;
    let mut house =
        Processes::start(&stage.config, &stage.queue, &stage.engine, &stage.house, listener, &signals)?;
    let api_url = house.api_url.clone();
    let bar = progress_bar(terminal, rows_there_are(&sandbox));
    let played = tokio::select! {
        played = perform(&stage, &sandbox, &outside, &api_url, &cast, &bar, terminal) => played,
        ended = house.first_end() => {
            Err(ended.err().unwrap_or_else(|| CliError::Failed("a process of the house ended".to_owned())))
        }
        () = signals.requested.cancelled() => Err(CliError::Interrupted),
    };
    let account = match played {
        Ok(played) => Ok(account(&stage, &sandbox, played, begun.elapsed()).await?),
        Err(error) => Err(error),
    };
    if account.is_ok() && args.stay {
        announce(terminal, &stage, &api_url, &cast.token);
        signals.requested.cancelled().await;
    }
    house.stop().await?;
    stage.pool.close().await;
    account
}

fn rows_there_are(sandbox: &Running) -> u64 {
    sandbox.totals().iter().map(|t| u64::from(t.readable_videos) + t.threads + t.replies).sum()
}

/// Who plays.
struct Cast {
    ada: UserId,
    grace: UserId,
    /// A location of their agency.
    stage_door: LocationId,
    /// The agency's service token.
    token: Secret,
}

/// What was played, and what of it is not as it must be.
struct Played {
    connections: consents::Connections,
    /// Accounts whose new period began.
    resets: i64,
    inbox: inbox::Inbox,
    queue: act::Queue,
    disagreements: Vec<String>,
}

/// Plays all of it.
async fn perform(
    stage: &Stage,
    sandbox: &Running,
    outside: &Clock,
    api_url: &str,
    cast: &Cast,
    bar: &ProgressBar,
    terminal: &mut Terminal,
) -> Result<Played, CliError> {
    bar.set_message("Ada and Grace connect their accounts");
    let browser = consents::Browser::new(api_url, &cast.token)?;
    browser.consent("youtube", cast.ada, None, 0).await?;
    browser.consent("youtube", cast.grace, None, 1).await?;
    browser.consent("instagram", cast.ada, Some(cast.stage_door), 0).await?;
    browser.consent("twitter", cast.grace, Some(cast.stage_door), 0).await?;
    scenes(stage, api_url, cast, bar).await?;
    bar.set_message("somebody leaves the list by a mail's link");
    mail::click_unsubscribe(sandbox).await?;
    bar.set_message("a mail comes back");
    mail::come_back(stage, sandbox).await?;
    bar.set_message("comments are read and ranked");
    let inbox = inbox::read(&stage.pool, api_url, &cast.token).await?;
    bar.set_message("forty days pass for their tokens");
    let connections = consents::grow_old(&stage.pool, outside).await?;
    idle(stage, bar).await?;
    bar.set_message("a month passes for their credits");
    let resets = consents::a_month_passes(&stage.pool).await?;
    idle(stage, bar).await?;
    bar.suspend(|| terminal.note("The queue's act: the failures that are logged from here on are played."));
    bar.set_message("the queue: limits, a breaker, a retry, a redrive");
    let mut disagreements = Vec::new();
    let queue = act::play(stage, sandbox, &mut disagreements).await?;
    bar.finish_and_clear();
    Ok(Played { connections, resets, inbox, queue, disagreements })
}

async fn scenes(stage: &Stage, api_url: &str, cast: &Cast, bar: &ProgressBar) -> Result<(), CliError> {
    bar.set_message("Ada asks for a sync over the API");
    let channel = consents::channel_of(&stage.pool, cast.ada).await?;
    let job = request(api_url, &cast.token, channel).await?;
    // Everything else comes by schedule: its next tick is put at now, as if its time had come.
    sqlx::query!("update greenroom.schedules set next_fire_at = greenroom.now()")
        .execute(&stage.pool)
        .await?;
    idle(stage, bar).await?;
    let answer = get(&format!("{api_url}{job}"), &cast.token).await?;
    match answer.status.as_str() {
        "completed" => Ok(()),
        status => {
            Err(CliError::Failed(format!("the requested sync is {status}: {:?}", answer.error_message)))
        }
    }
}

/// Waits until both channels are synced and no job is open.
async fn idle(stage: &Stage, bar: &ProgressBar) -> Result<(), CliError> {
    let begun = Instant::now();
    loop {
        let (rows, open) = progress(&stage.pool).await?;
        bar.set_position(rows.unsigned_abs());
        bar.set_message(if open > 0 { "syncing both channels" } else { "done" });
        if open == 0 && all_synced(&stage.pool).await? {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Failed(format!("jobs are still open after {} s", PATIENCE.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the demo reads of a job's document.
#[derive(Debug, Deserialize)]
struct JobDocument {
    status: String,
    error_message: Option<String>,
}

/// Asks the API for a sync, as a platform engineer would; returns the path of the job.
async fn request(api_url: &str, token: &Secret, connection: ConnectionId) -> Result<String, CliError> {
    let url = format!("{api_url}/v1/youtube/connections/{connection}/sync");
    let answer = http()?.post(url).bearer_auth(token.expose()).send().await.map_err(unreachable)?;
    let status = answer.status();
    let location = answer.headers().get("location").and_then(|path| path.to_str().ok()).map(str::to_owned);
    match location {
        Some(path) if status.as_u16() == 202 => Ok(path),
        _ => Err(CliError::Failed(format!("the API answered {status} to the request for a sync"))),
    }
}

async fn get(url: &str, token: &Secret) -> Result<JobDocument, CliError> {
    let answer = http()?.get(url).bearer_auth(token.expose()).send().await.map_err(unreachable)?;
    answer.json().await.map_err(unreachable)
}

/// The demo stands outside the house here, so it uses a plain client, as its users will.
fn http() -> Result<reqwest::Client, CliError> {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(unreachable)
}

fn unreachable(error: reqwest::Error) -> CliError {
    CliError::Failed(format!("the API could not be asked: {}", error.without_url()))
}

async fn progress(pool: &PgPool) -> Result<(i64, i64), CliError> {
    let row = sqlx::query!(
        r#"select (select count(*) from youtube_videos) + (select count(*) from youtube_comments) as "rows!",
                  (select count(*) from background_jobs where status in ('pending', 'running')) as "open!""#
    )
    .fetch_one(pool)
    .await?;
    Ok((row.rows, row.open))
}

async fn all_synced(pool: &PgPool) -> Result<bool, CliError> {
    Ok(sqlx::query_scalar!(
        r#"select not exists (select from youtube_connections where last_synced_at is null) as "all!""#
    )
    .fetch_one(pool)
    .await?)
}

async fn account(
    stage: &Stage,
    sandbox: &Running,
    played: Played,
    elapsed: Duration,
) -> Result<Account, CliError> {
    let Played { connections, resets, inbox, queue, mut disagreements } = played;
    let pool = &stage.pool;
    let mail = mail::account(pool, sandbox, &mut disagreements).await?;
    let mut jobs: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for row in sqlx::query!(r#"select job_type, status, count(*) as "n!" from background_jobs group by 1, 2"#)
        .fetch_all(pool)
        .await?
    {
        jobs.entry(row.job_type).or_default().insert(row.status, row.n);
    }
    let rows = sqlx::query!(
        r#"select (select count(*) from youtube_videos) as "videos!", (select count(*) from youtube_comments) as "comments!",
                  (select count(*) from youtube_comments where parent_comment_id is not null) as "replies!",
                  (select count(*) from youtube_connections where last_synced_at is not null) as "synced!",
                  (select coalesce(sum(used), 0)::bigint from greenroom.quota_usage) as "units!""#
    )
    .fetch_one(pool)
    .await?;
    let runs: BTreeMap<String, i64> = sqlx::query!(
        r#"select status, count(*) as "n!" from sync_logs
            where sync_type not in ('comments.enrich', 'campaigns.plan', 'mail.send') group by 1"#
    )
    .fetch_all(pool)
    .await?
    .into_iter()
    .map(|row| (row.status, row.n))
    .collect();
    let credits = sqlx::query!(
        r#"select (select count(*) from credit_usage_events where action_type not in ('ai_sentiment_analysis', 'scheduled_task')) as "events!",
                  (select count(*) from credit_usage_events where action_type = 'ai_sentiment_analysis' and model_used is null) as "readings!",
                  (select count(*) from sync_logs where sync_type = 'comments.enrich' and status = 'success') as "reading_runs!",
                  (select coalesce(sum(credits_charged), 0)::text from credit_usage_events) as "charged!",
                  (select coalesce(sum(current_balance), 0)::text from user_credit_balances) as "balances!",
                  (select coalesce(sum(reserved_balance), 0)::text from user_credit_balances) as "reserved!""#
    )
    .fetch_one(pool)
    .await?;

    let (totals, stats) = (sandbox.totals(), sandbox.stats());
    let mut hold = |what: &str, ours: i64, theirs: u64| {
        if u64::try_from(ours) != Ok(theirs) {
            disagreements.push(format!("{what}: the database has {ours}, the outside world {theirs}"));
        }
    };
    hold("videos", rows.videos, totals.iter().map(|t| u64::from(t.readable_videos)).sum());
    hold("replies", rows.replies, totals.iter().map(|t| t.replies).sum());
    hold("comments", rows.comments, totals.iter().map(|t| t.threads + t.replies).sum());
    // Whose a channel is was asked once a consent, which is nobody's sync.
    hold("units of quota", rows.units, stats.units(Bucket::Default) - totals.len() as u64);
    hold("connections audited", connections.audited, 4);
    hold("tokens renewed", connections.refreshed, 4);
    hold("periods of credits begun", resets, 5);
    let mut audit = AuditWalk::default();
    let mut conn = pool.acquire().await?;
    while audit.step(&mut conn).await.map_err(greenroom_youtube::Error::from)? {}
    drop(conn);
    hold("accounts that do not add up", i64::try_from(audit.found.len()).unwrap_or(i64::MAX), 0);
    // A sync of each channel, a refresh of each connection, and a reset of the accounts.
    hold("successful runs", runs.get("success").copied().unwrap_or(0), totals.len() as u64 + 5);
    hold(
        "runs that did not succeed",
        runs.iter().filter(|(status, _)| *status != "success").map(|(_, n)| n).sum(),
        0,
    );
    // How often comments were looked at depends on when; each look that found some is a run with its event.
    hold("events of readings", credits.readings, credits.reading_runs.unsigned_abs());
    hold("comments that nobody has read", inbox.unread, 0);
    // The connection for a location is nobody's in person.
    hold("usage events", credits.events, totals.len() as u64 + 3);
    for (kind, by_status) in &jobs {
        hold(&format!("jobs of {kind} that failed"), by_status.get("failed").copied().unwrap_or(0), 0);
    }
    Ok(Account {
        status: if disagreements.is_empty() { "ok" } else { "disagrees" },
        disagreements,
        secs: elapsed.as_secs_f64(),
        jobs,
        rows: Rows { youtube_videos: rows.videos, youtube_comments: rows.comments, replies: rows.replies },
        runs,
        credits: Credits {
            events: credits.events,
            charged: plain(&credits.charged),
            balances: plain(&credits.balances),
            reserved: plain(&credits.reserved),
            periods_begun: resets,
        },
        quota_units: rows.units,
        inbox,
        mail,
        queue,
        connections,
        api_calls: stats
            .calls
            .iter()
            .filter_map(|(endpoint, calls)| {
                Some((serde_json::to_value(endpoint).ok()?.as_str()?.to_owned(), *calls))
            })
            .collect(),
        resident_bytes: resident_bytes(),
        look_next: vec![
            "greenroom demo --stay: the same, kept running, with the API's address, a token and a psql line"
                .to_owned(),
            "greenroom up --sandbox: the whole house in one process, on data that stay".to_owned(),
            "README.md: what runs when, and how to operate it".to_owned(),
        ],
    })
}

/// Drops the zeros that `numeric` prints behind the last decimal that counts.
fn plain(number: &str) -> String {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        number.to_owned()
    }
}

/// Returns how much memory this process holds, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Writes the account for a person.
pub(crate) fn describe(account: &Account) -> String {
    let mut text = String::new();
    let mut line = |left: &str, right: String| {
        let _ = writeln!(text, "  {left:<34} {right}");
    };
    line("Status", account.status.to_owned());
    for disagreement in &account.disagreements {
        line("", disagreement.clone());
    }
    line("Time", format!("{:.1} s", account.secs));
    for (kind, by_status) in &account.jobs {
        let states: Vec<String> = by_status.iter().map(|(status, n)| format!("{n} {status}")).collect();
        line(kind, states.join(", "));
    }
    line("youtube_videos", account.rows.youtube_videos.to_string());
    line(
        "youtube_comments",
        format!("{}, of these {} replies", account.rows.youtube_comments, account.rows.replies),
    );
    for (status, runs) in &account.runs {
        line(&format!("sync_logs: {status}"), runs.to_string());
    }
    line("Usage events", account.credits.events.to_string());
    line("Credits charged", account.credits.charged.clone());
    line("Months of credits begun", account.credits.periods_begun.to_string());
    line("Credits left, reserved", format!("{}, {}", account.credits.balances, account.credits.reserved));
    line("Units of quota", account.quota_units.to_string());
    let connections = &account.connections;
    line(
        "Connections",
        format!("{}, tokens of {} renewed after forty days", connections.connected, connections.refreshed),
    );
    for (what, shown) in account.inbox.lines() {
        line(&what, shown);
    }
    for (what, shown) in account.mail.lines() {
        line(&what, shown);
    }
    for (what, shown) in account.queue.lines() {
        line(what, shown);
    }
    for (endpoint, calls) in &account.api_calls {
        line(&format!("Calls of {endpoint}"), calls.to_string());
    }
    if let Some(bytes) = account.resident_bytes {
        line("Resident memory", format!("{} MB, the sandbox included", bytes / 1_000_000));
    }
    let next: Vec<String> = account.look_next.iter().map(|hint| format!("  - {hint}\n")).collect();
    format!("\nWhat happened\n{text}\nWhere to look next\n{}", next.concat())
}

fn announce(terminal: &mut Terminal, stage: &Stage, api_url: &str, token: &Secret) {
    terminal.note(&format!(
        "  API        {api_url}\n  Token      {}   (of this demo's database, for a day)\n  Database   psql '{}'\n\nCtrl-C stops it.",
        token.expose(),
        stage.url
    ));
}

fn progress_bar(terminal: &Terminal, total: u64) -> ProgressBar {
    let bar = terminal.progress();
    bar.set_length(total);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:40} {pos}/{len} rows  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Ends the drawn world on the day's midnight, so that its comments are recent and a day's demos agree.
fn midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::seconds(now.timestamp().rem_euclid(86_400))
        - TimeDelta::nanoseconds(i64::from(now.timestamp_subsec_nanos()))
}
