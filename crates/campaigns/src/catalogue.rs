//! Every step there is: its class, when it is due, until when it may begin, and its template.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use greenroom_mail::{Class, Source};
use greenroom_model::UserId;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::plan::{By, day};
use crate::{CampaignsError, store};

/// A step of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its series.
    pub campaign: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Whether it needs consent.
    pub class: Class,
    /// How long before the moment that the series leads to it is due.
    pub before: TimeDelta,
    /// How long after that a first try may begin; without it, as long as it is the step that is due.
    pub open_for: Option<TimeDelta>,
    /// Whether it waits for the hours in which people are written to.
    pub in_window: bool,
}

const fn trial(name: &'static str, before: TimeDelta, in_window: bool) -> Step {
    Step { campaign: "trial", name, class: Class::Service, before, open_for: None, in_window }
}

const fn waitlist(name: &'static str, before: TimeDelta, open_for: TimeDelta, in_window: bool) -> Step {
    Step { campaign: "waitlist", name, class: Class::Marketing, before, open_for: Some(open_for), in_window }
}

/// What leads to the end of a trial, in order.
pub const TRIAL: [Step; 3] = [
    trial("7d", TimeDelta::days(7), true),
    trial("3d", TimeDelta::days(3), true),
    trial("1d", TimeDelta::days(1), false),
];

/// What follows it.
pub const EXPIRED: Step = trial("expired", TimeDelta::zero(), false);

/// What leads to a launch, in order, and the launch.
pub const WAITLIST: [Step; 4] = [
    waitlist("t14", TimeDelta::days(14), TimeDelta::hours(48), true),
    waitlist("t7", TimeDelta::days(7), TimeDelta::hours(48), true),
    waitlist("t1", TimeDelta::days(1), TimeDelta::hours(22), true),
    waitlist("launch", TimeDelta::zero(), TimeDelta::hours(72), false),
];

/// What other parts tell, by the names of their steps in the campaign `notices`.
pub const NOTICES: [&str; 6] = [
    "connection_error",
    "credits_low",
    "credits_exhausted",
    "credits_discrepancies",
    "launch_moved",
    "step_paused",
];

/// Finds a step by its name, as `trial.7d`.
pub fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let (campaign, step) = name.split_once('.')?;
    let series = TRIAL.iter().chain([&EXPIRED]).chain(&WAITLIST).map(|step| (step.campaign, step.name));
    series.chain(NOTICES.map(|name| ("notices", name))).find(|found| *found == (campaign, step))
}

/// The three parts of a template.
macro_rules! template {
    ($name:literal, [$($param:literal),*]) => {
        Source {
            name: $name,
            params: &[$($param),*],
            subject: include_str!(concat!("../../../config/templates/", $name, ".subject")),
            txt: include_str!(concat!("../../../config/templates/", $name, ".txt")),
            html: include_str!(concat!("../../../config/templates/", $name, ".html")),
        }
    };
}

/// Returns the templates of all steps as they come with the program, the layout first.
pub fn sources() -> Vec<Source> {
    vec![
        Source {
            name: "layout",
            params: &[],
            subject: "",
            txt: include_str!("../../../config/templates/layout.txt"),
            html: include_str!("../../../config/templates/layout.html"),
        },
        template!("trial/7d", ["days_left", "ends_on"]),
        template!("trial/3d", ["days_left", "ends_on"]),
        template!("trial/1d", ["days_left", "ends_on"]),
        template!("trial/expired", ["ended_on"]),
        template!("waitlist/t14", ["days_left", "launches_on"]),
        template!("waitlist/t7", ["days_left", "launches_on"]),
        template!("waitlist/t1", ["days_left", "launches_on"]),
        template!("waitlist/launch", ["launched_on"]),
        template!("notices/connection_error", ["platform", "name_of_account"]),
        template!("notices/credits_low", ["available", "next_reset_on"]),
        template!("notices/credits_exhausted", ["needed", "available", "next_reset_on"]),
        template!("notices/credits_discrepancies", ["accounts", "discrepancies"]),
        template!("notices/launch_moved", ["launches_on", "already_sent"]),
        template!("notices/step_paused", ["campaign", "step", "reason"]),
    ]
}

/// Returns what a message of a step could carry, for who wants to see one: sent now, to somebody made up.
pub fn sample(campaign: &str, step: &str, now: DateTime<Utc>, by: By<'_>) -> Value {
    carried(campaign, step, now + before(campaign, step), by.campaigns.default_timezone)
}

/// Returns what a message of a step carries for a person when it is due: the end of their own trial, or the launch that is
/// set, in their own days. Where they have neither, and in notices, it is as made up as a sample.
pub async fn sample_of(
    conn: &mut PgConnection,
    campaign: &str,
    step: &str,
    user: UserId,
    now: DateTime<Utc>,
    by: By<'_>,
) -> Result<Value, CampaignsError> {
    let person = store::days(conn, user).await?;
    let zone = person.as_ref().map_or(by.campaigns.default_timezone, |person| by.zone(person));
    let leads_to = match campaign {
        "trial" => person.and_then(|person| person.trial_end),
        "waitlist" => by.campaigns.waitlist.launch_at,
        _ => None,
    };
    Ok(carried(campaign, step, leads_to.unwrap_or_else(|| now + before(campaign, step)), zone))
}

fn before(campaign: &str, step: &str) -> TimeDelta {
    let found = TRIAL.iter().chain(&WAITLIST).find(|found| (found.campaign, found.name) == (campaign, step));
    found.map(|step| step.before).unwrap_or_default()
}

/// Makes what a message carries that leads to a moment and is sent when its step begins.
fn carried(campaign: &str, step: &str, leads_to: DateTime<Utc>, zone: Tz) -> Value {
    let (before, moment) = (before(campaign, step), day(leads_to, zone));
    match (campaign, step) {
        ("trial", "expired") => json!({"ended_on": moment}),
        ("trial", _) => json!({"days_left": before.num_days(), "ends_on": moment}),
        ("waitlist", "launch") => json!({"launched_on": moment}),
        ("waitlist", _) => json!({"days_left": before.num_days(), "launches_on": moment}),
        (_, "connection_error") => json!({"platform": "youtube", "name_of_account": "Ada's channel"}),
        (_, "credits_low") => json!({"available": "12.5", "next_reset_on": moment}),
        (_, "credits_exhausted") => json!({"needed": "20", "available": "3.5", "next_reset_on": moment}),
        (_, "credits_discrepancies") => json!({"accounts": 1200, "discrepancies": 2}),
        (_, "launch_moved") => json!({"launches_on": moment, "already_sent": 240}),
        _ => json!({"campaign": "waitlist", "step": "t7", "reason": "12 of 180 were refused or came back"}),
    }
}
