//! What happened to the world after it began: uploads, comments, edits, deletions.
//!
//! The seed's part never changes, so a change is kept as a difference beside it. Ids stay what they
//! are; what is added gets the next place.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    World,
    keys::{CommentKey, ThreadKey, VideoKey},
    view::View,
};

/// Something that happens on the platform, at once or, within a fault's rule, before an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A public video is uploaded.
    AddVideo {
        /// The channel; the first one when absent.
        channel_id: Option<String>,
    },
    /// A video is deleted, with its comments.
    DeleteVideo {
        /// The video.
        video_id: String,
    },
    /// A video gets another title or more views.
    EditVideo {
        /// The video.
        video_id: String,
        /// The new title, if it changes.
        title: Option<String>,
        /// How many views are added.
        #[serde(default)]
        more_views: u64,
    },
    /// A video's comments are switched off.
    DisableComments {
        /// The video.
        video_id: String,
    },
    /// Viewers open threads, which come first in the order of time.
    AddThreads {
        /// The video.
        video_id: String,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// What all of them say; drawn from the seed when absent.
        text: Option<String>,
    },
    /// Somebody replies, which does not move the thread.
    AddReplies {
        /// The comment that opened the thread.
        comment_id: String,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// What all of them say; drawn from the seed when absent.
        text: Option<String>,
        /// Whether the channel itself replies.
        #[serde(default)]
        by_owner: bool,
    },
    /// A comment's author changes its text.
    EditComment {
        /// The comment.
        comment_id: String,
        /// The new text.
        text: String,
    },
    /// A comment is deleted, with its replies.
    DeleteComment {
        /// The comment.
        comment_id: String,
    },
    /// A comment is held for review and no longer shown.
    HoldComment {
        /// The comment.
        comment_id: String,
    },
    /// A held comment is approved and shown again, under its old time.
    ApproveComment {
        /// The comment.
        comment_id: String,
    },
}

fn one() -> u32 {
    1
}

/// What a change made or touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Ids of the videos or comments, in the order they were made.
    pub ids: Vec<String>,
}

/// An id that names nothing in this world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in this world has the id {0:?}: take ids from its own answers")]
pub struct UnknownId(pub String);

/// A comment that was added.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) at: DateTime<Utc>,
    pub(crate) text: Option<String>,
    pub(crate) by_owner: bool,
}

/// Why a comment is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    Deleted,
    Held,
}

/// All changes so far.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) videos: HashMap<u16, Vec<DateTime<Utc>>>,
    pub(crate) deleted_videos: BTreeSet<VideoKey>,
    pub(crate) disabled: BTreeSet<VideoKey>,
    pub(crate) titles: HashMap<VideoKey, String>,
    pub(crate) views: BTreeMap<VideoKey, u64>,
    pub(crate) threads: HashMap<VideoKey, Vec<Added>>,
    /// Added threads of a whole channel, the oldest first.
    pub(crate) stream: HashMap<u16, Vec<ThreadKey>>,
    pub(crate) replies: BTreeMap<ThreadKey, Vec<Added>>,
    pub(crate) hidden: BTreeMap<CommentKey, Hidden>,
    pub(crate) texts: HashMap<CommentKey, (String, DateTime<Utc>)>,
}

impl Changes {
    /// Lets a change happen at `now`, or at the world's end if that is later.
    pub(crate) fn apply(
        &mut self,
        world: &World,
        change: &Change,
        now: DateTime<Utc>,
    ) -> Result<Changed, UnknownId> {
        let at = now.max(world.newest_at);
        let ids = match change {
            Change::AddVideo { channel_id } => vec![self.add_video(world, channel_id.as_deref(), at)?],
            Change::DeleteVideo { video_id } => {
                self.deleted_videos.insert(self.video(world, video_id)?);
                vec![video_id.clone()]
            }
            Change::EditVideo { video_id, title, more_views } => {
                let video = self.video(world, video_id)?;
                self.titles.extend(title.clone().map(|title| (video, title)));
                *self.views.entry(video).or_default() += more_views;
                vec![video_id.clone()]
            }
            Change::DisableComments { video_id } => {
                self.disabled.insert(self.video(world, video_id)?);
                vec![video_id.clone()]
            }
            Change::AddThreads { video_id, count, text } => {
                self.add_threads(world, self.video(world, video_id)?, *count, text.as_deref(), at)
            }
            Change::AddReplies { comment_id, count, text, by_owner } => {
                let thread = self.comment(world, comment_id)?.thread;
                self.add_replies(world, thread, *count, text.as_deref(), *by_owner, at)
            }
            Change::EditComment { comment_id, text } => {
                self.texts.insert(self.comment(world, comment_id)?, (text.clone(), at));
                vec![comment_id.clone()]
            }
            Change::DeleteComment { comment_id } => {
                self.hidden.insert(self.comment(world, comment_id)?, Hidden::Deleted);
                vec![comment_id.clone()]
            }
            Change::HoldComment { comment_id } => {
                self.hidden.insert(self.comment(world, comment_id)?, Hidden::Held);
                vec![comment_id.clone()]
            }
            Change::ApproveComment { comment_id } => {
                let held = world
                    .ids
                    .read_comment(comment_id)
                    .filter(|key| self.hidden.get(key) == Some(&Hidden::Held));
                self.hidden.remove(&held.ok_or_else(|| UnknownId(comment_id.clone()))?);
                vec![comment_id.clone()]
            }
        };
        Ok(Changed { ids })
    }

    fn add_video(&mut self, world: &World, id: Option<&str>, at: DateTime<Utc>) -> Result<String, UnknownId> {
        let found = match id {
            None => world.channels.first(),
            Some(id) => world.channels.iter().find(|channel| channel.id() == id),
        };
        let channel = found.ok_or_else(|| UnknownId(id.unwrap_or_default().to_owned()))?;
        let index = View { world, changes: self }.uploads(channel);
        self.videos.entry(channel.index).or_default().push(at);
        Ok(world.ids.video(VideoKey { channel: channel.index, index }))
    }

    fn add_threads(
        &mut self,
        world: &World,
        video: VideoKey,
        count: u32,
        text: Option<&str>,
        at: DateTime<Utc>,
    ) -> Vec<String> {
        let first = View { world, changes: self }.threads(video);
        let made: Vec<_> = (first..first + count).map(|index| ThreadKey { video, index }).collect();
        let added = made.iter().map(|_| Added { at, text: text.map(str::to_owned), by_owner: false });
        self.threads.entry(video).or_default().extend(added);
        self.stream.entry(video.channel).or_default().extend(&made);
        made.iter().map(|thread| world.ids.comment(thread.opening())).collect()
    }

    fn add_replies(
        &mut self,
        world: &World,
        thread: ThreadKey,
        count: u32,
        text: Option<&str>,
        by_owner: bool,
        at: DateTime<Utc>,
    ) -> Vec<String> {
        let first = View { world, changes: self }.replies(thread);
        let added = (0..count).map(|_| Added { at, text: text.map(str::to_owned), by_owner });
        self.replies.entry(thread).or_default().extend(added);
        (first..first + count).map(|reply| world.ids.comment(thread.reply(reply))).collect()
    }

    fn video(&self, world: &World, id: &str) -> Result<VideoKey, UnknownId> {
        let view = View { world, changes: self };
        let key = world.ids.read_video(id).filter(|&key| view.video(key).is_some_and(|video| !video.gone));
        key.ok_or_else(|| UnknownId(id.to_owned()))
    }

    fn comment(&self, world: &World, id: &str) -> Result<CommentKey, UnknownId> {
        let view = View { world, changes: self };
        let key = world.ids.read_comment(id).filter(|&key| view.comment(key).is_some());
        key.ok_or_else(|| UnknownId(id.to_owned()))
    }
}
