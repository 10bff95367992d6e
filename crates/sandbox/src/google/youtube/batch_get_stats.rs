//! `GET /youtube/v3/videos:batchGetStats`: counters only, from a bucket of its own.

use super::{Answer, Call, videos::readable};
use crate::{json::document, world::Role};

const PARTS: &[&str] = &["id", "snippet", "statistics", "contentDetails"];

pub(super) fn list(call: &Call<'_>) -> Answer {
    call.params.only(&["part", "id"])?;
    let parts = call.params.parts(PARTS)?;
    let fields = call.params.fields()?;
    call.params.filter(&["id"])?;
    let found = readable(call)?;
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#batchGetStatsResponse");
        o.etag();
        o.objects("items", &found, |o, video| {
            o.text("kind", "youtube#videoStats");
            o.etag();
            o.text("id", &call.view.world.ids.video(video.key));
            if parts.has("snippet") {
                o.object("snippet", |o| o.time("publishTime", video.published_at));
            }
            if parts.has("contentDetails") {
                o.object("contentDetails", |o| o.text("duration", &format!("{}s", video.seconds)));
            }
            if parts.has("statistics") {
                o.object("statistics", |o| {
                    o.big("viewCount", video.views);
                    if video.role != Role::LikesHidden {
                        o.big("likeCount", video.likes);
                    }
                    if !video.comments_disabled {
                        o.big("commentCount", video.comments);
                    }
                });
            }
        });
    }))
}
