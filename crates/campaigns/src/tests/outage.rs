//! Everything stands still for days, at any offset: what is too late is not sent, and everybody can be told why.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Timelike};
use greenroom_mail::{Check, Message, NewMessage, Recipient, Then};
use greenroom_model::UserId;

use super::{World, to_micros};
use crate::plan::{By, Person, waitlist};
use crate::{CampaignRules, WAITLIST};

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Plans and sends for one person without a database, hour by hour, but for the hours in which the house stands still.
fn stand_still(world: &World, from: i64, length: i64) -> Vec<String> {
    let launch = DateTime::from_timestamp(1_800_014_400, 0).unwrap();
    assert_eq!(launch.hour(), 12, "the launch is at noon");
    let mut settings = world.campaigns.settings.clone();
    settings.waitlist.launch_at = Some(launch);
    let by = By { campaigns: &settings, mail: &world.campaigns.mail };
    let rules = CampaignRules { settings: settings.clone(), keys: None, public_url: String::new() };
    let mut person = Person {
        recipient: Recipient {
            email: "ada@example.test".to_owned(),
            is_active: true,
            opt_in: true,
            ..Recipient::default()
        },
        joined_at: Some(launch - TimeDelta::days(30)),
        ..Person::default()
    };
    let (mut lines, mut queue): (Vec<(&str, String)>, Vec<NewMessage>) = (Vec::new(), Vec::new());
    for hour in -(15 * 24)..(9 * 24) {
        if hour >= -from && hour < length - from {
            continue;
        }
        let now = launch + TimeDelta::hours(hour);
        let decision = waitlist(now, launch, by, &person);
        for message in decision.messages {
            person.planned.push(message.step.to_owned());
            match message.then {
                Then::Send { .. } => queue.push(message),
                Then::Not(_, reason) => lines.push((message.step, format!("skipped {reason}"))),
            }
        }
        queue.retain(|message| {
            let Then::Send { not_before, expires_at } = message.then else { return false };
            if now < not_before {
                return true;
            }
            let asked = Message {
                id: UserId::new().0,
                user: Some(person.user),
                campaign: message.campaign.to_owned(),
                step: message.step.to_owned(),
                occurrence: message.occurrence.clone(),
                class: message.class,
            };
            let becomes = match rules.still(&person, &asked, now) {
                _ if now >= expires_at => "expired too_late".to_owned(),
                Check::Wait(_) => return true,
                Check::Cancel(reason) => format!("cancelled {reason}"),
                Check::Send => {
                    let place = WAITLIST.iter().position(|step| step.name == message.step).unwrap();
                    person.countdown[place] = Some(now);
                    person.last_marketing_at = Some(now);
                    "sent".to_owned()
                }
            };
            lines.push((message.step, becomes));
            false
        });
    }
    assert!(queue.is_empty(), "{queue:?}");
    let place = |name: &str| WAITLIST.iter().position(|step| step.name == name);
    lines.sort_by_key(|(step, _)| place(step));
    lines.into_iter().map(|(step, becomes)| format!("{step} {becomes}")).collect()
}

/// What the steps must come to, by their rules alone: hours are counted from the launch, which is at noon.
fn expected(from: i64, length: i64) -> Vec<String> {
    let (begins, ends) = (-from, length - from);
    let is_down = |hour: i64| hour >= begins && hour < ends;
    let mut lines = Vec::new();
    let mut last_sent: Option<i64> = None;
    for (name, due, open_for) in
        [("t14", -14 * 24, 48), ("t7", -7 * 24, 48), ("t1", -24, 22), ("launch", 0, 72)]
    {
        let planned = if is_down(due) { ends } else { due };
        let next = match name {
            "t14" => -7 * 24,
            "t7" => -24,
            "t1" => 0,
            _ => i64::MAX,
        };
        let in_window = |hour: i64| name == "launch" || (9..18).contains(&(hour + 12).rem_euclid(24));
        // A morning may come while the house stands still again only if the outage is one piece, which it is.
        let mut hour = planned.max(last_sent.map_or(i64::MIN, |sent| sent + 20));
        while !in_window(hour) {
            hour += 1;
        }
        let promised = hour;
        while is_down(hour) {
            hour += 1;
        }
        lines.push(if planned > due + open_for {
            format!("{name} skipped late")
        } else if planned >= next {
            format!("{name} skipped superseded")
        } else if promised > due + open_for {
            format!("{name} skipped no_window")
        } else if hour >= next {
            format!("{name} cancelled superseded")
        } else if hour >= due + open_for + 6 {
            format!("{name} expired too_late")
        } else {
            last_sent = Some(hour);
            format!("{name} sent")
        });
    }
    lines
}

#[tokio::test]
async fn outages_at_every_offset_end_as_the_rules_say() {
    let world = World::new(None).await;
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for days in [1, 2, 3, 7] {
        for from in -(2 * 24)..=(15 * 24) {
            let lines = stand_still(&world, from, days * 24);
            let expected = expected(from, days * 24);
            if lines != expected {
                wrong.push(format!("{days} d from {from} h before: {lines:?} and not {expected:?}"));
            }
            seen.extend(lines);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What must never be is not there because it was not looked for.
    assert!(seen.contains("t14 skipped late") && seen.contains("launch skipped late"), "{seen:?}");
}

#[tokio::test]
async fn three_days_over_the_first_step_end_with_the_second_in_time() {
    let world = World::with(Some(TimeDelta::days(20)), |campaigns, _| {
        let launch = campaigns.waitlist.launch_at.unwrap().date_naive();
        campaigns.waitlist.launch_at = Some(launch.and_hms_opt(12, 0, 0).unwrap().and_utc());
    })
    .await;
    let ada = world.waiting("ada", world.now() - TimeDelta::days(3)).await;
    let restart = world.launch() - TimeDelta::days(11) + TimeDelta::minutes(1);
    world.advance(restart - world.now()).await;
    while world.now() < world.launch() + HOUR * 4 {
        world.tick().await;
        world.advance(HOUR * 4).await;
    }
    world.tick().await;
    let expected =
        ["waitlist.t14 skipped late", "waitlist.t7 sent", "waitlist.t1 sent", "waitlist.launch sent"];
    assert_eq!(world.lines(ada).await, expected);
}

#[tokio::test]
async fn a_trial_whose_house_stood_still_is_told_of_the_step_that_is_due() {
    let world = World::new(None).await;
    super::go_to_hour(&world, 10).await;
    let ada = world.on_trial("ada", to_micros(world.now()) + TimeDelta::days(8)).await;
    // Six days and a half without a planner: of three steps the last is due.
    world.advance(TimeDelta::hours(7 * 24 + 12)).await;
    world.tick().await;
    assert_eq!(
        world.lines(ada).await,
        ["trial.7d skipped superseded", "trial.3d skipped superseded", "trial.1d sent"]
    );
    world.advance(TimeDelta::days(9)).await;
    world.tick().await;
    assert_eq!(world.lines(ada).await[3..], ["trial.expired sent"]);
}
