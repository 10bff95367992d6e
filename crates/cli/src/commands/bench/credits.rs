//! `greenroom bench credits`: charges, reservations and a reset of everybody, beside the bare SQL of the same writes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenroom_credits::{
    ActionType, CreditsError, Details, Key, Price, Reservation, Reserved, Settings, charge, prices, reserve,
    reset_batch, settle,
};
use greenroom_model::{JobId, UserId};
use greenroom_sandbox::Sandbox;
use serde::Serialize;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stage::Stage;
use crate::{CliError, Terminal};

const DATABASE: &str = "greenroom_bench_credits";
/// People made by one statement.
const CHUNK: i32 = 20_000;
/// Sessions that charge at once.
const SESSIONS: usize = 8;
/// Accounts that everybody charges.
const HOT: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct CreditsArgs {
    /// Accounts whose month begins at once.
    #[arg(long, default_value_t = 1_000_000)]
    users: u32,
    /// How long each kind of charge is measured, in seconds.
    #[arg(long, default_value_t = 5)]
    secs: u64,
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    what: &'static str,
    done: u64,
    secs: f64,
    per_sec: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// What a session does again and again.
#[derive(Clone, Copy)]
enum Act {
    Charge,
    ReserveAndSettle,
    /// One update and one insert, without any check of ours.
    Bare,
}

/// Measures, and tells the rows.
pub(super) async fn run(args: &CreditsArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await?;
    let stage = Stage::set(DATABASE, &sandbox.ready(), "http://127.0.0.1:8080").await?;
    let bar = terminal.progress();
    let people = people(&stage.pool, args.users, &bar).await?;
    let hot: Vec<UserId> = people.iter().take(HOT).copied().collect();
    let (people, hot) = (Arc::new(people), Arc::new(hot));
    let price = prices::in_force(&mut *stage.pool.acquire().await?, ActionType::AiSentimentAnalysis).await;
    let price = Arc::new(price.map_err(failed)?);
    let mut rows = Vec::new();
    for (what, who, act) in [
        ("charges, each another's", &people, Act::Charge),
        ("the bare SQL of it", &people, Act::Bare),
        ("charges of twenty accounts", &hot, Act::Charge),
        ("the bare SQL of it", &hot, Act::Bare),
        ("reserved and settled, each another's", &people, Act::ReserveAndSettle),
        ("reserved and settled, of twenty", &hot, Act::ReserveAndSettle),
    ] {
        bar.set_message(what);
        let stop = Arc::new(AtomicBool::new(false));
        let sessions = sessions(&stage.pool, who, &price, act, &stop);
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs(args.secs)).await;
        stop.store(true, Ordering::Relaxed);
        rows.push(row(what, begun, sessions).await?);
    }
    bar.set_message("everybody's month begins, while charges go on");
    let stop = Arc::new(AtomicBool::new(false));
    let sessions = sessions(&stage.pool, &people, &price, Act::Charge, &stop);
    let settings: Settings = stage.config.section("credits")?;
    let (begun, mut reset) = (Instant::now(), 0);
    let mut conn = stage.pool.acquire().await?;
    bar.set_length(args.users.into());
    loop {
        let some = reset_batch(&mut conn, &settings, settings.reset_batch.into(), &[]).await?;
        reset += some.accounts;
        bar.set_position(reset);
        if some.accounts == 0 {
            break;
        }
    }
    let secs = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_sec = reset as f64 / secs;
    rows.push(Measured { what: "resets", done: reset, secs, per_sec, p50_ms: None, p99_ms: None });
    rows.push(row("charges meanwhile", begun, sessions).await?);
    let wrong = sqlx::query_scalar!(
        r#"select count(*) as "n!" from user_credit_balances where next_reset_at <= greenroom.now()"#
    );
    let wrong = wrong.fetch_one(&mut *conn).await?;
    drop(conn);
    bar.finish_and_clear();
    stage.pool.close().await;
    terminal.answer(&rows, || table(&rows))?;
    if wrong > 0 {
        return Err(CliError::Failed(format!("{wrong} accounts were not reset")));
    }
    Ok(())
}

/// Makes people with accounts of a month ago, all of which are due.
async fn people(pool: &PgPool, users: u32, bar: &indicatif::ProgressBar) -> Result<Vec<UserId>, CliError> {
    bar.set_length(users.into());
    bar.set_message("making accounts");
    let mut made = 0;
    while made < users {
        let some = CHUNK.min(i32::try_from(users - made).unwrap_or(CHUNK));
        sqlx::query!(
            "with person as (
                 insert into users (email)
                 select $1 || '.' || n || '@bench.test' from generate_series(1, $2) n
                 returning id
             ), granted as (
                 insert into greenroom.credit_grants (user_id, kind, amount, period_start, created_at)
                 select id, 'monthly_allowance', 100, greenroom.now() - interval '32 days', greenroom.now() - interval '32 days'
                   from person)
             insert into user_credit_balances (user_id, current_balance, total_earned, reset_anchor_at, last_reset_at,
                                               next_reset_at)
             select id, 100, 100, greenroom.now() - interval '32 days', greenroom.now() - interval '32 days',
                    greenroom.nth_reset(greenroom.now() - interval '32 days', 1)
               from person",
            made.to_string(),
            some,
        )
        .execute(pool)
        .await?;
        made += some.unsigned_abs();
        bar.set_position(made.into());
    }
    sqlx::raw_sql("analyze users; analyze user_credit_balances; analyze greenroom.credit_grants")
        .execute(pool)
        .await?;
    let people = sqlx::query_scalar!(
        r#"select user_id as "user: UserId" from user_credit_balances order by random() limit 50000"#
    );
    Ok(people.fetch_all(pool).await?)
}

/// What sessions have seen: how long each act took, in milliseconds.
type Sessions = JoinSet<Result<Vec<f64>, CreditsError>>;

fn sessions(
    pool: &PgPool,
    who: &Arc<Vec<UserId>>,
    price: &Arc<Price>,
    act: Act,
    stop: &Arc<AtomicBool>,
) -> Sessions {
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let (pool, who, price, stop) = (pool.clone(), Arc::clone(who), Arc::clone(price), Arc::clone(stop));
        sessions.spawn(async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let user = who[rand::random_range(0..who.len())];
                let begun = Instant::now();
                once(&pool, user, &price, act).await?;
                took.push(begun.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok(took)
        });
    }
    sessions
}

async fn once(pool: &PgPool, user: UserId, price: &Price, act: Act) -> Result<(), CreditsError> {
    let key = Key::of_job(JobId::new(), "bench");
    let details = Details { description: "A measured charge".to_owned(), ..Details::default() };
    match act {
        Act::Charge => {
            let mut tx = pool.begin().await?;
            charge(&mut tx, user, &key, price, &price.of(1), &details).await?;
            tx.commit().await?;
        }
        Act::ReserveAndSettle => {
            let amount = price.of(1).credits();
            let wish =
                Reservation { user, job: None, key: &key, price, amount, timeout: Duration::from_mins(1) };
            if let Reserved::Held(hold) = reserve(pool, &wish).await? {
                settle(&mut *pool.acquire().await?, &hold, &price.of(1), &details).await?;
            }
        }
        Act::Bare => {
            let mut tx = pool.begin().await?;
            sqlx::query!(
                "insert into credit_usage_events (user_id, action_type, credits_charged, idempotency_key)
                 values ($1, 'ai_sentiment_analysis', 0.0001, $2)",
                user.0,
                key.as_str(),
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!(
                "update user_credit_balances
                    set current_balance = current_balance - 0.0001, total_consumed = total_consumed + 0.0001,
                        current_month_consumed = current_month_consumed + 0.0001
                  where user_id = $1",
                user.0,
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn row(what: &'static str, begun: Instant, mut sessions: Sessions) -> Result<Measured, CliError> {
    let mut took = Vec::new();
    while let Some(session) = sessions.join_next().await {
        took.extend(session.map_err(|error| CliError::Failed(error.to_string()))?.map_err(failed)?);
    }
    let secs = begun.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took.get(took.len() * percent / 100).copied();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_sec = took.len() as f64 / secs;
    Ok(Measured { what, done: took.len() as u64, secs, per_sec, p50_ms: at(50), p99_ms: at(99) })
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn failed(error: CreditsError) -> CliError {
    CliError::Failed(error.to_string())
}

fn table(rows: &[Measured]) -> String {
    let mut text = format!(
        "{:<38} {:>9} {:>8} {:>10} {:>9} {:>9}\n",
        "", "done", "secs", "a second", "p50 ms", "p99 ms"
    );
    for row in rows {
        let ms = |value: Option<f64>| value.map_or_else(String::new, |ms| format!("{ms:.2}"));
        let _ = writeln!(
            text,
            "{:<38} {:>9} {:>8.1} {:>10.0} {:>9} {:>9}",
            row.what,
            row.done,
            row.secs,
            row.per_sec,
            ms(row.p50_ms),
            ms(row.p99_ms)
        );
    }
    text
}
