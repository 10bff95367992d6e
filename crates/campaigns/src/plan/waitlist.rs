//! The series that leads to a launch.

use chrono::{DateTime, Utc};
use greenroom_mail::{State, Then, suppressed};
use serde_json::json;

use super::{By, Decision, Person, QUIET, RETRIES_LAST, day, days_between, message, occurrence, skip};
use crate::{Step, WAITLIST};

/// When a step is due.
pub(crate) fn due(step: &Step, launch: DateTime<Utc>) -> DateTime<Utc> {
    launch - step.before
}

/// The last instant at which a first try of it may begin.
pub(crate) fn closes(step: &Step, launch: DateTime<Utc>) -> DateTime<Utc> {
    due(step, launch) + step.open_for.unwrap_or_default()
}

/// Decides what a person on the waiting list gets.
///
/// Who has had news lately waits for the next ones; who has some that still wait, gets the later ones only.
pub fn waitlist(now: DateTime<Utc>, launch: DateTime<Utc>, by: By<'_>, person: &Person) -> Decision {
    let mut decision = Decision::default();
    let is_waiting = person.early_access_at.is_none() && person.recipient.is_active;
    let Some(joined) = person.joined_at.filter(|_| is_waiting) else { return decision };
    let occurrence = occurrence(launch);
    let last = WAITLIST.iter().rposition(|step| due(step, launch) <= now);

    for (place, step) in WAITLIST.iter().enumerate().take_while(|(place, _)| Some(*place) <= last) {
        if person.planned.iter().any(|planned| planned == step.name) {
            if Some(place) < last && person.countdown[place].is_none() {
                decision.superseded.push(*step);
            }
            continue;
        }
        let is_launch = place + 1 == WAITLIST.len();
        let closes = closes(step, launch);
        let from = now.max(due(step, launch));
        let mut not_before = by.opening(person, step, from);
        if let Some(quiet_until) =
            person.last_marketing_at.map(|last| last + QUIET).filter(|at| *at > not_before)
        {
            not_before = by.opening(person, step, quiet_until);
        }
        let then = if person.countdown[place].is_some() {
            skip("already_sent")
        } else if !is_launch && joined > due(step, launch) {
            skip("joined_after")
        } else if now > closes {
            skip("late")
        } else if Some(place) < last {
            skip("superseded")
        } else if let Some(reason) = suppressed(&person.recipient, step.class, by.mail) {
            Then::Not(State::Suppressed, reason)
        } else if not_before > closes {
            skip("no_window")
        } else {
            Then::Send { not_before, expires_at: closes + RETRIES_LAST }
        };
        let zone = by.zone(person);
        let params = if is_launch {
            json!({"launched_on": day(launch, zone)})
        } else {
            json!({"days_left": days_between(not_before, launch, zone), "launches_on": day(launch, zone)})
        };
        decision.messages.push(message(person, step, &occurrence, params, then));
    }
    decision
}
