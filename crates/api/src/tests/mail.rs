//! Leaving a list by a link, and where a person stands.

use greenroom_campaigns::UnsubscribeKeys;
use serde_json::json;
use sqlx::Row as _;

use super::*;

fn link(user: UserId) -> String {
    format!("/u/{}", UnsubscribeKeys::parse(UNSUBSCRIBE_KEY).unwrap().token(user))
}

/// Somebody who gets news, of which some wait.
async fn wants_news(world: &World, user: UserId) {
    for sql in [
        "update users set marketing_opt_in = true where id = $1",
        "insert into greenroom.email_outbox (user_id, campaign, step, occurrence, class, template)
         values ($1, 'waitlist', 't7', 'now', 'marketing', 'waitlist/t7')",
    ] {
        sqlx::query(sql).bind(user.0).execute(world.pool()).await.unwrap();
    }
}

/// Whether a person gets news, and what became of those that wait.
async fn stands(world: &World, user: UserId) -> (bool, String) {
    let row = sqlx::query(
        "select u.marketing_opt_in, o.state || coalesce(' ' || o.reason, '')
           from users u join greenroom.email_outbox o on o.user_id = u.id where u.id = $1",
    );
    let row = row.bind(user.0).fetch_one(world.pool()).await.unwrap();
    (row.get(0), row.get(1))
}

async fn page(
    world: &World,
    method: Method,
    path: &str,
    body: &str,
) -> (u16, String, reqwest::header::HeaderMap) {
    let request = world.request(method, path).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, answer.text().await.unwrap(), headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_open_every_link_change_nothing() {
    let world = World::new().await;
    let user = world.ours.user;
    wants_news(&world, user).await;
    for _ in 0..20 {
        for method in [Method::GET, Method::HEAD] {
            let (status, text, headers) = page(&world, method.clone(), &link(user), "").await;
            assert_eq!(status, 200);
            assert_eq!(headers["cache-control"], "no-store");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert!(headers.get("set-cookie").is_none());
            assert!(method == Method::HEAD || text.contains("<button>Unsubscribe</button>"), "{text}");
        }
    }
    assert_eq!(stands(&world, user).await, (true, "queued".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_takes_the_person_off_the_list_and_another_brings_them_back() {
    let world = World::new().await;
    let user = world.ours.user;
    wants_news(&world, user).await;
    for body in ["List-Unsubscribe=One-Click", "", "whatever=else&user=another"] {
        let (status, text, headers) = page(&world, Method::POST, &link(user), body).await;
        assert_eq!(status, 200, "{text}");
        assert!(headers.get("set-cookie").is_none() && headers.get("location").is_none());
        assert_eq!(stands(&world, user).await, (false, "suppressed unsubscribed".to_owned()));
    }
    let trail = "select count(*) from audit_logs where action = 'marketing.unsubscribed'";
    assert_eq!(sqlx::query_scalar::<_, i64>(trail).fetch_one(world.pool()).await.unwrap(), 1);
    let (status, text, _) = page(&world, Method::POST, &format!("{}/resubscribe", link(user)), "").await;
    assert_eq!(status, 200, "{text}");
    assert!(stands(&world, user).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_nobody_has_signed_says_nothing() {
    let world = World::new().await;
    let user = world.ours.user;
    wants_news(&world, user).await;
    let other = UnsubscribeKeys::parse("a key that this house does not have").unwrap().token(user);
    let mut answers = std::collections::BTreeSet::new();
    for token in [&other, "v1.AAAA.BBBB", "nothing", &link(user)[3..link(user).len() - 1]] {
        for method in [Method::GET, Method::POST] {
            let (status, text, _) = page(&world, method, &format!("/u/{token}"), "").await;
            answers.insert((status, text));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 400);
    assert_eq!(stands(&world, user).await, (true, "queued".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_from_the_waiting_list_to_a_subscription() {
    let world = World::new().await;
    let scopes = ["standing.read", "standing.write"];
    let ours = token(world.pool(), Some(world.ours.organization), &scopes).await;
    let theirs = token(world.pool(), Some(world.theirs.organization), &scopes).await;
    let of = |what: &str| format!("/v1/users/{}/{what}", world.ours.user);
    let send = async |method: Method, what: &str, body: Value, token: &str| {
        let request = world.request(method, &of(what)).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(&body) };
        Answer::read(request.send().await.unwrap()).await
    };
    let nothing = Value::Null;
    assert_eq!(send(Method::PUT, "waitlist", nothing.clone(), &theirs).await.problem(), (404, "not_found"));
    let reads = token(world.pool(), Some(world.ours.organization), &["standing.read"]).await;
    assert_eq!(send(Method::PUT, "waitlist", nothing.clone(), &reads).await.problem(), (403, "forbidden"));

    for _ in 0..2 {
        let joined = send(Method::PUT, "waitlist", nothing.clone(), &ours).await;
        assert!(joined.status == 200 && joined.body["joined_waiting_list_at"].is_string(), "{joined:?}");
    }
    assert_eq!(send(Method::PUT, "marketing", nothing.clone(), &ours).await.body["marketing_opt_in"], true);
    let early = send(Method::PUT, "early-access", nothing.clone(), &ours).await;
    assert!(early.body["early_access_granted_at"].is_string(), "{early:?}");
    let bad = send(Method::POST, "trial", json!({"days": 0}), &ours).await;
    assert_eq!(bad.problem(), (400, "bad_body"));
    let begun = send(Method::POST, "trial", json!({"days": 14}), &ours).await;
    assert_eq!(begun.body["subscription_status"], "trial");
    let again = send(Method::POST, "trial", json!({"days": 14}), &ours).await;
    assert_eq!(again.problem(), (409, "wrong_standing"));
    let longer = send(Method::PATCH, "trial", json!({"ends_at": "2099-01-01T00:00:00Z"}), &ours).await;
    assert_eq!(longer.body["trial_end_date"], "2099-01-01T00:00:00Z");
    let paid = send(Method::PUT, "subscription", nothing.clone(), &ours).await;
    assert_eq!(paid.body["subscription_status"], "active");
    assert_eq!(
        send(Method::DELETE, "trial", nothing.clone(), &ours).await.problem(),
        (409, "wrong_standing")
    );
    let gone = send(Method::DELETE, "subscription", nothing.clone(), &ours).await;
    assert_eq!(gone.body["subscription_status"], "cancelled");
    assert_eq!(send(Method::DELETE, "marketing", nothing, &ours).await.body["marketing_opt_in"], false);
    assert_eq!(world.get(&of("standing"), &reads).await.body["subscription_status"], "cancelled");

    let trail: Vec<String> = sqlx::query_scalar(
        "select action from audit_logs where user_id = $1 and resource_type = 'users' order by created_at",
    )
    .bind(world.ours.user.0)
    .fetch_all(world.pool())
    .await
    .unwrap();
    let expected = [
        "waitlist.joined",
        "marketing.opted_in",
        "early_access.granted",
        "trial.started",
        "trial.extended",
        "subscription.activated",
        "subscription.cancelled",
        "marketing.unsubscribed",
    ];
    assert_eq!(trail, expected);
}
