//! `greenroom bench campaigns`: plans everybody who is due, and sends to a mail server on this machine.

use std::time::Duration;

use greenroom_campaigns::preview;
use greenroom_model::Clock;
use greenroom_queue::{Queue, Worker};
use greenroom_sandbox::Sandbox;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;
use crate::{CliError, Terminal};

const DATABASE: &str = "greenroom_bench_campaigns";

#[derive(Debug, clap::Args)]
pub(crate) struct CampaignsArgs {
    /// People on trial, all of whom are due.
    #[arg(long, default_value_t = 100_000)]
    people: u32,
    /// Of these, to how many mail is sent.
    #[arg(long, default_value_t = 10_000)]
    sends: u32,
    /// Workers that send.
    #[arg(long, default_value_t = 4)]
    workers: u32,
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    what: &'static str,
    done: u64,
    secs: f64,
    per_sec: f64,
}

impl Measured {
    fn new(what: &'static str, done: u64, begun: Instant) -> Self {
        let secs = begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        Self { what, done, secs, per_sec: done as f64 / secs }
    }
}

/// Measures, and tells the rows.
pub(super) async fn run(args: &CampaignsArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await?;
    let mut stage = Stage::set(DATABASE, &sandbox.ready(), "http://127.0.0.1:8080").await?;
    let all_day = "00:00".to_owned();
    stage
        .configure([
            ("campaigns.window_opens", all_day.clone()),
            ("campaigns.window_closes", all_day),
            ("mail.rate_per_sec", "100000".to_owned()),
        ])
        .await?;
    let bar = terminal.progress();
    bar.set_message("making people");
    let mut rows = Vec::new();
    people(&stage.pool, "planned", args.people).await?;

    bar.set_message("a plan that writes nothing");
    let begun = Instant::now();
    let now = Clock::system().now();
    let counted = preview(&mut *stage.pool.acquire().await?, now, stage.house.campaigns().by(), None).await;
    let counted = counted.map_err(|error| CliError::Failed(error.to_string()))?;
    let due = counted.steps.values().filter_map(|outcomes| outcomes.get("send")).sum();
    rows.push(Measured::new("planned, nothing written", due, begun));

    bar.set_message("a plan");
    let begun = Instant::now();
    let planned = plan(&stage).await?;
    rows.push(Measured::new("planned", planned, begun));
    bar.set_message("a plan with nobody due");
    let begun = Instant::now();
    plan(&stage).await?;
    rows.push(Measured::new("planned again, nobody due", args.people.into(), begun));

    // What is not to be sent here would only be waited for.
    sqlx::query!("delete from background_jobs where job_type = 'mail.send'").execute(&stage.pool).await?;
    sqlx::raw_sql("truncate greenroom.email_outbox cascade").execute(&stage.pool).await?;
    sqlx::query!("update users set trial_end_date = null").execute(&stage.pool).await?;
    people(&stage.pool, "sent", args.sends).await?;
    plan(&stage).await?;
    bar.set_message("sending");
    bar.set_length(args.sends.into());
    let stop = CancellationToken::new();
    let mut workers = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for _ in 0..args.workers {
        workers.spawn(worker(&stage, &["mail"])?.run(stop.clone(), CancellationToken::new()));
    }
    while sandbox.mails_taken() < usize::try_from(args.sends).unwrap_or(usize::MAX) {
        bar.set_position(sandbox.mails_taken() as u64);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if begun.elapsed() > Duration::from_mins(10) {
            return Err(CliError::Failed("the mails are not sent after ten minutes".to_owned()));
        }
    }
    rows.push(Measured::new("sent", args.sends.into(), begun));
    stop.cancel();
    while workers.join_next().await.is_some() {}
    bar.finish_and_clear();
    let wrong =
        sqlx::query_scalar!(r#"select count(*) as "n!" from greenroom.email_outbox where state <> 'sent'"#)
            .fetch_one(&stage.pool)
            .await?;
    stage.pool.close().await;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.what.to_owned(),
                row.done.to_string(),
                format!("{:.2}", row.secs),
                format!("{:.0}", row.per_sec),
            ]
        })
        .collect();
    terminal.answer_table(&rows, ["what", "people", "secs", "a second"], &shown)?;
    if wrong > 0 || sandbox.mails_taken() != usize::try_from(args.sends).unwrap_or(usize::MAX) {
        return Err(CliError::Failed(format!("{wrong} messages are not sent, or some were sent twice")));
    }
    Ok(())
}

/// Runs a plan to its end on a worker of its own; returns how many messages wait to be sent.
async fn plan(stage: &Stage) -> Result<u64, CliError> {
    let job = greenroom_worker::jobs(None).build("campaigns.plan", "{}", None)?;
    let queue = Queue::new(stage.pool.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker(stage, &["campaigns"])?.run(stop.clone(), CancellationToken::new()));
    let id = queue.enqueue_many(&[job]).await?.first().map(|job| job.id).ok_or(sqlx::Error::RowNotFound)?;
    loop {
        let status = sqlx::query_scalar!("select status from background_jobs where id = $1", id.0);
        match status.fetch_one(&stage.pool).await?.as_str() {
            "completed" => break,
            "failed" => return Err(CliError::Failed("the plan failed".to_owned())),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    stop.cancel();
    let _ = running.await;
    let queued =
        sqlx::query_scalar!(r#"select count(*) as "n!" from greenroom.email_outbox where state = 'queued'"#);
    Ok(queued.fetch_one(&stage.pool).await?.unsigned_abs())
}

fn worker(stage: &Stage, queues: &[&str]) -> Result<Worker, CliError> {
    let served: Vec<_> = queues
        .iter()
        .map(|queue| greenroom_worker::Served { queue: (*queue).to_owned(), slots: None })
        .collect();
    let (queue, engine) = (Queue::new(stage.pool.clone()), stage.engine.clone());
    Ok(greenroom_worker::worker(&stage.config, queue, engine, &stage.house, &served, 10)?)
}

/// Makes people whose trial ends in five days, in a place with a time zone each.
async fn people(pool: &PgPool, name: &str, number: u32) -> Result<(), CliError> {
    sqlx::query!(
        "insert into users (email, full_name, subscription_status, trial_start_date, trial_end_date)
         select $1 || '.' || n || '@bench.test', 'Person ' || n, 'trial', greenroom.now() - interval '9 days',
                greenroom.now() + interval '5 days'
           from generate_series(1, $2::int4) n",
        name,
        number.cast_signed(),
    )
    .execute(pool)
    .await?;
    sqlx::raw_sql("analyze users").execute(pool).await?;
    Ok(())
}
