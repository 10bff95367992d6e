//! Credits over HTTP.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_and_a_tenant_looks() {
    let world = World::new().await;
    let scopes = ["credits.read", "credits.grant"];
    let operator = token(world.pool(), None, &scopes).await;
    let ours = token(world.pool(), Some(world.ours.organization), &scopes).await;
    let path = format!("/v1/users/{}/credits", world.ours.user);
    assert_eq!(world.get(&path, &ours).await.problem(), (404, "not_found"));

    let give = async |token: &str, key: Option<&str>, body: Value| {
        let mut request =
            world.request(Method::POST, &format!("{path}/grants")).bearer_auth(token).json(&body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        Answer::read(request.send().await.unwrap()).await
    };
    let gift = json!({"amount": "12.5", "reason": "a gift"});
    assert_eq!(give(&ours, Some("k"), gift.clone()).await.problem(), (403, "forbidden"));
    assert_eq!(give(&operator, None, gift.clone()).await.problem(), (400, "bad_body"));
    assert_eq!(
        give(&operator, Some("k"), json!({"amount": "1e9", "reason": "x"})).await.problem(),
        (400, "bad_body")
    );
    assert_eq!(give(&operator, Some("k"), gift.clone()).await.status, 201);
    let again = give(&operator, Some("k"), gift).await;
    assert_eq!((again.status, &again.body["repeated"]), (200, &true.into()));
    let other = give(&operator, Some("k"), json!({"amount": "13", "reason": "a gift"})).await;
    assert_eq!(other.problem(), (409, "idempotency_key_reuse"));
    let all = json!({"amount": "1000", "reason": "all of it", "kind": "clawback"});
    assert_eq!(give(&operator, Some("c"), all).await.problem(), (402, "insufficient_credits"));
    assert_eq!(world.get(&path, &ours).await.body["available"], "112.5");
    let theirs = token(world.pool(), Some(world.theirs.organization), &scopes).await;
    assert_eq!(world.get(&path, &theirs).await.problem(), (404, "not_found"));

    // A charge, refunded once.
    let charge = "with e as (insert into credit_usage_events (user_id, action_type, credits_charged, idempotency_key)
                             values ($1, 'youtube_sync', 0.5, 'k') returning id)
                  update user_credit_balances set current_balance = current_balance - 0.5, total_consumed = 0.5,
                         current_month_consumed = 0.5 from e where user_id = $1 returning e.id";
    let event: uuid::Uuid =
        sqlx::query_scalar(charge).bind(world.ours.user.0).fetch_one(world.pool()).await.unwrap();
    for status in [201, 200] {
        let request = world.request(Method::POST, &format!("/v1/credits/events/{event}/refund"));
        let request = request.bearer_auth(&operator).json(&json!({"reason": "it was empty"}));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    let page = world.get(&format!("{path}/events?limit=1"), &ours).await.body;
    assert_eq!(page["events"][0]["credits"], "-0.500000");
    let next = page["next"].as_str().unwrap();
    let page =
        world.get(&format!("{path}/events?limit=1&before={next}&action=youtube_sync"), &ours).await.body;
    assert_eq!((&page["events"][0]["id"], page.get("next")), (&event.to_string().into(), None));
    let prices = world.get("/v1/credits/prices", &ours).await.body;
    assert_eq!(prices["prices"].as_array().unwrap().len(), 13);
    assert_eq!(prices["models"][0]["provider"], "anthropic");
    let trail: Vec<String> = sqlx::query_scalar("select action from audit_logs order by created_at, action")
        .fetch_all(world.pool())
        .await
        .unwrap();
    assert_eq!(trail, ["credits.granted", "credits.adjusted"]);
}
