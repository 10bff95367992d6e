//! The planner: what becomes of a person at an instant. Pure: it reads no clock, no settings file and no database.

pub(crate) mod trial;
pub(crate) mod waitlist;

pub use trial::{expired, trial};
pub use waitlist::waitlist;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use greenroom_mail::{NewMessage, Recipient, Settings as MailSettings, State, Then, Whom};
use greenroom_model::UserId;
use serde_json::Value;

use crate::window::Window;
use crate::{Settings, Step};

/// How long a message that people have to get is worth sending.
pub(crate) const SERVICE_LASTS: TimeDelta = TimeDelta::hours(24);
/// How long after its closing a message of a series may still be tried again.
pub(crate) const RETRIES_LAST: TimeDelta = TimeDelta::hours(6);
/// Nobody gets more news than one in this time.
pub(crate) const QUIET: TimeDelta = TimeDelta::hours(20);

/// What is known of a person.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// Whether and where they may be mailed.
    pub recipient: Recipient,
    /// Their subscription.
    pub subscription_status: Option<String>,
    /// Whether somebody pays for them already.
    pub organization_is_active: bool,
    /// When their trial began.
    pub trial_start: Option<DateTime<Utc>>,
    /// When it ends.
    pub trial_end: Option<DateTime<Utc>>,
    /// Which steps of it they have had: of seven days, three, one.
    pub notified: [bool; 3],
    /// When they joined the waiting list.
    pub joined_at: Option<DateTime<Utc>>,
    /// When they were let in before the launch.
    pub early_access_at: Option<DateTime<Utc>>,
    /// When they had each step that leads to the launch, and the launch.
    pub countdown: [Option<DateTime<Utc>>; 4],
    /// The zone in which they live, if one is known.
    pub timezone: Option<String>,
    /// When they last had news.
    pub last_marketing_at: Option<DateTime<Utc>>,
    /// The steps of this occurrence of which the outbox has a message, whatever became of it.
    pub planned: Vec<String>,
}

/// What becomes of a person: messages, and steps that are passed over by a later one.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Rows for the outbox, those that are not to be sent included.
    pub messages: Vec<NewMessage>,
    /// Earlier steps, whose waiting messages and flags are settled.
    pub superseded: Vec<Step>,
}

/// By which settings is planned.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// When people are written to.
    pub campaigns: &'a Settings,
    /// Who may be mailed at all.
    pub mail: &'a MailSettings,
}

impl By<'_> {
    /// Returns the zone in which a person lives.
    pub(crate) fn zone(&self, person: &Person) -> Tz {
        let Some(name) = &person.timezone else { return self.campaigns.default_timezone };
        name.parse().unwrap_or_else(|_| {
            tracing::warn!(user.id = %person.user, "A location has a time zone that does not exist");
            self.campaigns.default_timezone
        })
    }

    fn window(&self, person: &Person) -> Window {
        let Settings { window_opens: opens, window_closes: closes, .. } = *self.campaigns;
        Window { zone: self.zone(person), opens, closes }
    }

    /// Returns the first instant from this one on at which a person may get a step.
    fn opening(&self, person: &Person, step: &Step, from: DateTime<Utc>) -> DateTime<Utc> {
        if step.in_window { self.window(person).next(from) } else { from }
    }
}

/// Names an instant as an occurrence; the function `greenroom.occurrence` does the same.
pub(crate) fn occurrence(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Writes a day as people read it, where they live.
pub(crate) fn day(instant: DateTime<Utc>, zone: Tz) -> String {
    instant.with_timezone(&zone).format("%A, %-d %B %Y").to_string()
}

/// Counts the days from one instant's day to another's, as people count them where they live.
pub(crate) fn days_between(from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> i64 {
    let date = |instant: DateTime<Utc>| instant.with_timezone(&zone).date_naive();
    date(to).signed_duration_since(date(from)).num_days()
}

fn message(person: &Person, step: &Step, occurrence: &str, params: Value, then: Then) -> NewMessage {
    NewMessage {
        whom: Whom::User(person.user),
        campaign: step.campaign,
        step: step.name,
        occurrence: occurrence.to_owned(),
        class: step.class,
        params,
        then,
    }
}

fn skip(reason: &'static str) -> Then {
    Then::Not(State::Skipped, reason)
}
