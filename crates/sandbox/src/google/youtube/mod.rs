//! YouTube's Data API v3: the list methods that a sync reads.
//!
//! Stricter than the original where clients are known to rely on luck: `textOriginal` is shown only
//! to the comment's author, and `comments` has no `videoId`, as the documentation promises no more.

mod batch_get_stats;
mod channels;
mod comment_threads;
mod comments;
mod page;
mod params;
mod playlist_items;
mod thumbnails;
mod videos;

use super::{Bucket, Caller, oauth, refusal::Refusal};
use crate::{endpoint::Endpoint, json::Document, world::View};

pub(crate) use page::Paging;
pub(crate) use params::Params;

/// A call that has been let in.
pub(crate) struct Call<'a> {
    pub(crate) view: View<'a>,
    pub(crate) caller: &'a Caller,
    pub(crate) params: &'a Params,
    pub(crate) paging: Paging,
}

type Answer = Result<Document, Refusal>;

/// Answers a call of a list method.
pub(crate) fn answer(endpoint: Endpoint, call: &Call<'_>) -> Answer {
    match endpoint {
        Endpoint::Channels => channels::list(call),
        Endpoint::PlaylistItems => playlist_items::list(call),
        Endpoint::Videos => videos::list(call),
        Endpoint::BatchGetStats => batch_get_stats::list(call),
        Endpoint::CommentThreads => comment_threads::list(call),
        Endpoint::Comments => comments::list(call),
        _ => Err(Refusal::new(404, "global", "notFound", "Not Found")),
    }
}

/// Returns which budget a method is paid from.
pub(crate) fn bucket(endpoint: Endpoint) -> Bucket {
    match endpoint {
        Endpoint::BatchGetStats => Bucket::BatchGetStats,
        _ => Bucket::Default,
    }
}

/// Refuses a caller without the scope that a method wants.
pub(crate) fn check_scope(endpoint: Endpoint, caller: &Caller) -> Result<(), Refusal> {
    let (scopes, method): (&[&str], _) = match endpoint {
        Endpoint::CommentThreads => (&[oauth::FORCE_SSL], "youtube.api.v3.V3DataCommentThreadService.List"),
        Endpoint::Comments => (&[oauth::FORCE_SSL], "youtube.api.v3.V3DataCommentService.List"),
        _ => (&[oauth::READONLY, oauth::FORCE_SSL], "youtube.api.v3.V3DataService.List"),
    };
    if caller.may(scopes) { Ok(()) } else { Err(Refusal::insufficient_scope(method)) }
}
