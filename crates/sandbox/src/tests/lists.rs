use super::*;
use crate::Change;

#[tokio::test]
async fn a_channel_tells_what_its_videos_sum_up_to() {
    let setup = Setup::small().await;
    let answer = setup.get("channels?part=snippet,statistics,contentDetails&mine=true").await;
    let (channel, totals) = (&answer["items"][0], &setup.running.totals()[0]);
    assert_eq!(channel["id"], totals.channel_id.as_str());
    assert_eq!(channel["contentDetails"]["relatedPlaylists"]["uploads"], totals.uploads.as_str());
    assert_eq!(channel["statistics"]["videoCount"], totals.public_videos.to_string());
    assert!(channel.get("status").is_none(), "a part that was not asked for");

    let videos = setup.uploads().await;
    let answer = setup.get(&format!("videos?part=statistics,status&id={}", videos.join(","))).await;
    let public = list(&answer["items"]).iter().filter(|video| video["status"]["privacyStatus"] == "public");
    let views: u64 =
        public.map(|video| text(&video["statistics"]["viewCount"]).parse::<u64>().expect("digits")).sum();
    assert_eq!(channel["statistics"]["viewCount"], views.to_string());
}

#[tokio::test]
async fn a_channel_is_found_by_its_id_or_handle_or_not_at_all() {
    let setup = Setup::small().await;
    let id = setup.running.google().channel_id;
    let found = setup.get(&format!("channels?part=snippet&id={id},UCnobody")).await;
    assert_eq!(list(&found["items"]).len(), 1);
    let handle = text(&found["items"][0]["snippet"]["customUrl"]);
    assert_eq!(setup.get(&format!("channels?part=id&forHandle={handle}")).await["items"][0]["id"], id);
    let nobody = setup.get("channels?part=id&id=UCnobody").await;
    assert_eq!((nobody.get("items"), &nobody["pageInfo"]["totalResults"]), (None, &Value::from(0)));
}

#[tokio::test]
async fn subscribers_can_be_hidden() {
    let setup = Setup::new(Settings { hidden_subscribers: true, ..Settings::default() }).await;
    let answer = setup.get("channels?part=statistics&mine=true").await;
    let statistics = &answer["items"][0]["statistics"];
    assert_eq!(
        (statistics.get("subscriberCount"), &statistics["hiddenSubscriberCount"]),
        (None, &Value::Bool(true))
    );
}

#[tokio::test]
async fn uploads_are_walked_from_new_to_old_and_end() {
    let setup = Setup::small().await;
    let totals = &setup.running.totals()[0];
    let playlist = &totals.uploads;
    let path = format!("playlistItems?part=snippet,contentDetails,status&playlistId={playlist}");
    let first = setup.get(&path).await;
    assert_eq!(list(&first["items"]).len(), 5, "the default page");
    assert_eq!(first["pageInfo"]["totalResults"], totals.listed_videos);
    let items = setup.walk(&format!("{path}&maxResults=7")).await;
    assert_eq!(items.len(), totals.listed_videos as usize);
    assert_eq!(ids(&items).len(), items.len());
    let dates: Vec<_> = items.iter().map(|item| text(&item["snippet"]["publishedAt"])).collect();
    assert!(dates.is_sorted_by(|newer, older| newer >= older));
    let private: Vec<_> = items.iter().filter(|item| item["status"]["privacyStatus"] == "private").collect();
    assert!(!private.is_empty());
    assert!(private.iter().all(|item| item["contentDetails"].get("videoPublishedAt").is_none()));
}

#[tokio::test]
async fn strangers_see_public_uploads_only() {
    let mut setup = Setup::new(Settings { channels: 2, ..Settings::default() }).await;
    let stranger = setup.running.google().channels[1].refresh_token.clone();
    let mine = setup.uploads().await;
    setup.token = access_token(&setup.running, &stranger, &setup.client).await;
    let seen = setup.uploads().await;
    assert!(seen.len() < mine.len());
    let answer = setup.get(&format!("videos?part=status&id={}", mine.join(","))).await;
    assert!(list(&answer["items"]).iter().all(|video| video["status"]["privacyStatus"] != "private"));
}

#[tokio::test]
async fn shorts_long_videos_and_streams_are_sieved_out_of_the_uploads() {
    let setup = Setup::new(Settings { videos: 120, ..Settings::default() }).await;
    let uploads = setup.running.totals()[0].uploads.clone();
    let stem = uploads.strip_prefix("UU").expect("an uploads playlist");
    let mut sieved = 0;
    for prefix in ["UUSH", "UULF", "UULV"] {
        let items =
            setup.walk(&format!("playlistItems?part=id&maxResults=50&playlistId={prefix}{stem}")).await;
        assert!(!items.is_empty(), "{prefix}");
        sieved += items.len();
    }
    assert_eq!(sieved, setup.running.totals()[0].readable_videos as usize);
}

#[tokio::test]
async fn videos_leave_out_what_is_gone_and_what_is_hidden() {
    let setup = Setup::small().await;
    let (uploads, totals) = (setup.uploads().await, &setup.running.totals()[0]);
    let path = format!(
        "videos?part=snippet,contentDetails,statistics,status,liveStreamingDetails&id={}",
        uploads.join(",")
    );
    let answer = setup.get(&path).await;
    let videos = list(&answer["items"]);
    assert_eq!(videos.len(), uploads.len() - totals.vanished.len());
    assert!(!totals.vanished.is_empty());
    for video in videos {
        let statistics = &video["statistics"];
        assert!(statistics["viewCount"].is_string());
        let disabled = totals.comments_disabled.contains(&text(&video["id"]));
        assert_eq!(statistics.get("commentCount").is_none(), disabled);
        assert!(video["snippet"]["thumbnails"]["default"]["width"].is_u64());
    }
    let some = |test: &dyn Fn(&Value) -> bool| videos.iter().any(test);
    assert!(some(&|video| video["statistics"].get("likeCount").is_none()));
    assert!(some(&|video| video["snippet"].get("tags").is_none()));
    assert!(some(&|video| video["snippet"].get("defaultLanguage").is_none()));
    assert!(some(&|video| video["snippet"]["thumbnails"].get("maxres").is_none()));
    assert!(some(&|video| video["snippet"]["thumbnails"].get("uhd").is_some()));
    assert!(some(&|video| video["contentDetails"]["duration"] == "P0D"));
    assert!(some(&|video| video["contentDetails"]["duration"] == "P1DT2H"));
    assert!(some(&|video| text(&video["contentDetails"]["duration"]).starts_with("PT1H")));
    assert!(some(&|video| video["liveStreamingDetails"]["scheduledStartTime"].is_string()));
}

#[tokio::test]
async fn counters_come_in_batches_from_a_budget_of_their_own() {
    let setup = Setup::small().await;
    let uploads = setup.uploads().await;
    let before = setup.running.stats();
    let path =
        format!("videos:batchGetStats?part=id,snippet,statistics,contentDetails&id={}", uploads.join("&id="));
    let answer = setup.get(&path).await;
    let after = setup.running.stats();
    assert_eq!(answer["kind"], "youtube#batchGetStatsResponse");
    assert_eq!(after.units(crate::Bucket::BatchGetStats), 1);
    assert_eq!(after.units(crate::Bucket::Default), before.units(crate::Bucket::Default));
    let stats = list(&answer["items"]);
    assert_eq!(stats.len(), setup.running.totals()[0].readable_videos as usize);
    for stat in stats {
        assert!(text(&stat["contentDetails"]["duration"]).ends_with('s'));
        assert!(stat["snippet"]["publishTime"].is_string());
    }
    let counted = |items: &[Value]| {
        items
            .iter()
            .map(|item| (text(&item["id"]), item["statistics"]["viewCount"].clone()))
            .collect::<Vec<_>>()
    };
    let videos = setup.get(&format!("videos?part=statistics&id={}", uploads.join(","))).await;
    assert_eq!(counted(stats), counted(list(&videos["items"])));
}

#[tokio::test]
async fn uploads_deletions_and_edits_show() {
    let setup = Setup::small().await;
    let before = setup.uploads().await;
    let change = Change::DeleteVideo { video_id: before[0].clone() };
    setup.running.change(&change).expect("the video is there");
    let added = setup.running.change(&Change::AddVideo { channel_id: None }).expect("a channel");
    let after = setup.uploads().await;
    assert_eq!((after.len(), &after[0]), (before.len(), &added.ids[0]));
    assert!(!after.contains(&before[0]));

    let edit =
        Change::EditVideo { video_id: after[1].clone(), title: Some("New".to_owned()), more_views: 70 };
    let path = format!("videos?part=snippet,statistics&id={}", after[1]);
    let old = setup.get(&path).await;
    setup.running.change(&edit).expect("the video is there");
    let new = setup.get(&path).await;
    let views =
        |answer: &Value| text(&answer["items"][0]["statistics"]["viewCount"]).parse::<u64>().expect("digits");
    assert_eq!(new["items"][0]["snippet"]["title"], "New");
    assert_eq!(views(&new), views(&old) + 70);
    let unknown = setup.running.change(&Change::DeleteVideo { video_id: before[0].clone() });
    assert!(unknown.is_err(), "it is deleted already");
}
