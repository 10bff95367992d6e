//! Rule by rule.

use chrono::{Datelike as _, Months};
use greenroom_model::{Dollars, JobId, SyncRunId};

use super::*;
use crate::{
    Cost, CreditsError, Free, ModelPrice, ModelPrices, Tokens, charge, expire, record_free, release, settle,
};

const HALF: MicroCredits = MicroCredits(500_000);

#[tokio::test]
async fn every_action_has_a_price() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    for action in ActionType::ALL {
        prices::in_force(&mut conn, action).await.unwrap();
    }
    let sync = price(&mut conn).await;
    assert_eq!(sync.of(1).credits(), HALF);
    assert_eq!(sync.of(3).credits(), MicroCredits(1_500_000));
    let inactive = "update credit_action_costs set is_active = false where action_type = 'youtube_sync'";
    sqlx::query(inactive).execute(&mut *conn).await.unwrap();
    let error = prices::in_force(&mut conn, ActionType::YoutubeSync).await.unwrap_err();
    assert_eq!(error.code(), "price_unknown");
}

#[tokio::test]
async fn an_account_opens_once_with_its_first_allowance() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    assert!(balances::get(&mut conn, user).await.unwrap().is_none());
    assert!(balances::open(&mut conn, user).await.unwrap());
    assert!(!balances::open(&mut conn, user).await.unwrap());
    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!(balance.current, MicroCredits::whole(100));
    let in_a_month = db.clock().now().checked_add_months(Months::new(1)).unwrap();
    assert_eq!(balance.next_reset_at.date_naive().month(), in_a_month.month());
    must_add_up(&mut conn, user).await;
    let nobody = balances::open(&mut conn, UserId::new()).await.unwrap_err();
    assert!(matches!(nobody, CreditsError::UserNotFound(_)), "{nobody}");
}

#[tokio::test]
async fn a_reservation_is_settled_once() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let key = Key::of_job(job(&mut conn, user).await, "sync");

    let first = hold(&db, user, &key, &price, HALF).await;
    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!((balance.current, balance.reserved), (MicroCredits::whole(100), HALF));
    // The attempt dies here; the next one finds its hold.
    let second = hold(&db, user, &key, &price, HALF).await;
    assert_eq!(first, second);

    let settled = settle(&mut conn, &second, &price.of(1), &a_channel()).await.unwrap();
    assert_eq!((settled.credits, settled.uncollected, settled.repeated), (HALF, MicroCredits::ZERO, false));
    let again = settle(&mut conn, &second, &price.of(1), &a_channel()).await.unwrap();
    assert_eq!((again.event, again.credits, again.repeated), (settled.event, HALF, true));
    let wish = Reservation { user, job: None, key: &key, price: &price, amount: HALF, timeout: TIMEOUT };
    assert_eq!(reserve(db.pool(), &wish).await.unwrap(), Reserved::Settled(again));

    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!((balance.current, balance.reserved), (MicroCredits(99_500_000), MicroCredits::ZERO));
    assert_eq!(balance.spent_this_month, HALF);
    must_add_up(&mut conn, user).await;
    let error = release(&mut conn, &second).await.unwrap_err();
    assert_eq!(error.code(), "reservation_resolved");
    let (price_id, base): (String, String) = sqlx::query_as(
        "select event_metadata ->> 'price_id', base_cost::text from credit_usage_events where id = $1",
    )
    .bind(settled.event.0)
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert_eq!((price_id, base.as_str()), (price.id.to_string(), "0.050000000000"));
}

#[tokio::test]
async fn a_settlement_rolls_back_with_the_work() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let key = Key::of_job(JobId::new(), "sync");
    let held = hold(&db, user, &key, &price, HALF).await;
    let mut tx = db.pool().begin().await.unwrap();
    settle(&mut tx, &held, &price.of(1), &a_channel()).await.unwrap();
    tx.rollback().await.unwrap();
    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!((balance.current, balance.reserved), (MicroCredits::whole(100), HALF));
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn a_released_key_reserves_anew() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let key = Key::of_job(JobId::new(), "sync");
    let held = hold(&db, user, &key, &price, HALF).await;
    release(&mut conn, &held).await.unwrap();
    release(&mut conn, &held).await.unwrap();
    assert_eq!(balances::get(&mut conn, user).await.unwrap().unwrap().reserved, MicroCredits::ZERO);
    let late = settle(&mut conn, &held, &price.of(1), &a_channel()).await.unwrap_err();
    assert_eq!(late.code(), "reservation_resolved");

    let anew = hold(&db, user, &key, &price, MicroCredits::whole(2)).await;
    assert_eq!(anew.amount, MicroCredits::whole(2));
    settle(&mut conn, &anew, &price.of(1), &a_channel()).await.unwrap();
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn who_cannot_pay_is_told_before_the_work() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person_with(&mut conn, MicroCredits(400_000)).await;
    let price = price(&mut conn).await;
    let key = Key::of_job(JobId::new(), "sync");
    let wish = Reservation { user, job: None, key: &key, price: &price, amount: HALF, timeout: TIMEOUT };
    let CreditsError::Insufficient(missing) = reserve(db.pool(), &wish).await.unwrap_err() else {
        panic!("not the error that says what is missing");
    };
    assert_eq!((missing.needed, missing.available), (HALF, MicroCredits(400_000)));
    let text = missing.to_string();
    assert!(
        text.starts_with("not enough credits: 0.5 needed, 0.4 available; add credits, or wait"),
        "{text}"
    );
    let error = charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap_err();
    assert_eq!(error.code(), "insufficient_credits");
    // Neither left a trace.
    must_add_up(&mut conn, user).await;
    let traces: i64 = sqlx::query_scalar(
        "select (select count(*) from credit_usage_events) + (select count(*) from greenroom.credit_reservations)",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert_eq!(traces, 0);
}

#[tokio::test]
async fn what_cannot_be_collected_is_recorded() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person_with(&mut conn, MicroCredits::whole(1)).await;
    let price = price(&mut conn).await;
    let held = hold(&db, user, &Key::of_job(JobId::new(), "batch:1"), &price, HALF).await;
    // $0.15 of outside calls beside the price: two credits, of which one is there.
    let cost = Cost { api: Dollars(150_000_000_000), ..price.of(1) };
    let settled = settle(&mut conn, &held, &cost, &a_channel()).await.unwrap();
    assert_eq!((settled.credits, settled.uncollected), (MicroCredits::whole(1), MicroCredits::whole(1)));
    let again = settle(&mut conn, &held, &cost, &a_channel()).await.unwrap();
    assert_eq!(again.uncollected, MicroCredits::whole(1));
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn a_key_names_one_piece_of_work() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, other) = (person(&mut conn).await, person(&mut conn).await);
    let price = price(&mut conn).await;
    let key = Key::of_job(JobId::new(), "piece:1");
    let first = charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap();
    let again = charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap();
    assert_eq!((first.repeated, again.repeated, first.event), (false, true, again.event));

    let code = charge(&mut conn, other, &key, &price, &price.of(1), &a_channel()).await.unwrap_err().code();
    assert_eq!(code, "idempotency_key_reuse", "another user");
    let code = charge(&mut conn, user, &key, &price, &price.of(1), &Details::default()).await.unwrap_err();
    assert_eq!(code.code(), "idempotency_key_reuse", "another resource");
    let held = Key::of_job(JobId::new(), "sync");
    hold(&db, user, &held, &price, HALF).await;
    let wish =
        Reservation { user: other, job: None, key: &held, price: &price, amount: HALF, timeout: TIMEOUT };
    assert_eq!(reserve(db.pool(), &wish).await.unwrap_err().code(), "idempotency_key_reuse");

    // Charged outright while it was reserved: one charge, and nothing stays set aside.
    let both = Key::of_job(JobId::new(), "both");
    let reserved = hold(&db, user, &both, &price, HALF).await;
    let charged = charge(&mut conn, user, &both, &price, &price.of(1), &a_channel()).await.unwrap();
    let settled = settle(&mut conn, &reserved, &price.of(1), &a_channel()).await.unwrap();
    assert_eq!(settled.event, charged.event);
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn an_unlimited_account_is_charged_and_does_not_move() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    unlimited(&mut conn, user).await;
    let much = MicroCredits::whole(1_000);
    let held = hold(&db, user, &Key::of_job(JobId::new(), "a"), &price, much).await;
    let settled = settle(&mut conn, &held, &price.of(2_000), &a_channel()).await.unwrap();
    assert_eq!((settled.credits, settled.uncollected), (much, MicroCredits::ZERO));
    let key = Key::of_job(JobId::new(), "b");
    assert_eq!(
        charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap().credits,
        HALF
    );
    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!(balance.current, MicroCredits::whole(100));
    assert_eq!(balance.spent_this_month, MicroCredits(1_000_500_000));
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn a_demo_costs_nothing_and_is_recorded() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let demo = "update users set demo_mode_status = 'active' where id = $1";
    sqlx::query(demo).bind(user.0).execute(&mut *conn).await.unwrap();
    let held = hold(&db, user, &Key::of_job(JobId::new(), "sync"), &price, HALF).await;
    assert_eq!(held.amount, MicroCredits::ZERO);
    let settled = settle(&mut conn, &held, &price.of(1), &a_channel()).await.unwrap();
    assert_eq!(settled.credits, MicroCredits::ZERO);
    assert!(balances::get(&mut conn, user).await.unwrap().is_none(), "no account is opened for it");
}

#[tokio::test]
async fn free_runs_leave_an_event_of_nothing() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, action) = (person(&mut conn).await, ActionType::YoutubeSync);
    let key = Key::of_run(SyncRunId::new());
    let mut events = Vec::new();
    for _ in 0..2 {
        let cost = Cost::default();
        events.push(
            record_free(&mut conn, user, &key, action, &cost, Free::Scheduled, &a_channel()).await.unwrap(),
        );
    }
    assert_eq!(events[0], events[1]);
    let (credits, why): (String, String) =
        sqlx::query_as("select credits_charged::text, event_metadata ->> 'free' from credit_usage_events")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    assert_eq!((credits.as_str(), why.as_str()), ("0.000000", "scheduled"));
    let price = price(&mut conn).await;
    let charged = charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap();
    assert!(charged.repeated, "what was free stays free");
}

#[tokio::test]
async fn holds_expire_unless_their_job_is_at_work() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let (dead, alive) = (job(&mut conn, user).await, job(&mut conn, user).await);
    let mut holds = Vec::new();
    for job in [dead, alive] {
        let key = Key::of_job(job, "sync");
        let wish =
            Reservation { user, job: Some(job), key: &key, price: &price, amount: HALF, timeout: TIMEOUT };
        let Reserved::Held(hold) = reserve(db.pool(), &wish).await.unwrap() else { panic!() };
        holds.push(hold);
    }
    assert_eq!(expire(db.pool(), 100).await.unwrap(), 0);
    db.advance(TIMEOUT + Duration::from_mins(11)).await;
    sqlx::query(
        "update background_jobs set status = 'running', lease_token = 1,
                leased_until = greenroom.now() + interval '1 minute' where id = $1",
    )
    .bind(alive.0)
    .execute(&mut *conn)
    .await
    .unwrap();
    assert_eq!(expire(db.pool(), 100).await.unwrap(), 1);
    assert_eq!(expire(db.pool(), 100).await.unwrap(), 0);
    assert_eq!(balances::get(&mut conn, user).await.unwrap().unwrap().reserved, HALF);
    must_add_up(&mut conn, user).await;

    // Its worker was only slow: the work is done, and is paid from what is there now.
    let settled = settle(&mut conn, &holds[0], &price.of(1), &a_channel()).await.unwrap();
    assert_eq!((settled.credits, settled.uncollected), (HALF, MicroCredits::ZERO));
    must_add_up(&mut conn, user).await;
}

#[tokio::test]
async fn a_new_price_does_not_touch_what_is_reserved() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, old) = (person(&mut conn).await, price(&mut conn).await);
    let key = Key::of_job(JobId::new(), "sync");
    hold(&db, user, &key, &old, old.of(1).credits()).await;
    sqlx::raw_sql(
        "update credit_action_costs set is_active = false where action_type = 'youtube_sync';
         insert into credit_action_costs (action_type, base_cost_dollars) values ('youtube_sync', 5);",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let new = price(&mut conn).await;
    assert_eq!(new.of(1).credits(), MicroCredits::whole(50));
    let resumed = hold(&db, user, &key, &new, new.of(1).credits()).await;
    assert_eq!(resumed.price, old);
    let settled = settle(&mut conn, &resumed, &resumed.price.of(1), &a_channel()).await.unwrap();
    assert_eq!(settled.credits, HALF);
    let edit = "update credit_action_costs set base_cost_dollars = 1 where is_active";
    let error = sqlx::query(edit).execute(&mut *conn).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_call_of_a_model_is_charged_by_the_tokens_at_the_price_it_was_reserved_at() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    let models = ModelPrices::load("").unwrap();
    let now = "2026-11-01T00:00:00Z".parse().unwrap();
    let haiku = models.in_force("anthropic", "claude-haiku-4-5", now).unwrap();
    let sonnet = models.in_force("anthropic", "claude-sonnet-4-6", now).unwrap();
    let action = prices::in_force(&mut conn, ActionType::AiSentimentAnalysis).await.unwrap();
    let most = Tokens { input: 2_000, output: 1_700, ..Tokens::default() };
    let key = Key::of_job(JobId::new(), "batch:1");
    let price = action.clone().with_model(haiku);
    hold(&db, user, &key, &price, price.of_call(25, &most).credits()).await;

    // The next attempt, after the model was changed for a dearer one: what was reserved stands.
    let dearer = action.with_model(sonnet);
    let held = hold(&db, user, &key, &dearer, dearer.of_call(25, &most).credits()).await;
    assert_eq!(held.price, price);
    let spent = Tokens { input: 1_900, output: 1_100, ..Tokens::default() };
    let details = Details {
        model: Some("claude-haiku-4-5-20251001".to_owned()),
        input_tokens: Some(1_900),
        output_tokens: Some(1_100),
        ..a_channel()
    };
    let settled = settle(&mut conn, &held, &held.price.of_call(25, &spent), &details).await.unwrap();
    // $0.0019 + $0.0055 of tokens and 25 × $0.00001 of our own: $0.00765.
    assert_eq!(settled.credits, MicroCredits(76_500));
    assert_eq!(settled.uncollected, MicroCredits::ZERO);
    must_add_up(&mut conn, user).await;

    // The charge can be recomputed from its event alone.
    let noted: serde_json::Value = sqlx::query_scalar("select event_metadata from credit_usage_events")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    let noted: ModelPrice = serde_json::from_value(noted["model_price"].clone()).unwrap();
    assert_eq!(noted.of(&spent), "0.0074".parse().unwrap());
    let logged = "select concat_ws(' ', model, input_tokens, output_tokens, estimated_cost::text, endpoint) from ai_usage_logs";
    let logged: Vec<String> = sqlx::query_scalar(logged).fetch_all(&mut *conn).await.unwrap();
    assert_eq!(logged, ["claude-haiku-4-5-20251001 1900 1100 0.007400000000 ai_sentiment_analysis"]);
    let again = settle(&mut conn, &held, &held.price.of_call(25, &spent), &details).await.unwrap();
    assert!(again.repeated);
    let logs: i64 =
        sqlx::query_scalar("select count(*) from ai_usage_logs").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(logs, 1, "what is settled again is no second call");
}

#[tokio::test]
async fn no_other_program_can_break_the_books() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (user, price) = (person(&mut conn).await, price(&mut conn).await);
    let key = Key::of_job(JobId::new(), "sync");
    charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap();
    for (sql, name) in [
        (
            "update user_credit_balances set current_balance = current_balance + 1",
            "balance_is_earned_minus_consumed",
        ),
        ("update user_credit_balances set reserved_balance = -1", "reserved_not_negative"),
        ("update user_credit_balances set reserved_balance = 1000", "reserved_within_balance"),
        (
            "update user_credit_balances set current_balance = -1, total_consumed = total_earned + 1",
            "balance_not_negative",
        ),
        ("update credit_usage_events set credits_charged = 0", "refused"),
        ("delete from credit_usage_events", "refused"),
        ("truncate credit_usage_events cascade", "refused"),
        ("update greenroom.credit_grants set amount = 1000", "refused"),
        ("delete from greenroom.credit_grants", "refused"),
    ] {
        let error = sqlx::query(sql).execute(&mut *conn).await.unwrap_err().to_string();
        assert!(error.contains(name), "{sql}: {error}");
    }
    must_add_up(&mut conn, user).await;
    // A person's deletion takes the whole account along, also what was settled.
    let held = hold(&db, user, &Key::of_job(JobId::new(), "x"), &price, HALF).await;
    settle(&mut conn, &held, &price.of(1), &a_channel()).await.unwrap();
    sqlx::query("delete from users where id = $1").bind(user.0).execute(&mut *conn).await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from credit_usage_events) + (select count(*) from greenroom.credit_grants)
              + (select count(*) from greenroom.credit_reservations) + (select count(*) from user_credit_balances)",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert_eq!(left, 0);
}
