//! What a sandbox is started with.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};
use greenroom_model::Clock;

/// What a sandbox is started with; the default is a small world that fits a test.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// From what the world is drawn: the same seed gives the same bytes.
    pub seed: u64,
    /// How many channels, each with a refresh token of its own.
    pub channels: u16,
    /// Videos of each channel, including unlisted, private and vanished ones.
    pub videos: u32,
    /// Comments of each channel, replies included.
    pub comments: u64,
    /// The instant at which the drawn world ends; changes come after it.
    pub newest_at: DateTime<Utc>,
    /// Whether channels hide how many subscribers they have.
    pub hidden_subscribers: bool,
    /// How long each answer is held back, as a network would.
    pub latency: Duration,
    /// How much quota the project has a day.
    pub quota: Quota,
    /// How long an access token lasts, in seconds.
    pub access_token_secs: u32,
    /// Whether every request is kept, for tests that look for what was in it.
    pub transcript: bool,
    /// The clock that tokens and quota days go by.
    pub clock: Clock,
}

/// Units of quota a Pacific day, by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Every list method.
    pub default_units: u64,
    /// `videos:batchGetStats`.
    pub batch_get_stats_units: u64,
}

/// 1 November 2026, 00:00 UTC: fixed, so that the default world never changes.
const NEWEST_AT: DateTime<Utc> = DateTime::from_timestamp(1_793_491_200, 0).unwrap();

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            channels: 1,
            videos: 40,
            comments: 1_500,
            newest_at: NEWEST_AT,
            hidden_subscribers: false,
            latency: Duration::ZERO,
            quota: Quota { default_units: 100_000_000, batch_get_stats_units: 100_000_000 },
            access_token_secs: 3_599,
            transcript: false,
            clock: Clock::system(),
        }
    }
}
