//! A month, step by step, with many people whose lives go on meanwhile: the database against a model that knows no SQL.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use greenroom_model::UserId;

use super::{World, to_micros};

/// Numbers that look drawn, and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Something that happens to a person.
#[derive(Clone, Copy, Debug)]
enum Event {
    TrialMoves(DateTime<Utc>),
    Subscribes,
    LeavesTheList,
    ComesInEarly,
}

/// A person of the model.
#[derive(Debug)]
struct Person {
    user: UserId,
    status: &'static str,
    trial: Option<(DateTime<Utc>, DateTime<Utc>)>,
    flags: [bool; 3],
    joined: Option<DateTime<Utc>>,
    is_in: bool,
    has_left: bool,
    /// Step, occurrence, state with its reason, and from when on it may be sent.
    rows: Vec<(&'static str, DateTime<Utc>, String, DateTime<Utc>)>,
    events: Vec<(DateTime<Utc>, Event)>,
}

const BEFORE: [(&str, i64); 3] = [("trial.7d", 7), ("trial.3d", 3), ("trial.1d", 1)];

/// From nine to six.
fn opening(at: DateTime<Utc>) -> DateTime<Utc> {
    let nine = at.date_naive().and_hms_opt(9, 0, 0).unwrap().and_utc();
    match at.hour() {
        0..9 => nine,
        9..18 => at,
        _ => nine + TimeDelta::days(1),
    }
}

impl Person {
    fn has(&self, step: &str, occurrence: DateTime<Utc>) -> bool {
        self.rows.iter().any(|row| row.0 == step && row.1 == occurrence)
    }

    fn end(&mut self, which: impl Fn(&str) -> bool, state: &str) {
        for row in self.rows.iter_mut().filter(|row| which(row.0) && row.2 == "queued") {
            state.clone_into(&mut row.2);
        }
    }

    fn happens(&mut self, now: DateTime<Utc>, event: Event) {
        match event {
            Event::TrialMoves(end) => {
                let Some(trial) = &mut self.trial else { return };
                trial.1 = end;
                for (flag, (_, days)) in self.flags.iter_mut().zip(BEFORE) {
                    *flag &= end - TimeDelta::days(days) <= now;
                }
                self.end(|step| step.starts_with("trial"), "cancelled trial_moved");
            }
            Event::Subscribes => {
                self.status = "active";
                self.end(|step| step.starts_with("trial"), "cancelled subscription_active");
            }
            Event::LeavesTheList => {
                self.has_left = true;
                self.end(|step| step.starts_with("waitlist"), "suppressed unsubscribed");
            }
            Event::ComesInEarly => {
                self.is_in = true;
                self.end(|step| step.starts_with("waitlist"), "cancelled early_access");
            }
        }
    }

    fn plan_trial(&mut self, now: DateTime<Utc>) {
        let Some((start, end)) = self.trial.filter(|_| self.status == "trial") else { return };
        if end <= now {
            self.status = "expired";
            self.end(|step| step.starts_with("trial"), "cancelled subscription_expired");
            self.rows.push(("trial.expired", end, "queued".to_owned(), now));
            return;
        }
        let Some(due) = BEFORE.iter().rposition(|(_, days)| end - now <= TimeDelta::days(*days)) else {
            return;
        };
        if self.has(BEFORE[due].0, end) || self.flags[due] {
            return;
        }
        for (place, (step, _)) in BEFORE.into_iter().enumerate().take(due) {
            if self.flags[place] {
                continue;
            }
            self.flags[place] = true;
            self.end(|other| other == step, "skipped superseded");
            if !self.has(step, end) {
                self.rows.push((step, end, "skipped superseded".to_owned(), now));
            }
        }
        let from = if due == 2 { now } else { opening(now) };
        let closes = BEFORE.get(due + 1).map_or(end, |(_, days)| end - TimeDelta::days(*days));
        let state = if due == 0 && start > end - TimeDelta::days(7) + TimeDelta::hours(1) {
            "skipped trial_shorter_than_step"
        } else if from >= closes {
            "skipped no_window"
        } else {
            "queued"
        };
        self.rows.push((BEFORE[due].0, end, state.to_owned(), from));
    }

    fn plan_waitlist(&mut self, now: DateTime<Utc>, launch: DateTime<Utc>) {
        let Some(joined) = self.joined.filter(|_| !self.is_in) else { return };
        let steps = [
            ("waitlist.t14", 14, 48),
            ("waitlist.t7", 7, 48),
            ("waitlist.t1", 1, 22),
            ("waitlist.launch", 0, 72),
        ];
        let last = steps.iter().rposition(|(_, days, _)| launch - TimeDelta::days(*days) <= now);
        for (place, (step, days, open_for)) in steps.into_iter().enumerate() {
            let due = launch - TimeDelta::days(days);
            if due > now || self.has(step, launch) {
                continue;
            }
            let (closes, from) =
                (due + TimeDelta::hours(open_for), if days == 0 { now } else { opening(now) });
            let state = if days > 0 && joined > due {
                "skipped joined_after"
            } else if now > closes {
                "skipped late"
            } else if Some(place) != last {
                "skipped superseded"
            } else if self.has_left {
                "suppressed unsubscribed"
            } else if from > closes {
                "skipped no_window"
            } else {
                "queued"
            };
            self.rows.push((step, launch, state.to_owned(), from));
        }
    }

    fn send(&mut self, now: DateTime<Utc>) {
        for row in &mut self.rows {
            if row.2 == "queued" && row.3 <= now {
                "sent".clone_into(&mut row.2);
                if let Some(place) = BEFORE.iter().position(|(step, _)| *step == row.0) {
                    self.flags[place] = true;
                }
            }
        }
    }
}

/// Lets so many people live for a month in steps of so many minutes, and compares.
async fn walk(people: u64, step: TimeDelta) {
    let world = World::with(Some(TimeDelta::days(22)), |campaigns, _| {
        let launch = campaigns.waitlist.launch_at.unwrap().date_naive();
        campaigns.waitlist.launch_at = Some(launch.and_hms_opt(12, 0, 0).unwrap().and_utc());
    })
    .await;
    // Ticks lie half a step off everything that can happen, so that the time they take changes nothing.
    let midnight = world.now().date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::days(1);
    let (begin, launch) = (midnight + step / 2, world.launch());
    world.advance(begin - world.now()).await;
    let mut dice = Dice(people);
    let steps = u64::try_from(TimeDelta::days(30).num_seconds() / step.num_seconds()).unwrap();
    let mut at = |from: u64, to: u64| {
        let place = i64::try_from(from + dice.below(to - from)).unwrap();
        to_micros(midnight + step * i32::try_from(place).unwrap())
    };
    let mut all = Vec::new();
    for n in 0..people {
        let mut person = Person {
            user: UserId::new(),
            status: "none",
            trial: None,
            flags: [false; 3],
            joined: None,
            is_in: false,
            has_left: false,
            rows: Vec::new(),
            events: Vec::new(),
        };
        let name = format!("person{n}");
        if n % 2 == 0 {
            let end = at(steps / 30, steps);
            let start = end - TimeDelta::days([14, 7, 5, 2][usize::try_from(n / 2 % 4).unwrap()]);
            person.user = world.on_trial(&name, end).await;
            world.set(person.user, "trial_start_date = $2", Some(start)).await;
            (person.status, person.trial) = ("trial", Some((start, end)));
            if n % 3 == 0 {
                let when = at(1, steps);
                let longer = TimeDelta::days(9);
                if when < end {
                    person.events.push((when, Event::TrialMoves(end + longer)));
                }
            }
            if n % 5 == 0 {
                person.events.push((at(1, steps), Event::Subscribes));
            }
        } else {
            // Some only join while the series is under way.
            let joined = if n % 4 == 1 { midnight - TimeDelta::days(5) } else { at(1, steps) };
            person.user = world.waiting(&name, joined).await;
            person.joined = Some(joined);
            if n % 3 == 0 {
                person.events.push((at(1, steps), Event::LeavesTheList));
            }
            if n % 5 == 0 {
                person.events.push((at(1, steps), Event::ComesInEarly));
            }
        }
        person.events.sort_by_key(|event| event.0);
        all.push(person);
    }

    for place in 0..steps {
        let now = begin + step * i32::try_from(place).unwrap();
        let wait = now - world.now();
        if wait > TimeDelta::zero() {
            world.advance(wait).await;
        }
        for person in &mut all {
            while person.events.first().is_some_and(|(when, _)| *when <= now) {
                let (_, event) = person.events.remove(0);
                match event {
                    Event::TrialMoves(end) => world.set(person.user, "trial_end_date = $2", Some(end)).await,
                    Event::Subscribes => world.set(person.user, "subscription_status = 'active'", None).await,
                    Event::LeavesTheList => {
                        let columns = "marketing_unsubscribed_at = greenroom.now(), marketing_opt_in = false";
                        world.set(person.user, columns, None).await;
                    }
                    Event::ComesInEarly => {
                        world.set(person.user, "early_access_granted_at = greenroom.now()", None).await;
                    }
                }
                person.happens(now, event);
            }
            person.plan_trial(now);
            person.plan_waitlist(now, launch);
            person.send(now);
        }
        world.tick().await;
    }

    for (n, person) in all.iter().enumerate() {
        let mut expected: Vec<_> = person.rows.iter().map(|row| format!("{} {}", row.0, row.2)).collect();
        let mut found = world.lines(person.user).await;
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "person {n}: {person:?}");
        let sent = person.rows.iter().filter(|row| row.2 == "sent").count();
        assert_eq!(world.taken(&format!("person{n}")), sent, "person {n}");
    }
}

#[tokio::test]
async fn a_month_goes_as_the_model_says() {
    walk(24, TimeDelta::hours(4)).await;
}

#[tokio::test]
#[ignore = "long, 20 minutes: a month in steps of a minute, two hundred people"]
async fn long_a_month_minute_by_minute_goes_as_the_model_says() {
    walk(200, TimeDelta::minutes(1)).await;
}
