use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::{Change, Endpoint, Fault, Rule};

const MINE: &str = "channels?part=id&mine=true";

impl Setup {
    fn next(&self, fault: Fault) {
        self.running.inject(Rule::next(Endpoint::Channels, fault));
    }
}

fn error(status: u16, reason: &str) -> Fault {
    Fault::Error { status, reason: reason.to_owned(), retry_after_secs: None }
}

#[tokio::test]
async fn every_error_can_be_scripted_and_then_passes() {
    let setup = Setup::small().await;
    for (status, reason) in [
        (500, "backendError"),
        (503, "serviceUnavailable"),
        (403, "rateLimitExceeded"),
        (403, "quotaExceeded"),
        (403, "accessNotConfigured"),
        (401, "youtubeSignupRequired"),
        (401, "authError"),
        (400, "processingFailure"),
        (404, "channelNotFound"),
    ] {
        setup.next(error(status, reason));
        let (got, told, _) = setup.refused(MINE).await;
        assert_eq!((got, told.as_str()), (status, reason));
        setup.get(MINE).await;
    }
}

#[tokio::test]
async fn too_many_requests_say_when_to_come_back() {
    let setup = Setup::small().await;
    let reason = "RATE_LIMIT_EXCEEDED".to_owned();
    setup.next(Fault::Error { status: 429, reason, retry_after_secs: Some(7) });
    let response = setup.send(MINE).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"7".parse().expect("a header"))
    );
    let (_, _, error) = refusal(response).await;
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(error["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn the_token_endpoint_can_fail_too() {
    let setup = Setup::small().await;
    setup.running.inject(Rule::next(Endpoint::Token, error(400, "invalid_grant")));
    let url = format!("{}/token", setup.running.base_url);
    let answer =
        setup.client.post(url).form(&[("grant_type", "refresh_token")]).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(
        body,
        json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
    );
}

#[tokio::test]
async fn short_pages_are_no_reason_to_stop() {
    let setup = Setup::small().await;
    let path =
        format!("playlistItems?part=id&maxResults=50&playlistId={}", setup.running.totals()[0].uploads);
    setup.running.inject(Rule::next(Endpoint::PlaylistItems, Fault::ShortPage { items: 3 }).times(2));
    let calls = setup.running.stats().calls(Endpoint::PlaylistItems);
    let items = setup.walk(&path).await;
    assert_eq!((items.len(), ids(&items).len()), (40, 40));
    assert_eq!(setup.running.stats().calls(Endpoint::PlaylistItems), calls + 3);
}

#[tokio::test]
async fn a_page_can_be_served_again_for_ever() {
    let setup = Setup::small().await;
    let path =
        format!("playlistItems?part=id&maxResults=10&playlistId={}", setup.running.totals()[0].uploads);
    let mut rule = Rule::next(Endpoint::PlaylistItems, Fault::RepeatedPage);
    rule.times = None;
    setup.running.inject(rule);
    let first = setup.get(&path).await;
    let token = text(&first["nextPageToken"]);
    assert_eq!(setup.get(&format!("{path}&pageToken={token}")).await["items"], first["items"]);
    setup.running.clear_faults();
    assert_ne!(setup.get(&format!("{path}&pageToken={token}")).await["items"], first["items"]);
}

#[tokio::test]
async fn tokens_can_expire_in_the_middle_of_a_walk() {
    let setup = Setup::small().await;
    setup.running.inject(Rule::next(Endpoint::Channels, Fault::ExpireTokens).after(1));
    setup.get(MINE).await;
    assert_eq!(setup.refused(MINE).await.1, "authError");
    assert_eq!(setup.refused(MINE).await.1, "authError", "until a refresh");
}

#[tokio::test]
async fn quota_can_run_out_in_the_middle_of_a_walk() {
    let setup = Setup::small().await;
    setup.running.inject(Rule::next(Endpoint::Channels, Fault::ExhaustQuota).after(1));
    setup.get(MINE).await;
    assert_eq!(setup.refused(MINE).await.1, "quotaExceeded");
    assert_eq!(setup.refused("videos?part=id&id=x").await.1, "quotaExceeded", "the whole bucket");
    setup.get("videos:batchGetStats?part=id&id=x").await;
}

#[tokio::test]
async fn connections_break_and_bodies_dawdle() {
    let setup = Setup::small().await;
    setup.next(Fault::Reset);
    let broken = match setup.request(MINE).send().await {
        Ok(response) => response.bytes().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(broken.is_err_and(|error| !error.is_timeout()));
    setup.get(MINE).await;

    let began = Instant::now();
    setup.next(Fault::SlowBody { millis: 400 });
    let response = setup.send(MINE).await;
    let head = began.elapsed();
    let body: Value = response.json().await.expect("JSON");
    assert!(body["items"].is_array());
    assert!(head < Duration::from_millis(300) && began.elapsed() > Duration::from_millis(300));

    let began = Instant::now();
    setup.next(Fault::Delay { millis: 200 });
    setup.get(MINE).await;
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_proxy_may_answer_instead() {
    let setup = Setup::small().await;
    let body = "<html>Bad gateway</html>".to_owned();
    setup.next(Fault::Raw { status: 502, content_type: "text/html".to_owned(), body: body.clone() });
    let response = setup.send(MINE).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.text().await.expect("text"), body);
}

#[tokio::test]
async fn a_video_can_be_deleted_between_two_pages() {
    let setup = Setup::small().await;
    let uploads = setup.uploads().await;
    let change = Change::DeleteVideo { video_id: uploads[30].clone() };
    setup.running.inject(Rule::next(Endpoint::PlaylistItems, Fault::Change(change)).after(1));
    let path = format!(
        "playlistItems?part=contentDetails&maxResults=20&playlistId={}",
        setup.running.totals()[0].uploads
    );
    let seen: Vec<_> =
        setup.walk(&path).await.iter().map(|item| text(&item["contentDetails"]["videoId"])).collect();
    assert_eq!(seen.len(), uploads.len() - 1);
    assert!(!seen.contains(&uploads[30]));
}

#[tokio::test]
async fn all_of_it_is_reached_over_http() {
    let setup = Setup::small().await;
    let url = |path: &str| format!("{}/_sandbox/{path}", setup.running.base_url);
    let rules = json!([
        {"endpoint": "channels", "kind": "error", "status": 500, "reason": "backendError"},
        {"kind": "expire_tokens", "after": 1}
    ]);
    let answer = setup.client.post(url("faults")).json(&rules).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(setup.refused(MINE).await.0, 500);
    assert_eq!(setup.refused(MINE).await.0, 401);
    let rule = json!({"kind": "reset", "times": null});
    setup.client.post(url("faults")).json(&rule).send().await.expect("an answer");
    setup.client.delete(url("faults")).send().await.expect("an answer");
    assert_eq!(setup.refused(MINE).await.0, 401);

    let change = json!({"change": "add_video"});
    let answer = setup.client.post(url("changes")).json(&change).send().await.expect("an answer");
    let changed: Value = answer.json().await.expect("JSON");
    assert_eq!(list(&changed["ids"]).len(), 1);
    let change = json!({"change": "delete_comment", "comment_id": "nonsense"});
    let answer = setup.client.post(url("changes")).json(&change).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    let get = async |path: &str| -> Value {
        setup.client.get(url(path)).send().await.expect("an answer").json().await.expect("JSON")
    };
    let stats = get("stats").await;
    assert_eq!((&stats["calls"]["channels"], &stats["answers"]["channels"]["401"]), (&json!(3), &json!(2)));
    assert_eq!(get("totals").await[0]["listed_videos"], 41);
}
