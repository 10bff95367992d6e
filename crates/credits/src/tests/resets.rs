//! Months: when they begin, what is left at their end, and what an outage changes.

use chrono::{DateTime, Months, TimeDelta, Utc};
use greenroom_model::Dollars;
use greenroom_queue::Queue;
use greenroom_queue::testing::drain;
use sqlx::AssertSqlSafe;

use super::*;
use crate::jobs::reset_monthly::ResetMonthly;
use crate::reset::{Reset, reset_batch};
use crate::{Cost, Credits, Grant, GrantKind, Leftover, ResetMode, Settings, charge, jobs};

const HUNDRED: MicroCredits = MicroCredits::whole(100);

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The anchors that differ: ends of months, and the day that comes every four years.
fn anchors() -> Vec<DateTime<Utc>> {
    [
        "2026-12-28T23:30:00Z",
        "2026-12-29T00:00:00Z",
        "2027-01-30T12:00:00Z",
        "2026-12-31T23:59:59.999999Z",
        "2028-02-29T02:30:00Z",
    ]
    .map(instant)
    .to_vec()
}

async fn reset_all(db: &Database, settings: &Settings) -> Reset {
    let mut conn = db.pool().acquire().await.unwrap();
    let mut all = Reset::default();
    loop {
        let some = reset_batch(&mut conn, settings, 1_000, &[]).await.unwrap();
        if some.accounts == 0 {
            return all;
        }
        all.accounts += some.accounts;
    }
}

async fn spend(conn: &mut PgConnection, user: UserId, credits: i64) {
    let price = price(conn).await;
    let key = Key::of_job(JobId::new(), "spend");
    let cost = Cost { api: Dollars(credits * 100_000), ..Cost::default() };
    charge(conn, user, &key, &price, &cost, &a_channel()).await.unwrap();
}

async fn has(conn: &mut PgConnection, user: UserId) -> i64 {
    balances::get(conn, user).await.unwrap().unwrap().current.0
}

/// Moves the clock to just after an account's next reset.
async fn to_next_reset(db: &Database, conn: &mut PgConnection, user: UserId) {
    let next = balances::get(conn, user).await.unwrap().unwrap().next_reset_at;
    let wait = next - db.clock().now() + TimeDelta::milliseconds(10);
    db.advance(wait.to_std().unwrap()).await;
}

#[tokio::test]
async fn periods_begin_where_the_calendar_says_whatever_the_session_s_zone() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    for zone in ["UTC", "Europe/Berlin", "Pacific/Auckland"] {
        sqlx::raw_sql(AssertSqlSafe(format!("set timezone = '{zone}'"))).execute(&mut *conn).await.unwrap();
        for anchor in anchors() {
            for k in 0..=60_i32 {
                let (nth, before, at): (DateTime<Utc>, i32, i32) = sqlx::query_as(
                    "select n, greenroom.periods_until($1, n - interval '1 us'), greenroom.periods_until($1, n)
                       from greenroom.nth_reset($1, $2) n",
                )
                .bind(anchor)
                .bind(k)
                .fetch_one(&mut *conn)
                .await
                .unwrap();
                let expected = anchor.checked_add_months(Months::new(k.unsigned_abs())).unwrap();
                assert_eq!((nth, before, at), (expected, k - 1, k), "{zone} {anchor} {k}");
            }
        }
    }
}

#[tokio::test]
async fn five_years_of_days_reset_each_account_on_its_own() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let mut people = Vec::new();
    for anchor in anchors() {
        let user = person(&mut conn).await;
        sqlx::query(
            "with account as (
                 insert into user_credit_balances (user_id, current_balance, total_earned, reset_anchor_at, last_reset_at,
                                                   next_reset_at)
                 values ($1, 100, 100, $2, $2, greenroom.nth_reset($2, 1)))
             insert into greenroom.credit_grants (user_id, kind, amount, period_start, created_at)
             values ($1, 'monthly_allowance', 100, $2, $2)",
        )
        .bind(user.0)
        .bind(anchor)
        .execute(&mut *conn)
        .await
        .unwrap();
        people.push((user, anchor));
    }
    let until = instant("2032-03-01T00:00:00Z");
    while db.clock().now() < until {
        // Two days and some hours: no day of a month is left out, and the time of day moves on.
        db.advance(Duration::from_hours(53)).await;
        reset_all(&db, &Settings::default()).await;
        let now = db.clock().now();
        for (user, anchor) in &people {
            let (last, next): (DateTime<Utc>, DateTime<Utc>) = sqlx::query_as(
                "select last_reset_at, next_reset_at from user_credit_balances where user_id = $1",
            )
            .bind(user.0)
            .fetch_one(&mut *conn)
            .await
            .unwrap();
            let begun = (0..).map(|k| anchor.checked_add_months(Months::new(k)).unwrap());
            let expected = begun.take_while(|begins| *begins <= now).last().unwrap_or(*anchor);
            assert_eq!(last, expected, "{anchor} on {now}");
            assert!(next > now, "{anchor} on {now}");
        }
    }
    for (user, _) in people {
        // One allowance a period, and of the one before nothing is left.
        let (grants, periods): (i64, i64) = sqlx::query_as(
            "select count(*) filter (where kind = 'monthly_allowance'), count(distinct period_start)
               from greenroom.credit_grants where user_id = $1",
        )
        .bind(user.0)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        assert_eq!(grants, periods);
        assert!(grants >= 48, "{grants}");
        assert_eq!(has(&mut conn, user).await, HUNDRED.0);
    }
}

#[tokio::test]
async fn an_outage_gives_what_would_have_come() {
    let cap = Settings { leftover: Leftover::Capped, leftover_cap: 30, ..Settings::default() };
    let stays = Settings { leftover: Leftover::Stays, ..Settings::default() };
    for (settings, of_one) in [(Settings::default(), 0), (cap, 30), (stays, 60)] {
        for missed in 0..=4_u32 {
            let db = Database::new().await;
            let mut conn = db.pool().acquire().await.unwrap();
            let user = person(&mut conn).await;
            balances::open(&mut conn, user).await.unwrap();
            spend(&mut conn, user, MicroCredits::whole(40).0).await;
            to_next_reset(&db, &mut conn, user).await;
            db.advance(Duration::from_hours(24 * 31) * missed).await;
            reset_all(&db, &settings).await;
            let allowances = if settings.leftover == Leftover::Stays { i64::from(missed) + 1 } else { 1 };
            assert_eq!(
                has(&mut conn, user).await,
                (of_one + 100 * allowances) * 1_000_000,
                "{settings:?}, {missed} missed"
            );
            let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
            assert!(balance.next_reset_at > db.clock().now());
            assert_eq!(balance.spent_this_month, MicroCredits::ZERO);
            must_add_up(&mut conn, user).await;
            // Again is nothing.
            assert_eq!(reset_all(&db, &settings).await.accounts, 0);
        }
    }
}

#[tokio::test]
async fn who_is_reset_late_has_what_he_would_have_had() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let settings = Settings::default();
    for (before, after, bonus) in [(30, 50, 0), (100, 0, 0), (0, 100, 0), (120, 60, 40), (10, 20, 500)] {
        let (prompt, late) = (person(&mut conn).await, person(&mut conn).await);
        for user in [prompt, late] {
            balances::open(&mut conn, user).await.unwrap();
            if bonus > 0 {
                grant(&mut conn, user, MicroCredits::whole(bonus)).await;
            }
            spend(&mut conn, user, before * 1_000_000).await;
        }
        to_next_reset(&db, &mut conn, late).await;
        reset_batch(&mut conn, &settings, 1_000, &[late]).await.unwrap();
        // The late one may have too little for it now: what it could spend is what the test spends.
        let spends = after.min(has(&mut conn, late).await / 1_000_000);
        for user in [prompt, late] {
            spend(&mut conn, user, spends * 1_000_000).await;
            // What was charged in the month before is given back in this one.
            let first = "select id from credit_usage_events where user_id = $1 and credits_charged > 0 order by created_at limit 1";
            if let Some(first) =
                sqlx::query_scalar(first).bind(user.0).fetch_optional(&mut *conn).await.unwrap()
            {
                crate::refund(&mut conn, greenroom_model::UsageEventId(first), "a mistake").await.unwrap();
            }
        }
        db.advance(Duration::from_hours(30)).await;
        reset_batch(&mut conn, &settings, 1_000, &[]).await.unwrap();
        assert_eq!(has(&mut conn, late).await, has(&mut conn, prompt).await, "{before} {after} {bonus}");
        for user in [prompt, late] {
            must_add_up(&mut conn, user).await;
        }
    }
}

#[tokio::test]
async fn what_is_bought_or_set_aside_never_expires() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    let bought = Grant {
        user,
        kind: GrantKind::Purchase,
        amount: MicroCredits::whole(50),
        reason: "bought",
        actor: None,
        key: "p1",
    };
    assert!(!crate::grant(&mut conn, &bought).await.unwrap().repeated);
    assert!(crate::grant(&mut conn, &bought).await.unwrap().repeated);
    let other = Grant { amount: HUNDRED, ..bought.clone() };
    assert_eq!(crate::grant(&mut conn, &other).await.unwrap_err().code(), "idempotency_key_reuse");
    let price = price(&mut conn).await;
    let key = Key::of_job(JobId::new(), "long");
    hold(&db, user, &key, &price, MicroCredits::whole(120)).await;
    to_next_reset(&db, &mut conn, user).await;
    reset_all(&db, &Settings::default()).await;
    // Of 150, 120 were set aside: 30 of the allowance could expire.
    assert_eq!(has(&mut conn, user).await, MicroCredits::whole(220).0);
    must_add_up(&mut conn, user).await;
    let take = Grant { kind: GrantKind::Clawback, amount: MicroCredits::whole(101), key: "c1", ..bought };
    assert_eq!(crate::grant(&mut conn, &take).await.unwrap_err().code(), "insufficient_credits");
    let take = Grant { amount: HUNDRED, ..take };
    crate::grant(&mut conn, &take).await.unwrap();
    assert_eq!(has(&mut conn, user).await, MicroCredits::whole(120).0);
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn the_first_of_a_month_is_everybody_s_where_the_settings_say_so() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    balances::open(&mut conn, user).await.unwrap();
    let settings = Settings { reset_mode: ResetMode::Calendar, ..Settings::default() };
    let credits = std::sync::Arc::new(Credits::new(db.pool().clone(), settings).unwrap());
    let queue = Queue::new(db.pool().clone());
    for _ in 0..3 {
        queue.enqueue(&ResetMonthly {}).await.unwrap();
        drain(&queue, &jobs(Some(&credits))).await.unwrap();
        let next = balances::get(&mut conn, user).await.unwrap().unwrap().next_reset_at;
        assert_eq!(next.format("%d %H:%M:%S").to_string(), "01 00:00:00");
        to_next_reset(&db, &mut conn, user).await;
    }
    let runs: Vec<String> =
        sqlx::query_scalar("select status from sync_logs").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(runs, ["success", "success"], "one for each month that began, none where nothing did");
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn one_that_is_refused_holds_up_nobody() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (broken, fine) = (person(&mut conn).await, person(&mut conn).await);
    for user in [broken, fine] {
        balances::open(&mut conn, user).await.unwrap();
    }
    // A rule of the database that only one of them breaks.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "alter table user_credit_balances add constraint refused check (user_id <> '{broken}' or month_start_balance <> 100) not valid",
    )))
    .execute(&mut *conn)
    .await
    .unwrap();
    to_next_reset(&db, &mut conn, fine).await;
    let credits = std::sync::Arc::new(Credits::new(db.pool().clone(), Settings::default()).unwrap());
    let queue = Queue::new(db.pool().clone());
    queue.enqueue(&ResetMonthly {}).await.unwrap();
    drain(&queue, &jobs(Some(&credits))).await.unwrap();
    let refused: serde_json::Value =
        sqlx::query_scalar("select result from background_jobs where status = 'completed'")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    assert_eq!(refused["refused"], serde_json::json!([broken]), "{refused}");
    assert_eq!(refused["accounts"], 1, "{refused}");
    let next = balances::get(&mut conn, fine).await.unwrap().unwrap().next_reset_at;
    assert!(next > db.clock().now());
}

#[tokio::test]
async fn the_audit_finds_what_does_not_add_up_and_mends_it() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (honest, cooked) = (person(&mut conn).await, person(&mut conn).await);
    for user in [honest, cooked] {
        balances::open(&mut conn, user).await.unwrap();
        spend(&mut conn, user, 7_000_001).await;
    }
    // Directly, I1 cannot be broken at all.
    let refused =
        sqlx::query("update user_credit_balances set current_balance = 1000").execute(&mut *conn).await;
    assert!(refused.unwrap_err().to_string().contains("balance_is_earned_minus_consumed"));
    sqlx::query(
        "update user_credit_balances
            set current_balance = current_balance + 5, total_earned = total_earned + 4, total_consumed = total_consumed - 1,
                reserved_balance = 3, current_month_consumed = 9 where user_id = $1",
    )
    .bind(cooked.0)
    .execute(&mut *conn)
    .await
    .unwrap();
    let mut look = crate::AuditWalk::default();
    while look.step(&mut conn).await.unwrap() {}
    assert_eq!(look.accounts, 2);
    assert_eq!(look.found.len(), 4, "{:?}", look.found);
    assert!(look.found.iter().all(|wrong| wrong.user_id == cooked));
    let admin = person(&mut conn).await;
    sqlx::query("update users set is_admin = true where id = $1")
        .bind(admin.0)
        .execute(&mut *conn)
        .await
        .unwrap();
    let credits = std::sync::Arc::new(Credits::new(db.pool().clone(), Settings::default()).unwrap());
    let queue = Queue::new(db.pool().clone());
    for _ in 0..2 {
        queue.enqueue(&jobs::audit::Audit {}).await.unwrap();
        drain(&queue, &jobs(Some(&credits))).await.unwrap();
    }
    let told = "select user_id, params ->> 'discrepancies' from greenroom.email_outbox where step = 'credits_discrepancies'";
    let told: Vec<(uuid::Uuid, String)> = sqlx::query_as(told).fetch_all(&mut *conn).await.unwrap();
    assert_eq!(told, [(admin.0, "4".to_owned())], "each admin, once a day");
    let had = has(&mut conn, cooked).await;
    let mut mend = crate::AuditWalk::new(None, true);
    while mend.step(&mut conn).await.unwrap() {}
    assert_eq!(mend.found.len(), 4);
    must_add_up(&mut conn, cooked).await;
    assert_eq!(has(&mut conn, cooked).await, had, "what its owner has seen stays");
    let kind = "select kind from greenroom.credit_grants where user_id = $1 and kind = 'reconciliation'";
    assert_eq!(
        sqlx::query_scalar::<_, String>(kind).bind(cooked.0).fetch_all(&mut *conn).await.unwrap().len(),
        1
    );
    let trail = "select changes ->> 'invariant' || ' ' || (changes ->> 'mended') from audit_logs
                  where action = 'credits.audited' and user_id = $1 order by created_at, id";
    let mut trail: Vec<String> =
        sqlx::query_scalar(trail).bind(cooked.0).fetch_all(&mut *conn).await.unwrap();
    trail.sort();
    let rules = ["consumed", "earned", "month", "reserved"];
    let expected: Vec<_> = rules
        .iter()
        .flat_map(|rule| ["false", "false", "false", "true"].map(|mended| format!("{rule} {mended}")))
        .collect();
    assert_eq!(trail, expected);
    let mut again = crate::AuditWalk::default();
    while again.step(&mut conn).await.unwrap() {}
    assert_eq!(again.found, []);
}

#[tokio::test]
async fn who_runs_low_or_dry_is_told_once() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    balances::open(&mut conn, user).await.unwrap();
    let told = async || {
        let sql = "select step from greenroom.email_outbox where user_id = $1 order by created_at, step";
        sqlx::query_scalar::<_, String>(sql).bind(user.0).fetch_all(db.pool()).await.unwrap()
    };
    spend(&mut conn, user, MicroCredits::whole(80).0).await;
    assert!(told().await.is_empty(), "a fifth is left");
    for _ in 0..3 {
        spend(&mut conn, user, MicroCredits::whole(1).0).await;
    }
    assert_eq!(told().await, ["credits_low"]);
    let price = price(&mut conn).await;
    let key = Key::of_job(JobId::new(), "much");
    let wish = Reservation { user, job: None, key: &key, price: &price, amount: HUNDRED, timeout: TIMEOUT };
    for _ in 0..2 {
        assert_eq!(reserve(db.pool(), &wish).await.unwrap_err().code(), "insufficient_credits");
    }
    assert_eq!(told().await, ["credits_low", "credits_exhausted"]);
    // Lifted by a gift, it may run low again.
    let gift = Grant {
        user,
        kind: GrantKind::Bonus,
        amount: MicroCredits::whole(10),
        reason: "a gift",
        actor: None,
        key: "g",
    };
    crate::grant(&mut conn, &gift).await.unwrap();
    spend(&mut conn, user, MicroCredits::whole(9).0).await;
    assert_eq!(told().await.len(), 3);
    to_next_reset(&db, &mut conn, user).await;
    reset_all(&db, &Settings::default()).await;
    spend(&mut conn, user, MicroCredits::whole(95).0).await;
    assert_eq!(told().await.len(), 4);

    // Each account has a threshold of its own; at none nobody is told.
    for (percent, told_more) in [(0, 0), (2, 1)] {
        to_next_reset(&db, &mut conn, user).await;
        reset_all(&db, &Settings::default()).await;
        let before = told().await.len();
        balances::set_low_balance_percent(&mut conn, user, percent).await.unwrap();
        let all = balances::get(&mut conn, user).await.unwrap().unwrap().available();
        spend(&mut conn, user, all.0 - MicroCredits::whole(3).0).await;
        assert_eq!(told().await.len(), before, "at {percent} percent");
        spend(&mut conn, user, MicroCredits::whole(2).0).await;
        assert_eq!(told().await.len(), before + told_more, "at {percent} percent");
    }
}
