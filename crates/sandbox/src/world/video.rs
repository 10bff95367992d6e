//! A video: what kind it is, when it came out, how long it runs and how it did.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Dice, Purpose, World, channel::Channel, keys::VideoKey};

/// How many comments a video has, and in how many threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) comments: u32,
    pub(crate) threads: u32,
    /// The newest thread takes what is left of the comments, so its replies are not drawn.
    pub(crate) newest_replies: u32,
}

/// Who may see a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    Public,
    Unlisted,
    Private,
}

impl Privacy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unlisted => "unlisted",
            Self::Private => "private",
        }
    }
}

/// What is peculiar about a video. Peculiar ones stand among a channel's oldest and then at every
/// 97th place, so a small world has one of each and a large one has one per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ordinary,
    CommentsDisabled,
    /// Still in the uploads playlist, but `videos` leaves it out.
    Vanished,
    Private,
    LikesHidden,
    Unlisted,
    /// A stream that has not begun.
    Upcoming,
    /// A recorded stream of more than a day.
    Marathon,
}

impl Role {
    pub(crate) fn of(index: u32) -> Self {
        match index % 97 {
            1 => Self::CommentsDisabled,
            3 => Self::Vanished,
            5 => Self::Private,
            7 => Self::LikesHidden,
            9 => Self::Unlisted,
            11 => Self::Upcoming,
            13 => Self::Marathon,
            _ => Self::Ordinary,
        }
    }

    pub(crate) fn has_comments(self) -> bool {
        !matches!(self, Self::CommentsDisabled | Self::Vanished | Self::Private | Self::Upcoming)
    }

    pub(crate) fn privacy(self) -> Privacy {
        match self {
            Self::Private => Privacy::Private,
            Self::Unlisted => Privacy::Unlisted,
            _ => Privacy::Public,
        }
    }
}

/// A video as the seed made it, without its words.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    pub(crate) seconds: u32,
    /// Filmed upright, as Shorts are.
    pub(crate) vertical: bool,
    pub(crate) views: u64,
    pub(crate) likes: u64,
}

/// A video with all changes applied.
#[derive(Clone, Debug)]
pub(crate) struct Video {
    pub(crate) key: VideoKey,
    pub(crate) role: Role,
    pub(crate) published_at: DateTime<Utc>,
    pub(crate) seconds: u32,
    pub(crate) vertical: bool,
    pub(crate) views: u64,
    pub(crate) likes: u64,
    pub(crate) comments: u64,
    pub(crate) comments_disabled: bool,
    pub(crate) gone: bool,
    pub(crate) topic: &'static str,
}

impl Video {
    /// Tells whether this is a Short.
    pub(crate) fn is_short(&self) -> bool {
        self.vertical && (1..=180).contains(&self.seconds)
    }

    /// Tells whether this is, was or will be a live stream.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.role, Role::Upcoming | Role::Marathon)
    }

    /// Returns the picture's width and height.
    pub(crate) fn size(&self) -> (u64, u64) {
        if self.vertical { (1_080, 1_920) } else { (1_920, 1_080) }
    }

    /// Returns the length in ISO 8601 as YouTube writes it: no zero parts, `P0D` before a stream.
    pub(crate) fn duration(&self) -> String {
        if self.seconds == 0 {
            return "P0D".to_owned();
        }
        let (days, hours) = (self.seconds / 86_400, self.seconds / 3_600 % 24);
        let (minutes, seconds) = (self.seconds / 60 % 60, self.seconds % 60);
        let part = |n: u32, unit: char| {
            if n == 0 { String::new() } else { format!("{n}{unit}") }
        };
        let time = [part(hours, 'H'), part(minutes, 'M'), part(seconds, 'S')].concat();
        let separator = if time.is_empty() { "" } else { "T" };
        format!("P{}{separator}{time}", part(days, 'D'))
    }
}

/// Returns the mean time between two uploads: a few days, but never more than twelve years in all.
pub(crate) fn pace(videos: u32) -> TimeDelta {
    let longest = 12 * 365 * 86_400 / i64::from(videos.max(1));
    TimeDelta::seconds(longest.min(225_000))
}

/// Returns how much of the channel's audience a video draws, from 1 to 60.
pub(crate) fn popularity(seed: u64, video: VideoKey) -> u64 {
    Dice::at(seed, &[Purpose::Popularity as u64, u64::from(video.channel), u64::from(video.index)])
        .heavy_tail(60)
}

impl Channel {
    /// Draws what the seed says of a video.
    pub(crate) fn facts(&self, seed: u64, index: u32) -> Facts {
        let key = VideoKey { channel: self.index, index };
        let mut dice = Dice::at(seed, &[Purpose::Video as u64, u64::from(self.index), u64::from(index)]);
        let role = Role::of(index);
        let (seconds, vertical) = match (role, dice.below(100)) {
            (Role::Upcoming, _) => (0, false),
            (Role::Marathon, _) => (93_600, false),
            (_, 0..18) => (dice.between(11, 59), true),
            (_, 18..22) => (dice.between(61, 175), true),
            // Short, and yet no Short.
            (_, 22..25) => (dice.between(30, 170), false),
            (_, 25..94) => (dice.between(240, 1_500), false),
            _ => (dice.between(3_601, 9_000), false),
        };
        let comments = self.counts.get(index as usize).map_or(0, |count| u64::from(count.comments));
        let views = match role {
            Role::Upcoming => 0,
            Role::Private => dice.below(5),
            _ => popularity(seed, key) * 400 + comments * dice.between(35, 60) + dice.below(400),
        };
        let likes = views * dice.between(20, 60) / 1_000;
        Facts { role, seconds: u32::try_from(seconds).unwrap_or(0), vertical, views, likes }
    }
}

impl World {
    /// Returns when a video of the seed came out.
    pub(crate) fn published_at(&self, key: VideoKey) -> DateTime<Utc> {
        let videos = self.channel(key.channel).map_or(0, Channel::videos);
        let pace = pace(videos).num_seconds();
        let jitter = self
            .dice(Purpose::Published, [u64::from(key.channel), u64::from(key.index), 0, 0])
            .below(u64::try_from(pace).unwrap_or(1).max(1));
        let later = i64::from(videos.saturating_sub(1).saturating_sub(key.index));
        self.newest_at - TimeDelta::seconds(86_400 + later * pace + i64::try_from(jitter).unwrap_or(0))
    }

    /// Draws what a video is about.
    pub(crate) fn topic(&self, channel: &Channel, index: u32) -> &'static str {
        let mut dice = self.dice(Purpose::Topic, [u64::from(channel.index), u64::from(index), 0, 0]);
        dice.pick(channel.niche().topics)
    }

    /// Draws a video's title.
    pub(crate) fn title(&self, channel: &Channel, index: u32) -> String {
        let mut dice = self.dice(Purpose::Title, [u64::from(channel.index), u64::from(index), 0, 0]);
        let title = dice.pick(channel.niche().titles).replace("{topic}", self.topic(channel, index));
        let mut letters = title.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        format!("{} | Ep. {}", first.chain(letters).collect::<String>(), index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        world::{Changes, View},
    };

    #[test]
    fn durations_are_written_without_zero_parts() {
        let world = World::new(&Settings::default());
        let view = View { world: &world, changes: &Changes::default() };
        let mut video = view.video(VideoKey { channel: 0, index: 0 }).expect("a video");
        for (seconds, text) in [
            (0, "P0D"),
            (43, "PT43S"),
            (3_723, "PT1H2M3S"),
            (600, "PT10M"),
            (3_600, "PT1H"),
            (93_600, "P1DT2H"),
            (86_400, "P1D"),
        ] {
            video.seconds = seconds;
            assert_eq!(video.duration(), text);
        }
    }

    #[test]
    fn uploads_are_in_the_order_of_time_and_end_with_the_world() {
        let world = World::new(&Settings { videos: 500, ..Settings::default() });
        let times: Vec<_> =
            (0..500).map(|index| world.published_at(VideoKey { channel: 0, index })).collect();
        assert!(times.is_sorted());
        assert!(times[499] <= world.newest_at - TimeDelta::days(1));
    }
}
