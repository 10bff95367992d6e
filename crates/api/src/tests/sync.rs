//! Asking for a sync.

use greenroom_credits::balances;
use serde_json::json;

use super::*;

async fn set_connection(world: &World, status: &str, error: Option<&str>) {
    let sql = "update youtube_connections
                  set connection_status = $2, connection_error = $3,
                      access_token = case when $2 = 'active' then access_token end,
                      refresh_token = case when $2 = 'active' then refresh_token end
                where id = $1";
    let query = sqlx::query(sql).bind(world.ours.connection.0).bind(status).bind(error);
    query.execute(world.pool()).await.unwrap();
}

/// Leaves this much in our account.
async fn leave(world: &World, credits: &'static str) {
    balances::open(&mut world.pool().acquire().await.unwrap(), world.ours.user).await.unwrap();
    let sql = "update user_credit_balances
                  set current_balance = $1::numeric, total_consumed = total_earned - $1::numeric,
                      current_month_consumed = total_earned - $1::numeric";
    sqlx::query(sql).bind(credits).execute(world.pool()).await.unwrap();
}

#[tokio::test]
async fn a_sync_is_accepted_with_its_job_and_where_to_look() {
    let world = World::new().await;
    let answer = world.sync(&world.ours).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job: JobId = answer.body["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{job}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.body["kind"], "youtube.sync_channel");
    assert_eq!(answer.body["status"], "pending");
    assert_eq!(answer.body["user_id"], json!(world.ours.user));
    let payload = json!({"connection_id": world.ours.connection, "trigger": "requested"});
    assert_eq!(answer.body["payload"], payload);

    let mut seen = world.get(answer.header("location"), &world.ours.token).await;
    // Its lane has a row a moment after the enqueue.
    seen.body["lane"] = answer.body["lane"].clone();
    assert_eq!((seen.status, &seen.body), (200, &answer.body));
}

#[tokio::test]
async fn the_same_job_is_answered_while_it_is_open() {
    let world = World::new().await;
    let first = world.sync(&world.ours).await;
    let second = world.sync(&world.ours).await;
    assert_eq!((second.status, &second.body["id"]), (202, &first.body["id"]));
    let (one, other) = tokio::join!(world.sync(&world.theirs), world.sync(&world.theirs));
    assert_eq!((one.status, other.status), (202, 202));
    assert_eq!(one.body["id"], other.body["id"]);
    assert_eq!(world.jobs().await, 2);

    world.set(first.body["id"].as_str().unwrap().parse().unwrap(), "completed").await;
    let third = world.sync(&world.ours).await;
    assert_ne!(third.body["id"], first.body["id"]);
}

#[tokio::test]
async fn an_operator_may_ask_for_anybody() {
    let world = World::new().await;
    let answer = world.post(&sync_path(world.ours.connection), &world.operator).await;
    assert_eq!((answer.status, &answer.body["user_id"]), (202, &json!(world.ours.user)));
}

#[tokio::test]
async fn a_connection_that_does_not_serve_is_a_conflict() {
    let world = World::new().await;
    set_connection(&world, "disconnected", None).await;
    assert_eq!(
        world.sync(&world.ours).await.body,
        json!({
            "type": "urn:greenroom:problem:connection_disconnected",
            "title": "The account is disconnected",
            "status": 409,
            "detail": "its owner has disconnected it: connect the channel again",
            "code": "connection_disconnected",
        })
    );
    set_connection(&world, "error", Some("Google refuses the token: connect the channel again")).await;
    let answer = world.sync(&world.ours).await;
    assert_eq!(answer.problem(), (409, "connection_error"));
    assert_eq!(answer.body["detail"], "Google refuses the token: connect the channel again");
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn who_cannot_pay_is_told_what_is_missing() {
    let world = World::new().await;
    leave(&world, "0.1").await;
    let answer = world.sync(&world.ours).await;
    assert_eq!(answer.problem(), (402, "insufficient_credits"));
    let reset: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(answer.body["next_reset_at"].clone()).unwrap();
    assert!(reset > world.db.clock().now());
    assert_eq!((&answer.body["needed"], &answer.body["available"]), (&json!("0.5"), &json!("0.1")));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("not enough credits: 0.5 needed, 0.1 available; add credits"), "{detail}");
    assert_eq!(world.jobs().await, 0, "nothing is left of it");

    sqlx::query("update users set demo_mode_status = 'active'").execute(world.pool()).await.unwrap();
    assert_eq!(world.sync(&world.ours).await.status, 202, "a demo costs nothing");
}

#[tokio::test]
async fn what_an_open_job_has_set_aside_does_not_refuse_that_job() {
    let world = World::new().await;
    let first = world.sync(&world.ours).await;
    leave(&world, "0.1").await;
    let second = world.sync(&world.ours).await;
    assert_eq!((second.status, &second.body["id"]), (202, &first.body["id"]));
}

#[tokio::test]
async fn work_without_a_price_waits_for_the_operators() {
    let world = World::new().await;
    sqlx::query("update credit_action_costs set is_active = false").execute(world.pool()).await.unwrap();
    assert_eq!(world.sync(&world.ours).await.problem(), (503, "price_unknown"));
    assert_eq!(world.jobs().await, 0);
}
