use std::time::{Duration, Instant};

use greenroom_model::Clock;

use super::*;
use crate::{Bucket, Endpoint, Quota};

#[tokio::test]
async fn part_is_wanted_and_selects() {
    let setup = Setup::small().await;
    let uploads = &setup.running.totals()[0].uploads;
    for path in [
        "channels?mine=true",
        "videos?id=x",
        "videos:batchGetStats?id=x",
        "comments?id=x",
        "commentThreads?id=x",
    ] {
        let (status, reason, _) = setup.refused(path).await;
        assert_eq!((status, reason.as_str()), (400, "missingRequiredParameter"), "{path}");
    }
    assert_eq!(setup.refused("channels?part=id,nonsense&mine=true").await.1, "unknownPart");
    let item =
        &setup.get(&format!("playlistItems?part=contentDetails&playlistId={uploads}")).await["items"][0];
    let names: Vec<_> = item.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["contentDetails", "etag", "id", "kind"]);
}

#[tokio::test]
async fn fields_trim_the_answer() {
    let setup = Setup::small().await;
    let answer = setup
        .get("channels?part=snippet,statistics&mine=true&fields=items(id,snippet/thumbnails/default(url))")
        .await;
    let url = &answer["items"][0]["snippet"]["thumbnails"]["default"]["url"];
    let id = setup.running.google().channel_id;
    let expected = serde_json::json!({
        "items": [{"id": id, "snippet": {"thumbnails": {"default": {"url": url}}}}]
    });
    assert_eq!(answer, expected);
    let (status, reason, error) = setup.refused("channels?part=id&mine=true&fields=items(").await;
    assert_eq!((status, reason.as_str()), (400, "invalidParameter"));
    assert_eq!(error["errors"][0]["location"], "fields");
}

#[tokio::test]
async fn pages_have_limits() {
    let setup = Setup::small().await;
    let google = setup.running.google();
    let stream = format!("commentThreads?part=id&allThreadsRelatedToChannelId={}", google.channel_id);
    assert_eq!(list(&setup.get(&stream).await["items"]).len(), 20, "the default page");
    assert_eq!(list(&setup.get(&format!("{stream}&maxResults=100")).await["items"]).len(), 100);
    for path in [
        format!("{stream}&maxResults=101"),
        format!("{stream}&maxResults=0"),
        format!("{stream}&maxResults=many"),
        format!("playlistItems?part=id&playlistId={}&maxResults=51", setup.running.totals()[0].uploads),
        "channels?part=id&mine=true&maxResults=51".to_owned(),
    ] {
        let (status, reason, error) = setup.refused(&path).await;
        assert_eq!((status, reason.as_str()), (400, "invalidParameter"), "{path}");
        assert_eq!(error["errors"][0]["location"], "maxResults");
    }
    let ids: Vec<_> = (0..51).map(|n| n.to_string()).collect();
    for method in ["videos", "videos:batchGetStats"] {
        let (status, reason, _) = setup.refused(&format!("{method}?part=id&id={}", ids.join(","))).await;
        assert_eq!((status, reason.as_str()), (400, "invalidFilters"));
    }
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_walk_only() {
    let setup = Setup::small().await;
    let channel = setup.running.google().channel_id;
    let stream = format!("commentThreads?part=id&allThreadsRelatedToChannelId={channel}");
    let token = text(&setup.get(&stream).await["nextPageToken"]);
    setup.get(&format!("{stream}&pageToken={token}&maxResults=7")).await;
    for path in [
        format!("{stream}&pageToken=garbage"),
        format!("{stream}&order=relevance&pageToken={token}"),
        format!("playlistItems?part=id&playlistId={}&pageToken={token}", setup.running.totals()[0].uploads),
    ] {
        let (status, reason, _) = setup.refused(&path).await;
        assert_eq!((status, reason.as_str()), (400, "invalidPageToken"), "{path}");
    }
}

#[tokio::test]
async fn a_misspelt_parameter_is_noticed() {
    let setup = Setup::small().await;
    let (status, reason, error) = setup.refused("channels?part=id&mine=true&maxresults=3").await;
    assert_eq!((status, reason.as_str()), (400, "badRequest"));
    assert!(text(&error["message"]).contains("maxresults"));
    setup.get("channels?part=id&mine=true&alt=json&prettyPrint=false&quotaUser=me").await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again_but_costs_a_unit() {
    let setup = Setup::small().await;
    let path = "channels?part=statistics&mine=true";
    let etag = text(&setup.get(path).await["etag"]);
    let units = setup.running.stats().units(Bucket::Default);
    for known in [etag.clone(), format!("\"{etag}\""), format!("W/\"{etag}\", \"other\"")] {
        let answer = setup.request(path).header("if-none-match", known).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert!(answer.bytes().await.expect("a body").is_empty());
    }
    assert_eq!(setup.running.stats().units(Bucket::Default), units + 3);
    assert_eq!(setup.running.stats().answers(Endpoint::Channels, 304), 3);
    let video_id = setup.uploads().await.remove(0);
    setup
        .running
        .change(&crate::Change::EditVideo { video_id, title: None, more_views: 9 })
        .expect("a video");
    let answer = setup.request(path).header("if-none-match", &etag).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let setup = Setup::small().await;
    let plain = client_without_gzip();
    let url = setup.url(&format!(
        "playlistItems?part=snippet&maxResults=50&playlistId={}",
        setup.running.totals()[0].uploads
    ));
    let ask = |encoding: &'static str| {
        plain.get(&url).bearer_auth(&setup.token).header("accept-encoding", encoding).send()
    };
    let packed = ask("gzip").await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.expect("a body");
    let open = ask("identity").await.expect("an answer").bytes().await.expect("a body");
    assert!(packed.len() * 3 < open.len(), "{} of {}", packed.len(), open.len());
    assert_eq!(packed[..2], [0x1f, 0x8b]);
}

fn client_without_gzip() -> Client {
    Client::builder().no_gzip().build().expect("a client")
}

#[tokio::test]
async fn quota_ends_and_comes_back_at_midnight_in_los_angeles() {
    let clock = Clock::system();
    let quota = Quota { default_units: 3, batch_get_stats_units: 1 };
    let setup = Setup::new(Settings { clock: clock.clone(), quota, ..Settings::default() }).await;
    let path = "channels?part=id&mine=true";
    for _ in 0..2 {
        setup.get(path).await;
    }
    assert_eq!(setup.refused("channels?mine=true").await.0, 400, "costs a unit as well");
    let (status, reason, error) = setup.refused(path).await;
    assert_eq!((status, reason.as_str()), (403, "quotaExceeded"));
    assert_eq!(error["errors"][0]["domain"], "youtube.quota");
    assert!(text(&error["message"]).contains("exceeded your <a href="));
    setup.get("videos:batchGetStats?part=id&id=x").await;
    assert_eq!(setup.refused("videos:batchGetStats?part=id&id=x").await.1, "quotaExceeded");
    clock.advance(Duration::from_hours(25));
    let token = access_token(&setup.running, &setup.running.google().refresh_token, &setup.client).await;
    let answer = setup.client.get(setup.url(path)).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn latency_holds_back_each_call_and_not_their_number() {
    let latency = Duration::from_millis(150);
    let setup = Setup::new(Settings { latency, ..Settings::default() }).await;
    let began = Instant::now();
    let calls = (0..12).map(|_| setup.get("channels?part=id&mine=true"));
    futures::future::join_all(calls).await;
    let took = began.elapsed();
    assert!(took >= latency && took < latency * 6, "{took:?}");
    assert!(setup.running.stats().most_in_flight > 6);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let read = async |seed| {
        let setup = Setup::new(Settings { seed, ..Settings::default() }).await;
        let channel = setup.running.google().channel_id;
        let path = format!(
            "commentThreads?part=snippet,replies&maxResults=100&allThreadsRelatedToChannelId={channel}"
        );
        setup.send(&path).await.bytes().await.expect("a body")
    };
    let (one, again, other) = (read(5).await, read(5).await, read(6).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn a_large_world_is_ready_at_once_and_its_last_page_is_as_near_as_its_first() {
    let began = Instant::now();
    let setup = Setup::new(Settings { videos: 1_000, comments: 100_000, ..Settings::default() }).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let totals = setup.running.totals().remove(0);
    assert_eq!(totals.threads + totals.replies, 100_000);
    let path = format!(
        "commentThreads?part=id&maxResults=100&order=time&allThreadsRelatedToChannelId={}",
        totals.channel_id
    );
    assert_eq!(
        setup.walk(&format!("{path}&fields=nextPageToken,items/id")).await.len() as u64,
        totals.threads
    );
}

#[tokio::test]
async fn a_ready_line_tells_how_to_begin() {
    let setup = Setup::small().await;
    let line = serde_json::to_value(setup.running.ready()).expect("JSON");
    assert_eq!(line["base_url"], setup.running.base_url);
    for name in [
        "client_id",
        "client_secret",
        "refresh_token",
        "revoked_refresh_token",
        "channel_id",
        "comments_disabled_video",
    ] {
        assert!(line["google"][name].is_string(), "{name}");
    }
}
