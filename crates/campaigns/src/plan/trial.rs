//! The series that leads to the end of a trial.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_mail::{State, Then, suppressed};
use serde_json::json;

use super::{By, Decision, Person, SERVICE_LASTS, day, days_between, message, occurrence, skip};
use crate::{EXPIRED, Step, TRIAL};

/// A trial that is this much longer than the step is long enough for it.
const GRACE: TimeDelta = TimeDelta::hours(1);

/// Returns the place of the step that is due: at any instant at most one is.
pub(crate) fn due(now: DateTime<Utc>, end: DateTime<Utc>) -> Option<usize> {
    let left = end - now;
    (left > TimeDelta::zero()).then(|| TRIAL.iter().rposition(|step| left <= step.before)).flatten()
}

/// Tells whether a person is on a trial that nobody has paid for.
pub(crate) fn is_on_trial(person: &Person) -> bool {
    person.subscription_status.as_deref() == Some("trial")
        && person.recipient.is_active
        && !person.organization_is_active
}

/// Decides what a person on trial gets.
pub fn trial(now: DateTime<Utc>, by: By<'_>, person: &Person) -> Decision {
    let mut decision = Decision::default();
    let Some(end) = person.trial_end.filter(|_| is_on_trial(person)) else { return decision };
    let Some(place) = due(now, end) else { return decision };
    let occurrence = occurrence(end);
    let is_planned = |step: &Step| person.planned.iter().any(|planned| planned == step.name);

    for (earlier, had) in TRIAL[..place].iter().zip(person.notified) {
        if had {
            continue;
        }
        decision.superseded.push(*earlier);
        if !is_planned(earlier) {
            decision.messages.push(message(person, earlier, &occurrence, json!({}), skip("superseded")));
        }
    }

    let step = TRIAL[place];
    if is_planned(&step) || person.notified[place] {
        return decision;
    }
    let due = end - step.before;
    let not_before = by.opening(person, &step, now.max(due));
    let closes = TRIAL.get(place + 1).map_or(end, |next| end - next.before);
    let is_shorter = person.trial_start.is_some_and(|start| start > due + GRACE);
    let then = if place == 0 && is_shorter {
        skip("trial_shorter_than_step")
    } else if let Some(reason) = suppressed(&person.recipient, step.class, by.mail) {
        Then::Not(State::Suppressed, reason)
    } else if not_before >= closes {
        skip("no_window")
    } else {
        Then::Send { not_before, expires_at: not_before + SERVICE_LASTS }
    };
    let zone = by.zone(person);
    let params = json!({"days_left": days_between(not_before, end, zone), "ends_on": day(end, zone)});
    decision.messages.push(message(person, &step, &occurrence, params, then));
    decision
}

/// Decides what a person gets whose trial has ended just now.
pub fn expired(now: DateTime<Utc>, by: By<'_>, person: &Person) -> Decision {
    let mut decision = Decision::default();
    let Some(end) = person.trial_end else { return decision };
    let then = if person.organization_is_active {
        skip("organization_is_active")
    } else if let Some(reason) = suppressed(&person.recipient, EXPIRED.class, by.mail) {
        Then::Not(State::Suppressed, reason)
    } else {
        Then::Send { not_before: now, expires_at: now + SERVICE_LASTS }
    };
    let params = json!({"ended_on": day(end, by.zone(person))});
    decision.messages.push(message(person, &EXPIRED, &occurrence(end), params, then));
    decision
}
