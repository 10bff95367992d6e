//! `[campaigns]`.

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, de};

use crate::CampaignsError;

/// When people are written to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The zone of people of whom none is known.
    #[serde(deserialize_with = "timezone")]
    pub default_timezone: Tz,
    /// From which time of their day on.
    #[serde(deserialize_with = "time")]
    pub window_opens: NaiveTime,
    /// Until which time of their day; the same as the other is all day.
    #[serde(deserialize_with = "time")]
    pub window_closes: NaiveTime,
    /// The series that leads to a launch.
    pub waitlist: WaitlistSettings,
}

/// The series that leads to a launch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitlistSettings {
    /// The launch; without it there is no series.
    #[serde(deserialize_with = "instant")]
    pub launch_at: Option<DateTime<Utc>>,
}

impl Settings {
    /// Refuses settings by which people could not leave a list.
    pub fn validate(&self, has_unsubscribe_key: bool, postal_address: &str) -> Result<(), CampaignsError> {
        if self.waitlist.launch_at.is_none() {
            return Ok(());
        }
        let wrong = |rule: &str| {
            Err(CampaignsError::Setting { setting: "waitlist.launch_at", rule: rule.to_owned() })
        };
        if !has_unsubscribe_key {
            return wrong(
                "set UNSUBSCRIBE_KEY as well, or nobody could leave the list (32 random characters will do)",
            );
        }
        if postal_address.is_empty() {
            return wrong("set mail.postal_address as well: news have to say where their sender lives");
        }
        Ok(())
    }
}

fn timezone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse()
        .map_err(|_| de::Error::custom(format!("{name} is no time zone: write one such as Europe/Berlin")))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    NaiveTime::parse_from_str(&text, "%H:%M")
        .map_err(|_| de::Error::custom(format!("{text} is no time of day: write one such as 09:00")))
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let instant = DateTime::parse_from_rfc3339(&text);
    let instant = instant.map_err(|_| {
        de::Error::custom(format!("{text} is no instant: write one such as 2027-01-15T09:00:00Z"))
    })?;
    Ok(Some(instant.to_utc()))
}
