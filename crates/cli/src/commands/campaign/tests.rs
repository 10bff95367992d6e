use chrono::{DateTime, TimeDelta, Utc};
use greenroom_testkit::Database;
use serde_json::Value;

use crate::testing::{Call, Said};

async fn call(db: &Database, args: &[&str]) -> Said {
    Call::new(args).database(db).secret("UNSUBSCRIBE_KEY", "a key of the tests and nothing else").run().await
}

async fn document(db: &Database, args: &[&str]) -> Value {
    call(db, &[args, &["--json"]].concat()).await.document()
}

async fn on_trial(db: &Database, email: &str, end: DateTime<Utc>) {
    let sql = "insert into users (email, full_name, subscription_status, trial_start_date, trial_end_date)
               values ($1, 'Ada Lovelace', 'trial', $2 - interval '14 days', $2)";
    sqlx::query(sql).bind(email).bind(end).execute(db.pool()).await.unwrap();
}

#[tokio::test]
async fn a_plan_counts_and_writes_nothing() {
    let db = Database::new().await;
    let at: DateTime<Utc> = "2027-03-01T10:00:00Z".parse().unwrap();
    on_trial(&db, "ada@example.test", at + TimeDelta::days(5)).await;
    on_trial(&db, "grace@example.test", at + TimeDelta::hours(12)).await;
    on_trial(&db, "edsger@example.test", at - TimeDelta::hours(1)).await;
    let plan = document(&db, &["campaign", "plan", "--at", "2027-03-01T10:00:00Z"]).await;
    assert_eq!(plan["trials_ended"], 1);
    assert_eq!(plan["steps"]["trial.7d"]["send"], 1);
    assert_eq!(plan["steps"]["trial.7d"]["superseded"], 1);
    assert_eq!(plan["steps"]["trial.1d"]["send"], 1);
    assert_eq!(plan["first"]["trial.expired"].as_array().unwrap().len(), 1);
    let text =
        call(&db, &["campaign", "plan", "--at", "2027-03-01T10:00:00Z", "--campaign", "trial"]).await.out;
    assert!(text.contains("  trial.7d: 1 send, 1 superseded\n"), "{text}");
    let rows: i64 =
        sqlx::query_scalar("select count(*) from greenroom.email_outbox").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_mail_is_shown_in_each_form() {
    let db = Database::new().await;
    let txt = call(&db, &["campaign", "preview", "trial.3d"]).await.out;
    assert!(txt.starts_with("Hi Ada,\n") && txt.contains("Choose a plan: http"), "{txt}");
    let html = call(&db, &["campaign", "preview", "waitlist.t7", "--format", "html"]).await.out;
    assert!(html.contains("<h1") && html.contains("u&#x2f;v1."), "{html}");
    let eml = call(&db, &["campaign", "preview", "waitlist.t7", "--format", "eml"]).await.out;
    assert!(eml.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{eml}");
    on_trial(&db, "grace@example.test", "2027-05-09T15:00:00Z".parse().unwrap()).await;
    let grace: String = sqlx::query_scalar("select id::text from users").fetch_one(db.pool()).await.unwrap();
    let own = call(&db, &["campaign", "preview", "trial.3d", "--user", &grace]).await.out;
    assert!(own.contains("9 May 2027"), "{own}");
    let nobody = "018f3c1e-7b1a-7c3d-9e2f-1a2b3c4d5e6f";
    assert_eq!(call(&db, &["campaign", "preview", "trial.3d", "--user", nobody]).await.code(), 3);
    let wrong = call(&db, &["campaign", "preview", "trial.2d"]).await;
    assert_eq!(wrong.code(), 2);
    assert!(wrong.err.contains("there is no such step"), "{}", wrong.err);
}

#[tokio::test]
async fn a_step_is_paused_and_messages_are_looked_at() {
    let db = Database::new().await;
    let paused = document(&db, &["campaign", "pause", "trial.7d", "--reason", "the words are wrong"]).await;
    assert_eq!(paused["was_paused"], false);
    assert_eq!(document(&db, &["campaign", "pause", "trial.7d"]).await["was_paused"], true);
    let status = document(&db, &["campaign", "status"]).await;
    assert_eq!(status["steps"][0]["reason"], "the words are wrong");
    assert_eq!(document(&db, &["campaign", "resume", "trial.7d"]).await["mails"], 0);

    on_trial(&db, "ada@example.test", db.clock().now() + TimeDelta::days(5)).await;
    let sql = "insert into greenroom.email_outbox (user_id, campaign, step, occurrence, class, template)
               select id, 'trial', '7d', 'one', 'service', 'trial/7d' from users returning id::text";
    let id: String = sqlx::query_scalar(sql).fetch_one(db.pool()).await.unwrap();
    let listed = document(&db, &["outbox", "list", "--state", "queued"]).await;
    assert_eq!(listed["messages"][0]["id"], id.as_str());
    let shown = call(&db, &["outbox", "show", &id]).await.out;
    assert!(shown.contains("step            trial.7d (service)"), "{shown}");
    assert_eq!(call(&db, &["outbox", "resend", &id]).await.code(), 4);
    assert_eq!(call(&db, &["outbox", "cancel", &id]).await.code(), 0);
    let again = call(&db, &["outbox", "cancel", &id]).await;
    assert_eq!(again.code(), 4);
    assert!(again.err.contains("only queued ones can be cancelled"), "{}", again.err);
    let nobody = "018f3c1e-7b1a-7c3d-9e2f-1a2b3c4d5e6f";
    assert_eq!(call(&db, &["outbox", "show", nobody]).await.code(), 3);
}
