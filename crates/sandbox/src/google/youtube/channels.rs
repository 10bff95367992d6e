//! `GET /youtube/v3/channels`

use super::{Answer, Call, params::Parts, thumbnails};
use crate::{
    json::{Object, document},
    world::Channel,
};

const PARAMETERS: &[&str] = &[
    "part",
    "mine",
    "id",
    "forHandle",
    "forUsername",
    "categoryId",
    "managedByMe",
    "mySubscribers",
    "hl",
    "maxResults",
    "pageToken",
];
const PARTS: &[&str] = &[
    "id",
    "snippet",
    "contentDetails",
    "statistics",
    "status",
    "brandingSettings",
    "topicDetails",
    "localizations",
    "auditDetails",
    "contentOwnerDetails",
];

pub(super) fn list(call: &Call<'_>) -> Answer {
    call.params.only(PARAMETERS)?;
    let parts = call.params.parts(PARTS)?;
    let fields = call.params.fields()?;
    let per_page = call.params.max_results(5, 0, 50)?;
    let channels = &call.view.world.channels;
    let found: Vec<&Channel> = match call.params.filter(&["mine", "id", "forHandle", "forUsername"])? {
        "mine" if call.params.flag("mine") => {
            channels.iter().filter(|channel| channel.index == call.caller.channel).collect()
        }
        "id" => {
            let ids = call.params.ids()?;
            channels.iter().filter(|channel| ids.contains(&channel.id().as_str())).collect()
        }
        "forHandle" => {
            let handle = call.params.one("forHandle").unwrap_or_default();
            let handle = handle.strip_prefix('@').unwrap_or(handle);
            channels.iter().filter(|channel| channel.handle.eq_ignore_ascii_case(handle)).collect()
        }
        // Nobody here has a user name of the old kind.
        _ => Vec::new(),
    };
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#channelListResponse");
        o.etag();
        o.object("pageInfo", |o| {
            o.number("totalResults", found.len() as u64);
            o.number("resultsPerPage", per_page as u64);
        });
        // Where nothing is found the original has no list at all.
        if !found.is_empty() {
            o.objects("items", &found, |o, channel| write(o, call, channel, &parts));
        }
    }))
}

fn write(o: &mut Object<'_>, call: &Call<'_>, channel: &Channel, parts: &Parts) {
    let (id, about) = (channel.id(), channel.niche().about);
    let owner = channel.index == call.caller.channel;
    o.text("kind", "youtube#channel");
    o.etag();
    o.text("id", &id);
    if parts.has("snippet") {
        o.object("snippet", |o| {
            o.text("title", &channel.title);
            o.text("description", about);
            o.text("customUrl", &format!("@{}", channel.handle));
            o.time("publishedAt", channel.published_at);
            thumbnails::of_channel(o, &id);
            o.object("localized", |o| {
                o.text("title", &channel.title);
                o.text("description", about);
            });
            o.text("country", channel.country);
        });
    }
    if parts.has("contentDetails") {
        o.object("contentDetails", |o| {
            o.object("relatedPlaylists", |o| {
                o.text("likes", if owner { "LL" } else { "" });
                o.text("uploads", &channel.uploads());
            });
        });
    }
    if parts.has("statistics") {
        let (videos, views) = call.view.public(channel);
        o.object("statistics", |o| {
            o.big("viewCount", views);
            if !call.view.world.hidden_subscribers {
                o.big("subscriberCount", three_figures(views / 55));
            }
            o.flag("hiddenSubscriberCount", call.view.world.hidden_subscribers);
            o.big("videoCount", u64::from(videos));
        });
    }
    if parts.has("status") {
        o.object("status", |o| {
            o.text("privacyStatus", "public");
            o.flag("isLinked", true);
            o.text("longUploadsStatus", if owner { "allowed" } else { "longUploadsUnspecified" });
            o.flag("madeForKids", false);
        });
    }
    if parts.has("brandingSettings") {
        o.object("brandingSettings", |o| {
            o.object("channel", |o| {
                o.text("title", &channel.title);
                o.text("description", about);
                o.text("country", channel.country);
            });
        });
    }
}

/// Rounds down to three significant figures above 1000, as subscribers are shown, even to the owner.
fn three_figures(n: u64) -> u64 {
    let mut step = 1;
    while n / step >= 1_000 {
        step *= 10;
    }
    n / step * step
}

#[cfg(test)]
mod tests {
    use super::three_figures;

    #[test]
    fn subscribers_are_rounded_down() {
        for (exact, shown) in [(0, 0), (999, 999), (1_234, 1_230), (99_999, 99_900), (1_239_999, 1_230_000)] {
            assert_eq!(three_figures(exact), shown);
        }
    }
}
