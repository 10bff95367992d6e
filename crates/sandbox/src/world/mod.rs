//! A deterministic world of channels, videos and comments, of any size.
//!
//! Only counts are stored: twelve bytes a video. Everything else (a title, a comment's text, its
//! author, its time) is computed from the seed when a page asks for it, so 100,000 comments cost no
//! memory and any page costs the same. What tests change afterwards lies in [`changes`], over it.

mod changes;
mod channel;
mod comment;
mod dice;
mod keys;
mod phrases;
mod video;
mod view;

use chrono::{DateTime, Utc};

pub use changes::{Change, Changed, UnknownId};

pub(crate) use changes::Changes;
pub(crate) use channel::Channel;
pub(crate) use comment::{Author, Comment, Thread};
pub(crate) use dice::{Dice, digest};
pub(crate) use keys::{Ids, ThreadKey, VideoKey};
pub(crate) use video::{Privacy, Role, Video};
pub use view::Totals;
pub(crate) use view::{Order, View};

use crate::settings::Settings;

/// Everything that the seed says.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) ids: Ids,
    /// The instant at which the seed's part of the world ends; nothing in it is newer.
    pub(crate) newest_at: DateTime<Utc>,
    pub(crate) hidden_subscribers: bool,
    pub(crate) channels: Vec<Channel>,
}

impl World {
    pub(crate) fn new(settings: &Settings) -> Self {
        let ids = Ids::new(settings.seed);
        let channels = (0..settings.channels).map(|index| Channel::new(index, ids, settings)).collect();
        Self {
            seed: settings.seed,
            ids,
            newest_at: settings.newest_at,
            hidden_subscribers: settings.hidden_subscribers,
            channels,
        }
    }

    pub(crate) fn channel(&self, index: u16) -> Option<&Channel> {
        self.channels.get(usize::from(index))
    }

    /// Takes up the dice of one purpose at one place.
    pub(crate) fn dice(&self, purpose: Purpose, place: [u64; 4]) -> Dice {
        Dice::at(self.seed, &[purpose as u64, place[0], place[1], place[2], place[3]])
    }
}

/// What a draw is for, so that two facts of one place do not depend on each other.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Channel = 1,
    Popularity,
    Video,
    Published,
    Topic,
    Title,
    Details,
    Replies,
    Commented,
    Comment,
    Author,
}
