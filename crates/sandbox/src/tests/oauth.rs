use std::time::Duration;

use greenroom_model::Clock;
use serde_json::json;

use super::*;

async fn post(running: &Running, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/{path}", running.base_url);
    let answer = client().post(url).form(form).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_refresh_token_buys_access_for_an_hour_and_is_not_rotated() {
    let running = Sandbox::start(Settings::default()).await.expect("a free port");
    let google = running.google();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", google.refresh_token.as_str()),
        ("client_id", &google.client_id),
        ("client_secret", &google.client_secret),
    ];
    let (status, issued) = post(&running, "token", &form).await;
    assert_eq!(
        (status, &issued["expires_in"], &issued["token_type"]),
        (200, &json!(3_599), &json!("Bearer"))
    );
    assert!(text(&issued["access_token"]).starts_with("ya29."));
    assert!(text(&issued["scope"]).contains("youtube.force-ssl"));
    assert!(issued.get("refresh_token").is_none());
    let (_, again) = post(&running, "token", &form).await;
    assert_ne!(again["access_token"], issued["access_token"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_refresh_is_told_as_google_tells_it() {
    let running = Sandbox::start(Settings::default()).await.expect("a free port");
    let google = running.google();
    let good = [
        ("grant_type", "refresh_token"),
        ("refresh_token", google.refresh_token.as_str()),
        ("client_id", google.client_id.as_str()),
        ("client_secret", google.client_secret.as_str()),
    ];
    let with = |name: &str, value| good.map(|(key, old)| if key == name { (key, value) } else { (key, old) });
    for (form, expected) in [
        (with("refresh_token", google.revoked_refresh_token.as_str()), (400, "invalid_grant")),
        (with("refresh_token", "1//0nonsense"), (400, "invalid_grant")),
        (with("client_secret", "wrong"), (401, "invalid_client")),
        (with("client_id", "wrong"), (401, "invalid_client")),
        (with("grant_type", "password"), (400, "unsupported_grant_type")),
        (with("refresh_token", ""), (400, "invalid_request")),
    ] {
        let (status, body) = post(&running, "token", &form).await;
        assert_eq!((status, body["error"].as_str()), (expected.0, Some(expected.1)));
        assert!(body["error_description"].is_string());
    }
    let (_, body) = post(&running, "token", &with("refresh_token", &google.revoked_refresh_token)).await;
    assert_eq!(body["error_description"], "Token has been expired or revoked.");
}

#[tokio::test]
async fn an_access_token_dies_when_its_hour_is_over() {
    let clock = Clock::system();
    let setup = Setup::new(Settings { clock: clock.clone(), ..Settings::default() }).await;
    setup.get("channels?part=id&mine=true").await;
    clock.advance(Duration::from_hours(1));
    let response = setup.send("channels?part=id&mine=true").await;
    let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.starts_with("Bearer ") && challenge.contains(r#"error="invalid_token""#));
    let (status, reason, error) = refusal(response).await;
    assert_eq!(
        (status, reason.as_str(), error["status"].as_str()),
        (401, "authError", Some("UNAUTHENTICATED"))
    );
    assert_eq!(
        error["errors"][0],
        json!({
            "message": "Invalid Credentials", "domain": "global", "reason": "authError",
            "location": "Authorization", "locationType": "header"
        })
    );
}

#[tokio::test]
async fn revoking_either_token_ends_the_grant() {
    for by_access_token in [true, false] {
        let setup = Setup::small().await;
        let google = setup.running.google();
        let token = if by_access_token { setup.token.clone() } else { google.refresh_token };
        assert_eq!(post(&setup.running, "revoke", &[("token", &token)]).await.0, 200);
        assert_eq!(setup.refused("channels?part=id&mine=true").await.0, 401);
        let (status, body) = post(&setup.running, "revoke", &[("token", &token)]).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_token")));
    }
}

#[tokio::test]
async fn comments_want_a_scope_that_a_user_may_untick() {
    let mut setup = Setup::small().await;
    let google = setup.running.google();
    setup.token = access_token(&setup.running, &google.readonly_refresh_token, &setup.client).await;
    setup.get("channels?part=id&mine=true").await;
    let path = format!("commentThreads?part=id&allThreadsRelatedToChannelId={}", google.channel_id);
    let (status, reason, error) = setup.refused(&path).await;
    assert_eq!((status, reason.as_str()), (403, "insufficientPermissions"));
    assert_eq!(error["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
}

#[tokio::test]
async fn each_channel_has_a_token_of_its_own() {
    let setup = Setup::new(Settings { channels: 3, ..Settings::default() }).await;
    let accounts = setup.running.google().channels;
    assert_eq!(accounts.len(), 3);
    for account in accounts {
        let token = access_token(&setup.running, &account.refresh_token, &setup.client).await;
        let url = setup.url("channels?part=id&mine=true");
        let answer = setup.client.get(url).bearer_auth(token).send().await.expect("an answer");
        let mine: Value = answer.json().await.expect("JSON");
        assert_eq!(mine["items"][0]["id"], account.channel_id.as_str());
    }
}

#[tokio::test]
async fn a_call_without_a_token_is_unregistered() {
    let setup = Setup::small().await;
    let answer = setup.client.get(setup.url("channels?part=id&mine=true")).send().await.expect("an answer");
    let (status, reason, _) = refusal(answer).await;
    assert_eq!((status, reason.as_str()), (403, "forbidden"));
}
