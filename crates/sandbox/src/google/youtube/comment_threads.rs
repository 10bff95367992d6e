//! `GET /youtube/v3/commentThreads`

use super::{
    Answer, Call,
    comments::{Shown, Style},
    page::{Page, Walk},
    params::Parts,
};
use crate::{
    google::refusal::Refusal,
    json::{Object, document},
    world::{Channel, Comment, Order, Privacy, Thread, ThreadKey, Video},
};

const PARAMETERS: &[&str] = &[
    "part",
    "videoId",
    "allThreadsRelatedToChannelId",
    "channelId",
    "id",
    "maxResults",
    "moderationStatus",
    "order",
    "pageToken",
    "searchTerms",
    "textFormat",
];
const PARTS: &[&str] = &["id", "snippet", "replies"];
/// How many replies come with their thread.
const INLINE: usize = 5;

/// Which threads are listed.
enum Source<'w> {
    Video(Video),
    Channel(&'w Channel),
    Ids(Vec<ThreadKey>),
    /// The discussion tab of a channel, which YouTube has closed.
    Discussion,
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let params = call.params;
    params.only(PARAMETERS)?;
    let parts = params.parts(PARTS)?;
    let fields = params.fields()?;
    let per_page = params.max_results(20, 1, 100)?;
    let style = Style::of(params)?;
    let order = match params.word("order", &["time", "relevance", "orderUnspecified"])? {
        "relevance" => Order::Relevance,
        _ => Order::Time,
    };
    let status =
        params.word("moderationStatus", &["published", "heldForReview", "likelySpam", "rejected"])?;
    let (filter, source) = source(call)?;
    if status != "published" && !source.belongs_to(call.caller.channel) {
        return Err(Refusal::threads_forbidden());
    }
    let search = params.one("searchTerms").unwrap_or_default().to_lowercase();
    let wanted = |thread: &Thread| search.is_empty() || thread.opening.text.to_lowercase().contains(&search);

    let value = params.one(filter).unwrap_or_default();
    let order_name = params.one("order").unwrap_or("time");
    let walk = Walk::of(call, &["commentThreads", filter, value, order_name, status, &search], per_page)?;
    let view = call.view;
    let page = match (&source, status) {
        (Source::Ids(keys), _) => Page {
            items: keys.iter().filter_map(|&key| view.thread(key)).collect(),
            next: None,
            previous: None,
        },
        (Source::Video(video), "published") => walk.page(u64::from(view.threads(video.key)), |place| {
            view.thread_at(video.key, order, place).filter(wanted)
        }),
        (Source::Channel(channel), "published") => {
            walk.page(view.stream(channel), |place| view.stream_at(channel, order, place).filter(wanted))
        }
        (Source::Video(video), "heldForReview") => {
            let held: Vec<Comment> = view.held(video.key).collect();
            walk.page(held.len() as u64, |place| {
                let opening = held.get(usize::try_from(place).ok()?)?.clone();
                Some(Thread { key: opening.key.thread, opening, replies: 0 }).filter(wanted)
            })
        }
        _ => walk.page(0, |_| None),
    };
    if matches!(source, Source::Ids(_)) && page.items.is_empty() {
        return Err(Refusal::not_found("youtube.commentThread", "commentThreadNotFound", "id"));
    }
    let shown = Shown { style, video_id: true, moderation: (filter != "id").then_some(status) };
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#commentThreadListResponse");
        o.etag();
        o.text_if("nextPageToken", page.next.as_deref());
        o.object("pageInfo", |o| {
            // Not the total: the number on this page.
            o.number("totalResults", page.items.len() as u64);
            o.number("resultsPerPage", per_page as u64);
        });
        o.objects("items", &page.items, |o, thread| write(o, call, thread, &parts, shown));
    }))
}

impl Source<'_> {
    fn belongs_to(&self, channel: u16) -> bool {
        match self {
            Self::Video(video) => video.key.channel == channel,
            Self::Channel(listed) => listed.index == channel,
            Self::Ids(_) | Self::Discussion => false,
        }
    }
}

fn source<'w>(call: &Call<'w>) -> Result<(&'static str, Source<'w>), Refusal> {
    let params = call.params;
    let not_found = |reason, parameter| Refusal::not_found("youtube.commentThread", reason, parameter);
    let filter = params.filter(&["videoId", "allThreadsRelatedToChannelId", "id", "channelId"])?;
    let value = params.one(filter).unwrap_or_default();
    let source = match filter {
        "videoId" => {
            let video = call.view.world.ids.read_video(value).and_then(|key| call.view.video(key));
            let allowed = |video: &Video| {
                video.role.privacy() != Privacy::Private || video.key.channel == call.caller.channel
            };
            let video = video.filter(|video| !video.gone && allowed(video));
            let video = video.ok_or_else(|| not_found("videoNotFound", "videoId"))?;
            if video.comments_disabled {
                return Err(Refusal::comments_disabled());
            }
            Source::Video(video)
        }
        "id" => {
            for other in ["moderationStatus", "searchTerms"] {
                if params.one(other).is_some() {
                    return Err(Refusal::incompatible(&format!("id, {other}")));
                }
            }
            let keys = params.ids()?.into_iter().filter_map(|id| call.view.world.ids.read_comment(id));
            Source::Ids(keys.filter(|key| key.reply.is_none()).map(|key| key.thread).collect())
        }
        _ => {
            let channel = call.view.world.channels.iter().find(|channel| channel.id() == value);
            let channel = channel.ok_or_else(|| not_found("channelNotFound", filter))?;
            if filter == "channelId" { Source::Discussion } else { Source::Channel(channel) }
        }
    };
    Ok((filter, source))
}

fn write(o: &mut Object<'_>, call: &Call<'_>, thread: &Thread, parts: &Parts, shown: Shown<'_>) {
    let (ids, video) = (call.view.world.ids, thread.key.video);
    o.text("kind", "youtube#commentThread");
    o.etag();
    o.text("id", &ids.comment(thread.key.opening()));
    if parts.has("snippet") {
        o.object("snippet", |o| {
            if let Some(channel) = call.view.world.channel(video.channel) {
                o.text("channelId", &channel.id());
            }
            o.text("videoId", &ids.video(video));
            o.object("topLevelComment", |o| shown.write(o, call, &thread.opening));
            o.flag("canReply", true);
            o.number("totalReplyCount", u64::from(thread.replies));
            o.flag("isPublic", true);
        });
    }
    if parts.has("replies") && thread.replies > 0 {
        let newest = (0..call.view.replies(thread.key)).rev();
        let seen = newest.filter_map(|reply| call.view.comment(thread.key.reply(reply)));
        o.object("replies", |o| {
            o.objects("comments", seen.take(INLINE), |o, reply| shown.write(o, call, &reply));
        });
    }
}
