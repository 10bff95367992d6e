use super::*;
use crate::{Change, Endpoint, Fault, Rule};

impl Setup {
    fn stream(&self) -> String {
        let channel = self.running.google().channel_id;
        format!(
            "commentThreads?part=id,snippet,replies&maxResults=100&allThreadsRelatedToChannelId={channel}"
        )
    }

    /// Reads every reply of a thread, over as many pages as it takes.
    async fn replies(&self, thread: &Value) -> Vec<Value> {
        self.walk(&format!("comments?part=id,snippet&maxResults=100&parentId={}", text(&thread["id"]))).await
    }

    /// Finds a video with many threads.
    async fn busy_video(&self) -> String {
        let uploads = self.uploads().await;
        let answer =
            self.get(&format!("videos:batchGetStats?part=statistics&id={}", uploads.join(","))).await;
        let busiest = list(&answer["items"]).iter().max_by_key(|item| {
            item["statistics"]["commentCount"]
                .as_str()
                .map_or(0, |count| count.parse::<u64>().expect("digits"))
        });
        text(&busiest.expect("videos")["id"])
    }
}

fn total(thread: &Value) -> usize {
    usize::try_from(thread["snippet"]["totalReplyCount"].as_u64().expect("a number")).expect("a count")
}

#[tokio::test]
async fn a_walk_with_all_replies_finds_every_comment() {
    let setup = Setup::small().await;
    let totals = setup.running.totals().remove(0);
    let threads = setup.walk(&setup.stream()).await;
    assert_eq!((threads.len() as u64, ids(&threads).len()), (totals.threads, threads.len()));
    let mut replies = 0;
    let mut walked = 0;
    for thread in &threads {
        let inline = list(&thread["replies"]["comments"]);
        assert_eq!(inline.len(), total(thread).min(5));
        assert_eq!(thread.get("replies").is_none(), total(thread) == 0);
        if total(thread) > 5 {
            let all = setup.replies(thread).await;
            assert_eq!((all.len(), ids(&all).len()), (total(thread), total(thread)));
            assert!(ids(inline).is_subset(&ids(&all)));
            for reply in &all {
                assert_eq!(reply["snippet"]["parentId"], thread["id"]);
                assert!(text(&reply["id"]).starts_with(&text(&thread["id"])));
            }
            walked += 1;
        }
        replies += total(thread);
    }
    assert!(walked > 20, "{walked}");
    assert_eq!(replies as u64, totals.replies);
    assert_eq!(totals.threads + totals.replies, 1_500);
}

#[tokio::test]
async fn the_threads_of_all_videos_are_those_of_the_channel() {
    let setup = Setup::new(Settings { videos: 15, comments: 600, ..Settings::default() }).await;
    let mut threads = BTreeSet::new();
    for video in setup.uploads().await {
        let path = format!("commentThreads?part=id,snippet&maxResults=100&videoId={video}");
        let response = setup.send(&path).await;
        if response.status() == StatusCode::OK {
            let items = setup.walk(&path).await;
            assert!(items.iter().all(|thread| thread["snippet"]["videoId"] == video.as_str()));
            threads.append(&mut ids(&items));
        } else {
            let (status, reason, _) = refusal(response).await;
            assert!(
                matches!((status, reason.as_str()), (403, "commentsDisabled") | (404, "videoNotFound")),
                "{reason}"
            );
        }
    }
    assert_eq!(threads, ids(&setup.walk(&setup.stream()).await));
}

#[tokio::test]
async fn time_runs_backwards_and_relevance_does_not() {
    let setup = Setup::small().await;
    let path = format!("commentThreads?part=snippet&maxResults=100&videoId={}", setup.busy_video().await);
    let dates = |items: &[Value]| {
        items
            .iter()
            .map(|thread| text(&thread["snippet"]["topLevelComment"]["snippet"]["publishedAt"]))
            .collect::<Vec<_>>()
    };
    let backwards = |dates: &[String]| dates.is_sorted_by(|newer, older| newer >= older);
    let by_time = setup.walk(&format!("{path}&order=time")).await;
    let by_relevance = setup.walk(&format!("{path}&order=relevance")).await;
    assert!(backwards(&dates(&by_time)) && !backwards(&dates(&by_relevance)));
    assert_eq!(ids(&by_time), ids(&by_relevance));
    assert!(backwards(&dates(&setup.walk(&setup.stream()).await)));
}

#[tokio::test]
async fn comments_look_as_people_write_them() {
    let setup = Setup::small().await;
    let threads = setup.walk(&format!("{}&textFormat=plainText", setup.stream())).await;
    let channel = setup.running.google().channel_id;
    let openings = threads.iter().map(|thread| &thread["snippet"]["topLevelComment"]["snippet"]);
    let replies =
        threads.iter().flat_map(|thread| list(&thread["replies"]["comments"])).map(|reply| &reply["snippet"]);
    let all: Vec<&Value> = openings.chain(replies).collect();
    let some = |test: &dyn Fn(&Value) -> bool| all.iter().any(|comment| test(comment));
    assert!(some(&|comment| comment["updatedAt"] != comment["publishedAt"]), "edited");
    assert!(some(&|comment| comment["viewerRating"] == "like"), "liked by the channel");
    assert!(some(&|comment| comment.get("authorChannelId").is_none()), "a deleted account");
    assert!(some(&|comment| text(&comment["textDisplay"]).contains('¿')), "another language");
    let owners = |comment: &&&Value| comment["authorChannelId"]["value"] == channel.as_str();
    assert!(all.iter().filter(owners).count() > 10);
    for comment in &all {
        assert!(text(&comment["authorDisplayName"]).starts_with('@'));
        assert_eq!(comment.get("textOriginal").is_some(), owners(&comment));
        assert!(comment["updatedAt"].as_str() >= comment["publishedAt"].as_str());
        assert_eq!(comment["moderationStatus"], "published");
        assert!(comment["likeCount"].is_u64());
    }
    let distinct: BTreeSet<_> = all.iter().map(|comment| text(&comment["textDisplay"])).collect();
    assert!(distinct.len() > 200, "{}", distinct.len());
}

#[tokio::test]
async fn html_is_the_default_and_plain_text_is_as_written() {
    let setup = Setup::small().await;
    let video = setup.busy_video().await;
    let text_of = async |format: &str, id: &str| {
        let answer = setup.get(&format!("comments?part=snippet&id={id}{format}")).await;
        text(&answer["items"][0]["snippet"]["textDisplay"])
    };
    let written = "A \"test\" & <b>more</b>\nof it's kind".to_owned();
    let change = Change::AddThreads { video_id: video, count: 1, text: Some(written.clone()) };
    let id = setup.running.change(&change).expect("the video is there").ids.remove(0);
    assert_eq!(text_of("&textFormat=plainText", &id).await, written);
    assert_eq!(
        text_of("", &id).await,
        "A &quot;test&quot; &amp; &lt;b&gt;more&lt;/b&gt;<br>of it&#39;s kind"
    );
}

#[tokio::test]
async fn filters_exclude_each_other_and_one_is_wanted() {
    let setup = Setup::small().await;
    let channel = setup.running.google().channel_id;
    let (status, reason, _) = setup.refused("commentThreads?part=id").await;
    assert_eq!((status, reason.as_str()), (400, "missingRequiredParameter"));
    let (status, reason, _) = setup
        .refused(&format!("commentThreads?part=id&videoId=x&allThreadsRelatedToChannelId={channel}"))
        .await;
    assert_eq!((status, reason.as_str()), (400, "incompatibleParameters"));
    for (path, expected) in [
        ("commentThreads?part=id&videoId=x", "videoNotFound"),
        ("commentThreads?part=id&allThreadsRelatedToChannelId=UCx", "channelNotFound"),
        ("commentThreads?part=id&id=x", "commentThreadNotFound"),
        ("comments?part=id&parentId=x", "commentNotFound"),
        ("playlistItems?part=id&playlistId=x", "playlistNotFound"),
    ] {
        let (status, reason, _) = setup.refused(path).await;
        assert_eq!((status, reason.as_str()), (404, expected), "{path}");
    }
}

#[tokio::test]
async fn disabled_comments_are_a_403_of_their_own() {
    let setup = Setup::small().await;
    let video = setup.running.google().comments_disabled_video.expect("the world has one");
    let (status, reason, error) = setup.refused(&format!("commentThreads?part=id&videoId={video}")).await;
    assert_eq!((status, reason.as_str()), (403, "commentsDisabled"));
    assert_eq!(error["errors"][0]["domain"], "youtube.commentThread");
    let busy = setup.busy_video().await;
    setup.running.change(&Change::DisableComments { video_id: busy.clone() }).expect("the video is there");
    assert_eq!(setup.refused(&format!("commentThreads?part=id&videoId={busy}")).await.1, "commentsDisabled");
    assert!(
        setup.walk(&setup.stream()).await.iter().all(|thread| thread["snippet"]["videoId"] != busy.as_str())
    );
}

#[tokio::test]
async fn search_terms_sieve_a_walk() {
    let setup = Setup::small().await;
    let video = setup.busy_video().await;
    let change =
        Change::AddThreads { video_id: video.clone(), count: 3, text: Some("Quite Peculiar".to_owned()) };
    setup.running.change(&change).expect("the video is there");
    let found = setup
        .walk(&format!("commentThreads?part=id&maxResults=2&videoId={video}&searchTerms=peculiar"))
        .await;
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn changes_show_in_the_next_walk() {
    let setup = Setup::small().await;
    let video = setup.busy_video().await;
    let path =
        format!("commentThreads?part=id,snippet,replies&maxResults=100&textFormat=plainText&videoId={video}");
    let before = setup.walk(&path).await;
    let find = |threads: &[Value], id: &str| threads.iter().find(|thread| thread["id"] == id).cloned();
    let (edited, deleted, held) = (text(&before[3]["id"]), text(&before[4]["id"]), text(&before[5]["id"]));

    let comment_id = edited.clone();
    setup.running.change(&Change::EditComment { comment_id, text: "Better".to_owned() }).expect("a comment");
    let comment_id = edited.clone();
    let reply = Change::AddReplies { comment_id, count: 2, text: Some("Indeed".to_owned()), by_owner: true };
    setup.running.change(&reply).expect("a comment");
    setup.running.change(&Change::DeleteComment { comment_id: deleted.clone() }).expect("a comment");
    setup.running.change(&Change::HoldComment { comment_id: held.clone() }).expect("a comment");
    let new = Change::AddThreads { video_id: video.clone(), count: 2, text: None };
    let new = setup.running.change(&new).expect("a video").ids;

    let after = setup.walk(&path).await;
    assert_eq!(after.len(), before.len() + 2 - 2);
    assert_eq!([text(&after[0]["id"]), text(&after[1]["id"])], [new[1].clone(), new[0].clone()]);
    let thread = find(&after, &edited).expect("still there");
    let snippet = &thread["snippet"]["topLevelComment"]["snippet"];
    assert_eq!(snippet["textDisplay"], "Better");
    assert!(snippet["updatedAt"].as_str() > snippet["publishedAt"].as_str());
    assert_eq!(total(&thread), total(&before[3]) + 2);
    assert_eq!(thread["replies"]["comments"][0]["snippet"]["textDisplay"], "Indeed");
    assert_eq!((find(&after, &deleted), find(&after, &held)), (None, None));
    assert_eq!(setup.refused(&format!("comments?part=id&parentId={deleted}")).await.1, "commentNotFound");
    let gone = setup.get(&format!("comments?part=id&id={deleted}")).await;
    assert!(list(&gone["items"]).is_empty());

    let waiting = setup.walk(&format!("{path}&moderationStatus=heldForReview")).await;
    assert_eq!(ids(&waiting), BTreeSet::from([held.clone()]));
    setup.running.change(&Change::ApproveComment { comment_id: held.clone() }).expect("a held comment");
    let approved = find(&setup.walk(&path).await, &held).expect("shown again");
    assert_eq!(
        approved["snippet"]["topLevelComment"]["snippet"],
        before[5]["snippet"]["topLevelComment"]["snippet"]
    );
    let counted = setup.get(&format!("videos?part=statistics&id={video}")).await;
    let replies: usize = setup.walk(&path).await.iter().map(total).sum();
    let comments = setup.walk(&path).await.len() + replies;
    assert_eq!(counted["items"][0]["statistics"]["commentCount"], comments.to_string());
}

#[tokio::test]
async fn new_comments_during_a_walk_shift_its_pages() {
    let setup = Setup::small().await;
    let video_id = setup.busy_video().await;
    let path = format!("commentThreads?part=id&maxResults=10&videoId={video_id}");
    let all = ids(&setup.walk(&path).await);
    let change = Change::AddThreads { video_id, count: 3, text: None };
    setup.running.inject(Rule::next(Endpoint::CommentThreads, Fault::Change(change)).after(1));
    let walked = setup.walk(&path).await;
    assert_eq!(walked.len(), all.len() + 3, "three are seen twice");
    assert_eq!(ids(&walked), all);
}
