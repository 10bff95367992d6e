//! A channel: how many threads and comments each of its videos has, and its sums.

use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Dice, Ids, Purpose, World,
    comment::replies_drawn,
    keys::{ThreadKey, VideoKey},
    phrases::{NICHES, Niche},
    video::{Counts, Privacy, Role, pace, popularity},
};
use crate::settings::Settings;

/// A channel of the world.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) index: u16,
    /// The channel's id without its `UC`; the uploads playlist's without its `UU`.
    stem: String,
    pub(crate) title: String,
    pub(crate) handle: String,
    pub(crate) country: &'static str,
    pub(crate) published_at: DateTime<Utc>,
    niche: usize,
    /// By video, the oldest first.
    pub(crate) counts: Vec<Counts>,
    pub(crate) public_videos: u32,
    pub(crate) public_views: u64,
    pub(crate) comments: u64,
    pub(crate) threads: u64,
    by_time: OnceLock<Vec<(u32, u32)>>,
}

impl Channel {
    pub(crate) fn new(index: u16, ids: Ids, settings: &Settings) -> Self {
        let mut dice = Dice::at(settings.seed, &[Purpose::Channel as u64, u64::from(index)]);
        let niche =
            usize::from(index).wrapping_add(usize::try_from(dice.below(4)).unwrap_or(0)) % NICHES.len();
        let series = usize::from(index) / NICHES.len() + 1;
        let numbered = |name: &str, gap: &str| match series {
            1 => name.to_owned(),
            _ => format!("{name}{gap}{series}"),
        };
        let counts = allot(settings.seed, index, settings.videos, settings.comments);
        let first_upload =
            settings.newest_at - pace(settings.videos) * i32::try_from(settings.videos).unwrap_or(0);
        let mut channel = Self {
            index,
            stem: ids.channel(index),
            title: numbered(NICHES[niche].channel, " "),
            handle: numbered(NICHES[niche].handle, "-"),
            country: dice.pick(&["PT", "US", "DE", "GB", "BR", "IN"]),
            published_at: first_upload - TimeDelta::days(40),
            niche,
            public_videos: 0,
            public_views: 0,
            comments: counts.iter().map(|count| u64::from(count.comments)).sum(),
            threads: counts.iter().map(|count| u64::from(count.threads)).sum(),
            counts,
            by_time: OnceLock::new(),
        };
        for at in 0..settings.videos {
            let facts = channel.facts(settings.seed, at);
            if facts.role.privacy() == Privacy::Public && facts.role != Role::Vanished {
                channel.public_videos += 1;
                channel.public_views += facts.views;
            }
        }
        channel
    }

    pub(crate) fn id(&self) -> String {
        format!("UC{}", self.stem)
    }

    pub(crate) fn uploads(&self) -> String {
        format!("UU{}", self.stem)
    }

    pub(crate) fn niche(&self) -> &'static Niche {
        &NICHES[self.niche]
    }

    /// Returns how many videos the seed gave this channel.
    pub(crate) fn videos(&self) -> u32 {
        u32::try_from(self.counts.len()).unwrap_or(u32::MAX)
    }

    /// Returns every thread of the seed, the newest first, as (video, thread).
    ///
    /// Sorted once, at the first call: eight bytes a thread buy any page of the channel-wide stream
    /// for the price of its items.
    pub(crate) fn by_time(&self, world: &World) -> &[(u32, u32)] {
        self.by_time.get_or_init(|| {
            let mut dated: Vec<(i64, u32, u32)> = Vec::new();
            for (video, counts) in (0..).zip(&self.counts) {
                let key = VideoKey { channel: self.index, index: video };
                dated.extend((0..counts.threads).map(|thread| {
                    let at = world.commented_at(ThreadKey { video: key, index: thread });
                    (-at.timestamp(), video, thread)
                }));
            }
            dated.sort_unstable();
            dated.into_iter().map(|(_, video, thread)| (video, thread)).collect()
        })
    }
}

/// Shares a channel's comments among its videos by their popularity, to the last one.
fn allot(seed: u64, channel: u16, videos: u32, comments: u64) -> Vec<Counts> {
    let weight = |video: u32| match Role::of(video) {
        role if !role.has_comments() => 0,
        Role::Unlisted => 1,
        _ => u128::from(popularity(seed, VideoKey { channel, index: video })),
    };
    let whole = (0..videos).map(weight).sum::<u128>().max(1);
    let mut before = 0;
    (0..videos)
        .map(|video| {
            // Rounding the running sum, and not each share, makes the shares add up exactly.
            let from = u128::from(comments) * before / whole;
            before += weight(video);
            let share = u128::from(comments) * before / whole - from;
            threads_of(seed, VideoKey { channel, index: video }, u32::try_from(share).unwrap_or(u32::MAX))
        })
        .collect()
}

/// Cuts a video's comments into threads; the newest thread takes what is left.
fn threads_of(seed: u64, video: VideoKey, comments: u32) -> Counts {
    let mut counts = Counts { comments, threads: 0, newest_replies: 0 };
    let mut left = comments;
    while left > 0 {
        let drawn = replies_drawn(seed, ThreadKey { video, index: counts.threads });
        counts.newest_replies = drawn.min(left - 1);
        left -= 1 + counts.newest_replies;
        counts.threads += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comment_is_allotted_once() {
        for (videos, comments) in [(1, 10), (7, 0), (40, 12_345), (1_000, 100_000)] {
            let counts = allot(11, 0, videos, comments);
            assert_eq!(counts.iter().map(|count| u64::from(count.comments)).sum::<u64>(), comments);
        }
    }

    #[test]
    fn the_stream_of_a_channel_runs_from_new_to_old_and_is_complete() {
        let world = World::new(&Settings { videos: 30, comments: 2_000, ..Settings::default() });
        let channel = &world.channels[0];
        let stream = channel.by_time(&world);
        assert_eq!(stream.len() as u64, channel.threads);
        let times: Vec<_> = stream
            .iter()
            .map(|&(video, index)| {
                world.commented_at(ThreadKey { video: VideoKey { channel: 0, index: video }, index })
            })
            .collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older));
    }
}
