//! `GET /youtube/v3/videos`, by id. Charts and ratings are not stood in for.

use chrono::TimeDelta;

use super::{Answer, Call, params::Parts, thumbnails};
use crate::{
    google::refusal::Refusal,
    json::{Object, document},
    world::{Channel, Dice, Privacy, Purpose, Role, Video},
};

const PARAMETERS: &[&str] = &[
    "part",
    "id",
    "chart",
    "myRating",
    "hl",
    "locale",
    "maxHeight",
    "maxWidth",
    "maxResults",
    "pageToken",
    "regionCode",
    "videoCategoryId",
];
const PARTS: &[&str] = &[
    "id",
    "snippet",
    "contentDetails",
    "fileDetails",
    "liveStreamingDetails",
    "localizations",
    "paidProductPlacementDetails",
    "player",
    "processingDetails",
    "recordingDetails",
    "statistics",
    "status",
    "suggestions",
    "topicDetails",
];

pub(super) fn list(call: &Call<'_>) -> Answer {
    call.params.only(PARAMETERS)?;
    let parts = call.params.parts(PARTS)?;
    let fields = call.params.fields()?;
    if call.params.filter(&["id", "chart", "myRating"])? != "id" {
        return Err(Refusal::invalid_parameter("chart", "This stand-in lists videos by id only."));
    }
    let found = readable(call)?;
    let yours = |video: &Video| video.key.channel == call.caller.channel;
    if parts.has("fileDetails") && !found.iter().all(yours) {
        let message = "The request cannot access user rating information or file details of others' videos.";
        return Err(Refusal::new(403, "youtube.video", "forbidden", message));
    }
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#videoListResponse");
        o.etag();
        o.objects("items", &found, |o, video| {
            if let Some(channel) = call.view.world.channel(video.key.channel) {
                write(o, call, channel, video, &parts);
            }
        });
        o.object("pageInfo", |o| {
            o.number("totalResults", found.len() as u64);
            o.number("resultsPerPage", found.len() as u64);
        });
    }))
}

/// Returns the videos of a call's ids that its caller may read; the others are left out in silence.
pub(super) fn readable(call: &Call<'_>) -> Result<Vec<Video>, Refusal> {
    let ids = call.params.ids()?;
    let keys = ids.into_iter().filter_map(|id| call.view.world.ids.read_video(id));
    let allowed =
        |video: &Video| video.role.privacy() != Privacy::Private || video.key.channel == call.caller.channel;
    Ok(keys.filter_map(|key| call.view.video(key)).filter(|video| !video.gone && allowed(video)).collect())
}

fn write(o: &mut Object<'_>, call: &Call<'_>, channel: &Channel, video: &Video, parts: &Parts) {
    let id = call.view.world.ids.video(video.key);
    let owner = video.key.channel == call.caller.channel;
    let mut dice =
        call.view.world.dice(Purpose::Details, [u64::from(channel.index), u64::from(video.key.index), 0, 0]);
    o.text("kind", "youtube#video");
    o.etag();
    o.text("id", &id);
    if parts.has("snippet") {
        o.object("snippet", |o| snippet(o, channel, video, (&id, &call.view.title(video)), &mut dice));
    }
    if parts.has("contentDetails") {
        o.object("contentDetails", |o| {
            o.text("duration", &video.duration());
            o.text("dimension", "2d");
            o.text("definition", "hd");
            o.text("caption", "false");
            o.flag("licensedContent", true);
            o.object("contentRating", |_| {});
            o.text("projection", "rectangular");
            if owner {
                o.flag("hasCustomThumbnail", true);
            }
        });
    }
    if parts.has("status") {
        o.object("status", |o| {
            let upcoming = video.role == Role::Upcoming;
            o.text("uploadStatus", if upcoming { "uploaded" } else { "processed" });
            o.text("privacyStatus", video.role.privacy().as_str());
            o.text("license", "youtube");
            o.flag("embeddable", true);
            o.flag("publicStatsViewable", video.role != Role::LikesHidden);
            o.flag("madeForKids", false);
        });
    }
    if parts.has("statistics") {
        o.object("statistics", |o| {
            o.big("viewCount", video.views);
            if video.role != Role::LikesHidden {
                o.big("likeCount", video.likes);
            }
            if owner {
                o.big("dislikeCount", video.likes / 40);
            }
            o.big("favoriteCount", 0);
            if !video.comments_disabled {
                o.big("commentCount", video.comments);
            }
        });
    }
    if parts.has("liveStreamingDetails") && video.is_stream() {
        o.object("liveStreamingDetails", |o| match video.seconds {
            0 => o.time("scheduledStartTime", video.published_at + TimeDelta::days(30)),
            seconds => {
                o.time("actualStartTime", video.published_at - TimeDelta::seconds(i64::from(seconds)));
                o.time("actualEndTime", video.published_at);
            }
        });
    }
    if parts.has("fileDetails") {
        o.object("fileDetails", |o| {
            o.text("fileType", "video");
            o.objects("videoStreams", [video.size()], |o, (width, height)| {
                o.number("widthPixels", width);
                o.number("heightPixels", height);
            });
        });
    }
    if parts.has("player") {
        o.object("player", |o| {
            o.text("embedHtml", &format!(r#"<iframe src="//www.youtube.com/embed/{id}"></iframe>"#));
            let (width, height) = video.size();
            let given = |name| call.params.one(name).and_then(|n| n.parse::<u64>().ok());
            // A player's size is only told to those who say how much room they have.
            if let Some(most) = given("maxHeight") {
                o.big("embedHeight", most);
                o.big("embedWidth", most * width / height);
            } else if let Some(most) = given("maxWidth") {
                o.big("embedHeight", most * height / width);
                o.big("embedWidth", most);
            }
        });
    }
}

fn snippet(o: &mut Object<'_>, channel: &Channel, video: &Video, (id, title): (&str, &str), dice: &mut Dice) {
    let description = format!(
        "Today it is all about {}.\n\n0:00 Hello\n1:10 What you need\n3:40 How it's done\n\nNew videos twice a week.",
        video.topic
    );
    o.time("publishedAt", video.published_at);
    o.text("channelId", &channel.id());
    o.text("title", title);
    o.text("description", &description);
    thumbnails::of_video(o, id, video.key.index, video.is_short());
    o.text("channelTitle", &channel.title);
    if !dice.chance(120) {
        let first = dice.below(3);
        let tags = channel.niche().tags.iter().copied().skip(usize::try_from(first).unwrap_or(0));
        o.texts("tags", tags.take(4).chain([video.topic]));
    }
    o.text("categoryId", channel.niche().category_id);
    o.text("liveBroadcastContent", if video.role == Role::Upcoming { "upcoming" } else { "none" });
    if dice.chance(300) {
        o.text("defaultLanguage", "en");
    }
    o.object("localized", |o| {
        o.text("title", title);
        o.text("description", &description);
    });
    if dice.chance(600) {
        o.text("defaultAudioLanguage", dice.pick(&["en", "en-GB", "en-US"]));
    }
}
