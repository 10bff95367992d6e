//! A comment as a platform tells it, and what storing some of them came to.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A comment as a platform tells it; what it does not tell is `None` and leaves what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingComment {
    /// The platform's id of the comment.
    pub comment_id: String,
    /// The row of the video or media it stands under.
    pub piece: Uuid,
    /// The platform's id of the comment it answers; `None` at the top.
    pub parent_comment_id: Option<String>,
    /// Who wrote it, by name.
    pub author_name: Option<String>,
    /// Who wrote it, by the platform's id.
    pub author_id: Option<String>,
    /// Whether the owner of the connected account wrote it.
    pub by_owner: bool,
    /// What it says, as plain text.
    pub text: String,
    /// When it was written; edits do not move this.
    pub published_at: DateTime<Utc>,
    /// When the platform last saw it change (YouTube).
    pub platform_updated_at: Option<DateTime<Utc>>,
    /// How many like it.
    pub like_count: Option<u32>,
    /// How many replies its thread has (YouTube, at the top).
    pub reply_count: Option<u32>,
    /// Whether the owner likes it (YouTube, when read as the owner).
    pub liked_by_owner: Option<bool>,
    /// What moderation has decided (YouTube, when read as the owner).
    pub moderation_status: Option<String>,
    /// Whether the owner has hidden it (Instagram).
    pub is_hidden: Option<bool>,
}

/// What storing comments came to; each counts once, however often it was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Comments seen for the first time.
    pub inserted: u64,
    /// Comments that had changed.
    pub updated: u64,
    /// Comments that said what was stored.
    pub unchanged: u64,
    /// Comments that another connection has brought and keeps.
    pub owned_elsewhere: u64,
}

impl AddAssign for Upserted {
    fn add_assign(&mut self, more: Self) {
        self.inserted += more.inserted;
        self.updated += more.updated;
        self.unchanged += more.unchanged;
        self.owned_elsewhere += more.owned_elsewhere;
    }
}

/// Returns the threads whose answer may be another one now: those that begin here, and those in which
/// the owner answers here.
pub(crate) fn touched_threads(comments: &[IncomingComment]) -> Vec<String> {
    let mut threads: Vec<String> = comments
        .iter()
        .filter_map(|comment| match &comment.parent_comment_id {
            None => Some(&comment.comment_id),
            Some(parent) if comment.by_owner => Some(parent),
            Some(_) => None,
        })
        .cloned()
        .collect();
    threads.sort_unstable();
    threads.dedup();
    threads
}

/// Returns a text as PostgreSQL can store it: it refuses the character zero.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// Returns a count as the tables hold it.
pub(crate) fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
