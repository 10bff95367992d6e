//! `GET /youtube/v3/playlistItems`
//!
//! A channel's uploads (`UU…`), and its Shorts, long videos and streams (`UUSH…`, `UULF…`, `UULV…`),
//! which are the same list sieved. Lookups by the id of a playlist item are not stood in for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Answer, Call, page::Walk, params::Parts, thumbnails};
use crate::{
    google::refusal::Refusal,
    json::{Object, document},
    world::{Channel, Privacy, Video, VideoKey},
};

const PARAMETERS: &[&str] = &["part", "playlistId", "videoId", "maxResults", "pageToken"];
const PARTS: &[&str] = &["id", "snippet", "contentDetails", "status"];

/// An upload in the playlist, with its place there.
struct Item {
    video: Video,
    position: u64,
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    call.params.only(PARAMETERS)?;
    let parts = call.params.parts(PARTS)?;
    let fields = call.params.fields()?;
    let per_page = call.params.max_results(5, 0, 50)?;
    call.params.filter(&["playlistId"])?;
    let playlist = call.params.one("playlistId").unwrap_or_default();
    let (channel, sieve) = find(call, playlist)
        .ok_or_else(|| Refusal::not_found("youtube.playlistItem", "playlistNotFound", "playlistId"))?;
    let video_id = call.params.one("videoId").unwrap_or_default();

    let uploads = u64::from(call.view.uploads(channel));
    let show = |place: u64| {
        let index = u32::try_from(uploads - place - 1).ok()?;
        let video = call.view.video(VideoKey { channel: channel.index, index })?;
        let deleted = call.view.changes.deleted_videos.contains(&video.key);
        let allowed = video.role.privacy() == Privacy::Public || channel.index == call.caller.channel;
        let wanted = video_id.is_empty() || video_id == call.view.world.ids.video(video.key);
        (!deleted && allowed && wanted && sieve(&video)).then_some(Item { video, position: place })
    };
    let page = Walk::of(call, &["playlistItems", playlist, video_id], per_page)?.page(uploads, show);
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#playlistItemListResponse");
        o.etag();
        o.text_if("nextPageToken", page.next.as_deref());
        o.text_if("prevPageToken", page.previous.as_deref());
        o.objects("items", &page.items, |o, item| write(o, call, channel, playlist, item, &parts));
        o.object("pageInfo", |o| {
            o.number("totalResults", (0..uploads).filter_map(show).count() as u64);
            o.number("resultsPerPage", per_page as u64);
        });
    }))
}

type Sieve = fn(&Video) -> bool;

fn find<'w>(call: &Call<'w>, playlist: &str) -> Option<(&'w Channel, Sieve)> {
    let sieves: [(&str, Sieve); 4] = [
        ("UU", |_| true),
        ("UUSH", |video| !video.gone && video.is_short()),
        ("UULF", |video| !video.gone && !video.is_short() && !video.is_stream()),
        ("UULV", |video| !video.gone && video.is_stream()),
    ];
    call.view.world.channels.iter().find_map(|channel| {
        let uploads = channel.uploads();
        let stem = uploads.strip_prefix("UU")?;
        let (_, sieve) = sieves.iter().find(|(prefix, _)| playlist.strip_prefix(prefix) == Some(stem))?;
        Some((channel, *sieve))
    })
}

fn write(
    o: &mut Object<'_>,
    call: &Call<'_>,
    channel: &Channel,
    playlist: &str,
    Item { video, position }: &Item,
    parts: &Parts,
) {
    let (video_id, channel_id) = (call.view.world.ids.video(video.key), channel.id());
    let private = video.role.privacy() == Privacy::Private;
    o.text("kind", "youtube#playlistItem");
    o.etag();
    o.text("id", &URL_SAFE_NO_PAD.encode(format!("{playlist}.{video_id}")));
    if parts.has("snippet") {
        o.object("snippet", |o| {
            o.time("publishedAt", video.published_at);
            o.text("channelId", &channel_id);
            let (title, description) = if video.gone {
                ("Deleted video", "This video is unavailable.")
            } else {
                (&*call.view.title(video), "")
            };
            o.text("title", title);
            o.text("description", description);
            if video.gone {
                o.object("thumbnails", |_| {});
            } else {
                thumbnails::of_video(o, &video_id, video.key.index, video.is_short());
            }
            o.text("channelTitle", &channel.title);
            o.text("playlistId", playlist);
            o.number("position", *position);
            o.object("resourceId", |o| {
                o.text("kind", "youtube#video");
                o.text("videoId", &video_id);
            });
            if !video.gone {
                o.text("videoOwnerChannelTitle", &channel.title);
                o.text("videoOwnerChannelId", &channel_id);
            }
        });
    }
    if parts.has("contentDetails") {
        o.object("contentDetails", |o| {
            o.text("videoId", &video_id);
            if !video.gone && !private {
                o.time("videoPublishedAt", video.published_at);
            }
        });
    }
    if parts.has("status") {
        o.object("status", |o| {
            if !video.gone {
                o.text("privacyStatus", video.role.privacy().as_str());
            }
        });
    }
}
