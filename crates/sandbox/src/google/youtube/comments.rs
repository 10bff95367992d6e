//! `GET /youtube/v3/comments`, and how a comment is written wherever it stands.

use std::borrow::Cow;

use super::{
    Answer, Call,
    page::{Page, Walk},
    params::{Params, Parts},
};
use crate::{
    google::refusal::Refusal,
    json::{Object, document},
    world::{Author, Comment},
};

const PARAMETERS: &[&str] = &["part", "parentId", "id", "maxResults", "pageToken", "textFormat"];
const PARTS: &[&str] = &["id", "snippet"];

pub(super) fn list(call: &Call<'_>) -> Answer {
    let params = call.params;
    params.only(PARAMETERS)?;
    let parts = params.parts(PARTS)?;
    let fields = params.fields()?;
    let per_page = params.max_results(20, 1, 100)?;
    let style = Style::of(params)?;
    let (view, ids) = (call.view, call.view.world.ids);
    let filter = params.filter(&["parentId", "id"])?;
    let page = if filter == "id" {
        let keys = params.ids()?.into_iter().filter_map(|id| ids.read_comment(id));
        Page { items: keys.filter_map(|key| view.comment(key)).collect(), next: None, previous: None }
    } else {
        let parent = params.one("parentId").unwrap_or_default();
        let thread = ids.read_comment(parent).filter(|key| key.reply.is_none());
        let thread = thread.and_then(|key| view.thread(key.thread));
        let thread =
            thread.ok_or_else(|| Refusal::not_found("youtube.comment", "commentNotFound", "parentId"))?;
        let replies = view.replies(thread.key);
        Walk::of(call, &["comments", parent], per_page)?.page(u64::from(replies), |place| {
            // The newest first.
            view.comment(thread.key.reply(u32::try_from(u64::from(replies) - place - 1).ok()?))
        })
    };
    let shown = Shown { style, video_id: false, moderation: (filter != "id").then_some("published") };
    Ok(document(&fields, |o| {
        o.text("kind", "youtube#commentListResponse");
        o.etag();
        o.text_if("nextPageToken", page.next.as_deref());
        o.object("pageInfo", |o| {
            o.number("totalResults", page.items.len() as u64);
            o.number("resultsPerPage", per_page as u64);
        });
        o.objects("items", &page.items, |o, comment| shown.write_parts(o, call, comment, &parts));
    }))
}

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Html,
    Plain,
}

impl Style {
    /// Reads `textFormat`.
    pub(super) fn of(params: &Params) -> Result<Self, Refusal> {
        match params.word("textFormat", &["html", "plainText", "textFormatUnspecified"])? {
            "plainText" => Ok(Self::Plain),
            _ => Ok(Self::Html),
        }
    }

    fn display(self, text: &str) -> Cow<'_, str> {
        if self == Self::Plain {
            return Cow::Borrowed(text);
        }
        let mut html = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                '\n' => html.push_str("<br>"),
                c => html.push(c),
            }
        }
        Cow::Owned(html)
    }
}

/// What of a comment is shown in the method at hand.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) style: Style,
    pub(super) video_id: bool,
    /// Told to the video's owner, but not when comments are asked for by id.
    pub(super) moderation: Option<&'a str>,
}

impl Shown<'_> {
    /// Writes a whole comment, as it stands in a thread.
    pub(super) fn write(self, o: &mut Object<'_>, call: &Call<'_>, comment: &Comment) {
        self.head(o, call, comment);
        o.object("snippet", |o| self.snippet(o, call, comment));
    }

    fn write_parts(self, o: &mut Object<'_>, call: &Call<'_>, comment: &Comment, parts: &Parts) {
        self.head(o, call, comment);
        if parts.has("snippet") {
            o.object("snippet", |o| self.snippet(o, call, comment));
        }
    }

    #[expect(clippy::unused_self, reason = "reads with the others")]
    fn head(self, o: &mut Object<'_>, call: &Call<'_>, comment: &Comment) {
        o.text("kind", "youtube#comment");
        o.etag();
        o.text("id", &call.view.world.ids.comment(comment.key));
    }

    fn snippet(self, o: &mut Object<'_>, call: &Call<'_>, comment: &Comment) {
        let Some(channel) = call.view.world.channel(comment.key.thread.video.channel) else {
            return;
        };
        let ids = call.view.world.ids;
        let owner = channel.index == call.caller.channel;
        o.text("channelId", &channel.id());
        if self.video_id {
            o.text("videoId", &ids.video(comment.key.thread.video));
        }
        o.text("textDisplay", &self.style.display(&comment.text));
        let (handle, author) = match comment.author {
            Author::Owner => (format!("@{}", channel.handle), Some(channel.id())),
            Author::Viewer(number) => (Author::handle(number), Some(format!("UC{}", ids.author(number)))),
            Author::Deleted(number) => (Author::handle(number), None),
        };
        if owner && comment.author == Author::Owner {
            o.text("textOriginal", &comment.text);
        }
        if comment.key.reply.is_some() {
            o.text("parentId", &ids.comment(comment.key.thread.opening()));
        }
        o.text("authorDisplayName", &handle);
        let picture = author.as_deref().unwrap_or("default-user");
        o.text(
            "authorProfileImageUrl",
            &format!("https://yt3.ggpht.com/{picture}=s48-c-k-c0x00ffffff-no-rj"),
        );
        if let Some(author) = &author {
            o.text("authorChannelUrl", &format!("http://www.youtube.com/{handle}"));
            o.object("authorChannelId", |o| o.text("value", author));
        }
        o.flag("canRate", true);
        o.text("viewerRating", if owner && comment.liked_by_owner { "like" } else { "none" });
        o.number("likeCount", comment.likes);
        if owner {
            o.text_if("moderationStatus", self.moderation);
        }
        o.time("publishedAt", comment.published_at);
        o.time("updatedAt", comment.updated_at);
    }
}
