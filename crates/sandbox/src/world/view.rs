//! The world as it is now: the seed's part with all changes applied.

use serde::{Deserialize, Serialize};

use super::{
    Changes, Channel, Comment, Thread, Video, World,
    changes::{Added, Hidden},
    comment::replies_drawn,
    keys::{CommentKey, ThreadKey, VideoKey},
    video::{Counts, Facts, Privacy, Role},
};

/// The order in which threads are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// The newest first.
    Time,
    /// An order of its own that is not the order of time.
    Relevance,
}

/// The world as it is now.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    pub(crate) changes: &'a Changes,
}

/// What a complete walk of a channel must find; tests compare their tables with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The channel.
    pub channel_id: String,
    /// Its uploads playlist.
    pub uploads: String,
    /// Videos that the uploads playlist lists to the owner.
    pub listed_videos: u32,
    /// Videos that `videos` answers to the owner.
    pub readable_videos: u32,
    /// Videos that count as the channel's.
    pub public_videos: u32,
    /// Listed videos that `videos` leaves out.
    pub vanished: Vec<String>,
    /// Videos whose comments are switched off.
    pub comments_disabled: Vec<String>,
    /// Comments that open a thread.
    pub threads: u64,
    /// Replies, inline or not.
    pub replies: u64,
}

impl<'a> View<'a> {
    /// Returns how many videos a channel ever had.
    pub(crate) fn uploads(self, channel: &Channel) -> u32 {
        let added = self.changes.videos.get(&channel.index).map_or(0, Vec::len);
        channel.videos() + u32::try_from(added).unwrap_or(0)
    }

    /// Looks a video up, deleted and vanished ones too.
    pub(crate) fn video(self, key: VideoKey) -> Option<Video> {
        let channel = self.world.channel(key.channel)?;
        let (published_at, facts) = match key.index.checked_sub(channel.videos()) {
            None => (self.world.published_at(key), channel.facts(self.world.seed, key.index)),
            Some(added) => {
                let at = *self.changes.videos.get(&key.channel)?.get(added as usize)?;
                // An upload of a test is an ordinary one wherever it comes to stand, and still new.
                let facts = channel.facts(self.world.seed, key.index);
                let seconds = facts.seconds.clamp(11, 9_000);
                (at, Facts { role: Role::Ordinary, seconds, views: 3, likes: 1, ..facts })
            }
        };
        let role = facts.role;
        Some(Video {
            key,
            role,
            published_at,
            seconds: facts.seconds,
            vertical: facts.vertical,
            views: facts.views + self.changes.views.get(&key).copied().unwrap_or(0),
            likes: facts.likes,
            comments: self.comments(key),
            comments_disabled: role == Role::CommentsDisabled || self.changes.disabled.contains(&key),
            gone: role == Role::Vanished || self.changes.deleted_videos.contains(&key),
            topic: self.world.topic(channel, key.index),
        })
    }

    /// Returns a video's title.
    pub(crate) fn title(self, video: &Video) -> String {
        let drawn = || {
            self.world.channel(video.key.channel).map(|channel| self.world.title(channel, video.key.index))
        };
        self.changes.titles.get(&video.key).cloned().or_else(drawn).unwrap_or_default()
    }

    /// Returns how many threads a video ever had.
    pub(crate) fn threads(self, video: VideoKey) -> u32 {
        let added = self.changes.threads.get(&video).map_or(0, Vec::len);
        self.counts(video).threads + u32::try_from(added).unwrap_or(0)
    }

    /// Returns how many replies a thread ever had.
    pub(crate) fn replies(self, thread: ThreadKey) -> u32 {
        let added = self.changes.replies.get(&thread).map_or(0, Vec::len);
        self.replies_of_the_seed(thread) + u32::try_from(added).unwrap_or(0)
    }

    /// Finds the thread at a place of a video's list.
    pub(crate) fn thread_at(self, video: VideoKey, order: Order, position: u64) -> Option<Thread> {
        let threads = u64::from(self.threads(video));
        let newest_first = match order {
            Order::Time => position,
            Order::Relevance => shuffled(position, threads),
        };
        let index = threads.checked_sub(newest_first + 1)?;
        self.thread(ThreadKey { video, index: u32::try_from(index).ok()? })
    }

    /// Returns how many threads a channel's stream ever had.
    pub(crate) fn stream(self, channel: &Channel) -> u64 {
        channel.threads + self.changes.stream.get(&channel.index).map_or(0, |added| added.len() as u64)
    }

    /// Finds the thread at a place of a channel's stream, the newest first.
    pub(crate) fn stream_at(self, channel: &Channel, order: Order, position: u64) -> Option<Thread> {
        let newest_first = match order {
            Order::Time => position,
            Order::Relevance => shuffled(position, self.stream(channel)),
        };
        let added = self.changes.stream.get(&channel.index).map_or(&[][..], Vec::as_slice);
        let at = usize::try_from(newest_first).ok()?;
        let key = if let Some(&key) = added.iter().rev().nth(at) {
            key
        } else {
            let &(video, index) = channel.by_time(self.world).get(at - added.len())?;
            ThreadKey { video: VideoKey { channel: channel.index, index: video }, index }
        };
        (!self.changes.disabled.contains(&key.video)).then(|| self.thread(key))?
    }

    /// Looks a thread up, if it can be seen.
    pub(crate) fn thread(self, key: ThreadKey) -> Option<Thread> {
        let opening = self.comment(key.opening())?;
        let replies = self.replies(key);
        let hidden = if self.changes.hidden.is_empty() {
            0
        } else {
            self.changes.hidden.range(key.reply(0)..=key.reply(u32::MAX)).count()
        };
        Some(Thread { key, opening, replies: replies - u32::try_from(hidden).unwrap_or(0) })
    }

    /// Finds threads of a video that are held for review.
    pub(crate) fn held(self, video: VideoKey) -> impl Iterator<Item = Comment> + 'a {
        self.hidden_below(video)
            .filter(|&(key, &why)| why == Hidden::Held && key.reply.is_none())
            .filter_map(move |(&key, _)| self.written(key))
    }

    /// Looks a comment up, if it can be seen.
    pub(crate) fn comment(self, key: CommentKey) -> Option<Comment> {
        let hidden = |key| self.changes.hidden.contains_key(&key);
        let gone = self.changes.deleted_videos.contains(&key.thread.video);
        if gone || hidden(key) || hidden(key.thread.opening()) {
            return None;
        }
        self.written(key)
    }

    /// Writes a comment, hidden or not.
    fn written(self, key: CommentKey) -> Option<Comment> {
        let (video, thread) = (key.thread.video, key.thread);
        let topic = self.world.topic(self.world.channel(video.channel)?, video.index);
        let replies = self.replies_of_the_seed(thread);
        let counts = self.counts(video);
        let of_the_seed = match key.reply {
            None => thread.index < counts.threads,
            Some(reply) => reply < replies,
        };
        let mut comment = if of_the_seed {
            self.world.comment(key, replies, topic)
        } else {
            let Added { at, text, by_owner } = match key.reply {
                None => self.changes.threads.get(&video)?.get((thread.index - counts.threads) as usize)?,
                Some(reply) => self.changes.replies.get(&thread)?.get((reply - replies) as usize)?,
            };
            let mut comment = self.world.comment_at(key, *at, *by_owner, topic);
            if let Some(text) = text {
                comment.text.clone_from(text);
                comment.updated_at = *at;
            }
            comment
        };
        if let Some((text, at)) = self.changes.texts.get(&key) {
            comment.text.clone_from(text);
            comment.updated_at = *at;
        }
        Some(comment)
    }

    /// Returns how many videos are public, and their views.
    pub(crate) fn public(self, channel: &Channel) -> (u32, u64) {
        let mut sum = (channel.public_videos, channel.public_views);
        let key = |index| VideoKey { channel: channel.index, index };
        let public = |video: &Video| video.role.privacy() == Privacy::Public && video.role != Role::Vanished;
        for video in (channel.videos()..self.uploads(channel)).filter_map(|index| self.video(key(index))) {
            sum.0 += 1;
            sum.1 += video.views;
        }
        for (&changed, &more) in self.changes.views.range(key(0)..key(channel.videos())) {
            sum.1 += self.video(changed).filter(public).map_or(0, |_| more);
        }
        for &deleted in self.changes.deleted_videos.range(key(0)..=key(u32::MAX)) {
            if let Some(video) = self.video(deleted).filter(public) {
                sum = (sum.0 - 1, sum.1 - video.views);
            }
        }
        sum
    }

    /// Counts what a complete walk must find.
    pub(crate) fn totals(self, channel: &Channel) -> Totals {
        let mut totals = Totals {
            channel_id: channel.id(),
            uploads: channel.uploads(),
            listed_videos: 0,
            readable_videos: 0,
            public_videos: self.public(channel).0,
            vanished: Vec::new(),
            comments_disabled: Vec::new(),
            threads: 0,
            replies: 0,
        };
        for index in 0..self.uploads(channel) {
            let key = VideoKey { channel: channel.index, index };
            let Some(video) = self.video(key).filter(|_| !self.changes.deleted_videos.contains(&key)) else {
                continue;
            };
            totals.listed_videos += 1;
            if video.gone {
                totals.vanished.push(self.world.ids.video(key));
                continue;
            }
            totals.readable_videos += 1;
            if video.comments_disabled {
                totals.comments_disabled.push(self.world.ids.video(key));
                continue;
            }
            let hidden = self.hidden_below(key).filter(|(key, _)| key.reply.is_none()).count();
            let threads = u64::from(self.threads(key)) - hidden as u64;
            totals.threads += threads;
            totals.replies += video.comments - threads;
        }
        totals
    }

    /// Counts a video's comments and replies that can be seen.
    fn comments(self, video: VideoKey) -> u64 {
        let (first, last) = bounds(video);
        let added = self.changes.threads.get(&video).map_or(0, Vec::len)
            + self.changes.replies.range(first..=last).map(|(_, added)| added.len()).sum::<usize>();
        let hidden: u64 = self
            .hidden_below(video)
            .map(|(key, _)| match key.reply {
                // Replies that were hidden one by one are counted by themselves.
                None => {
                    let alone = self.changes.hidden.range(key.thread.reply(0)..=key.thread.reply(u32::MAX));
                    1 + u64::from(self.replies(key.thread)) - alone.count() as u64
                }
                Some(_) => 1,
            })
            .sum();
        u64::from(self.counts(video).comments) + added as u64 - hidden
    }

    fn hidden_below(self, video: VideoKey) -> impl Iterator<Item = (&'a CommentKey, &'a Hidden)> {
        let (first, last) = bounds(video);
        self.changes.hidden.range(first.opening()..=last.reply(u32::MAX))
    }

    fn counts(self, video: VideoKey) -> Counts {
        self.world
            .channel(video.channel)
            .and_then(|channel| channel.counts.get(video.index as usize))
            .copied()
            .unwrap_or_default()
    }

    fn replies_of_the_seed(self, thread: ThreadKey) -> u32 {
        let counts = self.counts(thread.video);
        match counts.threads.checked_sub(thread.index) {
            None | Some(0) => 0,
            Some(1) => counts.newest_replies,
            Some(_) => replies_drawn(self.world.seed, thread),
        }
    }
}

fn bounds(video: VideoKey) -> (ThreadKey, ThreadKey) {
    (ThreadKey { video, index: 0 }, ThreadKey { video, index: u32::MAX })
}

/// Maps the places of a list onto themselves in another order.
fn shuffled(position: u64, len: u64) -> u64 {
    // A step that has no divisor in common with the length visits every place once.
    let step = (len / 3 + 1..len).find(|&step| common_divisor(step, len) == 1).unwrap_or(1);
    if position < len { position * step % len } else { position }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, world::Change};

    fn world() -> World {
        World::new(&Settings { videos: 40, comments: 3_000, ..Settings::default() })
    }

    #[test]
    fn a_shuffled_list_has_every_place_once() {
        for len in [1, 2, 3, 4, 30, 97, 100] {
            let mut places: Vec<_> = (0..len).map(|position| shuffled(position, len)).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..len));
        }
    }

    #[test]
    fn counts_and_walks_agree_before_and_after_changes() {
        let world = world();
        let mut changes = Changes::default();
        let channel = &world.channels[0];
        let walked = |changes: &Changes| {
            let view = View { world: &world, changes };
            let threads: Vec<_> = (0..view.stream(channel))
                .filter_map(|position| view.stream_at(channel, Order::Time, position))
                .collect();
            let replies: u64 = threads
                .iter()
                .map(|thread| {
                    let seen = (0..view.replies(thread.key))
                        .filter(|&reply| view.comment(thread.key.reply(reply)).is_some())
                        .count();
                    assert_eq!(seen, thread.replies as usize);
                    seen as u64
                })
                .sum();
            (threads.len() as u64, replies)
        };
        let told = |changes: &Changes| {
            let totals = View { world: &world, changes }.totals(channel);
            (totals.threads, totals.replies)
        };
        assert_eq!(told(&changes), walked(&changes));
        assert_eq!(told(&changes).0 + told(&changes).1, 3_000);

        let busy = (0..40)
            .map(|index| VideoKey { channel: 0, index })
            .max_by_key(|&key| View { world: &world, changes: &changes }.threads(key))
            .expect("there are videos");
        let view = View { world: &world, changes: &changes };
        let deep: Vec<_> = (0..view.threads(busy))
            .map(|index| ThreadKey { video: busy, index })
            .filter(|&thread| view.replies(thread) > 2)
            .collect();
        let id = |key| world.ids.comment(key);
        for change in [
            Change::DeleteComment { comment_id: id(deep[0].reply(1)) },
            Change::DeleteComment { comment_id: id(deep[0].opening()) },
            Change::HoldComment { comment_id: id(deep[1].reply(0)) },
            Change::AddThreads { video_id: world.ids.video(busy), count: 7, text: None },
            Change::AddReplies { comment_id: id(deep[1].opening()), count: 2, text: None, by_owner: true },
            Change::AddVideo { channel_id: None },
        ] {
            changes.apply(&world, &change, world.newest_at).expect("the ids are there");
            assert_eq!(told(&changes), walked(&changes), "after {change:?}");
        }
    }
}
