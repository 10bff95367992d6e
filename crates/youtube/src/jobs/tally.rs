//! What a sync has done so far, over all its attempts: the job's checkpoint, and in the end its report.

use std::collections::BTreeMap;

use greenroom_comments::Upserted as Comments;
use serde::{Deserialize, Serialize};

use crate::store::videos::Upserted as Videos;

/// Rows by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Seen for the first time.
    pub inserted: u64,
    /// Changed since.
    pub updated: u64,
    /// As they were.
    pub unchanged: u64,
}

impl Rows {
    const fn seen(self) -> u64 {
        self.inserted + self.updated + self.unchanged
    }
}

/// How far a sync is, for those who watch it.
#[derive(Serialize)]
pub(crate) struct Progress {
    pages: u64,
    videos: u64,
    comments: u64,
}

/// A sync's own account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Pages stored.
    pub pages: u64,
    /// Videos by what became of them.
    pub videos: Rows,
    /// Comments by what became of them.
    pub comments: Rows,
    /// Units left out, by YouTube's reason: a result, not a failure.
    pub skipped: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn add_videos(&mut self, stored: Videos) {
        self.videos.inserted += stored.inserted;
        self.videos.updated += stored.updated;
        self.videos.unchanged += stored.unchanged;
    }

    pub(crate) fn add_comments(&mut self, stored: Comments) {
        self.comments.inserted += stored.inserted;
        self.comments.updated += stored.updated;
        self.comments.unchanged += stored.unchanged;
        self.skip("ownedByAnotherConnection", stored.owned_elsewhere);
    }

    pub(crate) const fn progress(&self) -> Progress {
        Progress { pages: self.pages, videos: self.videos.seen(), comments: self.comments.seen() }
    }

    pub(crate) fn skip(&mut self, reason: &str, units: u64) {
        if units == 0 {
            return;
        }
        *self.skipped.entry(reason.to_owned()).or_default() += units;
    }
}
