use chrono::{Datelike, Duration, Timelike};
use proptest::prelude::*;

use super::*;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Returns the next fires, as the wall clock of the zone shows them.
fn fires(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let cron = Cron::parse(expression, zone).unwrap();
    let fires = std::iter::successors(cron.next_after(instant(from)), |at| cron.next_after(*at));
    fires.take(n).map(|at| at.with_timezone(&cron.timezone()).format("%a %F %T %Z").to_string()).collect()
}

#[test]
fn five_fields_begin_with_minutes_and_six_with_seconds() {
    assert_eq!(
        fires("*/15 * * * *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Thu 2026-01-01 00:15:00 UTC", "Thu 2026-01-01 00:30:00 UTC"]
    );
    assert_eq!(fires("*/20 * * * * *", "UTC", "2026-01-01T00:00:00.5Z", 1), ["Thu 2026-01-01 00:00:20 UTC"]);
}

#[test]
fn what_is_wrong_is_said() {
    for (expression, said) in [
        ("* * *", "has 3 fields"),
        ("@reboot", "has 1 fields"),
        ("99 * * * *", r#"the minute "99" is not of 0 to 59"#),
        ("*/0 * * * *", r#"the minute "*/0""#),
        ("0 25 * * *", r#"the hour "25" is not of 0 to 23"#),
        ("0 9-5 * * *", r#"the hour "9-5""#),
        ("0 0 0 * *", r#"the day "0" is not of 1 to 31"#),
        ("0 0 * Smarch *", r#"the month "Smarch""#),
        ("* * * * 8", r#"the weekday "8" is not of 0 to 7"#),
        ("* * * * Son", r#"the weekday "Son""#),
        ("* * * * mon-", r#"the weekday "mon-""#),
        ("* * * * mon/0", r#"the weekday "mon/0""#),
        ("* * * * m\u{f6}n", "the weekday"),
        ("0 0 30 2 *", "never fires"),
    ] {
        let error = Cron::parse(expression, "UTC").unwrap_err().to_string();
        assert!(error.contains(said), "{expression}: {error}");
    }
    assert!(matches!(Cron::parse("* * * * *", "Mars/Base"), Err(CronError::Timezone(_))));
}

#[test]
fn weekdays_count_as_in_crontab() {
    let week = |field: &str| {
        let at = fires(&format!("0 9 * * {field}"), "UTC", "2026-01-03T12:00:00Z", 7);
        let days = at.iter().take_while(|at| at[4..14] < *"2026-01-11").map(|at| at[..3].to_owned());
        days.collect::<Vec<_>>().join(" ")
    };
    for (field, days) in [
        ("0", "Sun"),
        ("7", "Sun"),
        ("sunday", "Sun"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("MON-fri", "Mon Tue Wed Thu Fri"),
        ("1-5/2", "Mon Wed Fri"),
        ("5-7", "Sun Fri Sat"),
        ("0-7", "Sun Mon Tue Wed Thu Fri Sat"),
        ("sat-sun,3", "Sun Wed Sat"),
        ("*/2", "Sun Tue Thu Sat"),
        ("4/1", "Thu Fri Sat"),
        ("?", "Sun Mon Tue Wed Thu Fri Sat"),
    ] {
        assert_eq!(week(field), days, "{field}");
    }
}

#[test]
fn nicknames_stand_for_five_fields() {
    for (nickname, first) in [
        ("@yearly", "Fri 2027-01-01 00:00:00 UTC"),
        ("@Monthly", "Thu 2026-10-01 00:00:00 UTC"),
        ("@weekly", "Sun 2026-09-13 00:00:00 UTC"),
        ("@midnight", "Thu 2026-09-10 00:00:00 UTC"),
        ("@hourly", "Wed 2026-09-09 13:00:00 UTC"),
    ] {
        assert_eq!(fires(nickname, "UTC", "2026-09-09T12:30:00Z", 1), [first], "{nickname}");
    }
}

#[test]
fn a_day_and_a_weekday_are_either_or() {
    // The 13th and Fridays, as crontab has it.
    assert_eq!(
        fires("0 0 13 * fri", "UTC", "2026-10-09T12:00:00Z", 3),
        ["Tue 2026-10-13 00:00:00 UTC", "Fri 2026-10-16 00:00:00 UTC", "Fri 2026-10-23 00:00:00 UTC"]
    );
    // On a day that both name it fires once.
    assert_eq!(
        fires("0 0 13 * fri", "UTC", "2026-11-12T12:00:00Z", 2),
        ["Fri 2026-11-13 00:00:00 UTC", "Fri 2026-11-20 00:00:00 UTC"]
    );
    // A field that begins with a star restricts nothing by itself: both must hold.
    assert_eq!(fires("0 0 */2 * mon", "UTC", "2026-06-02T00:00:00Z", 1), ["Mon 2026-06-15 00:00:00 UTC"]);
}

#[test]
fn leap_days_and_the_ends_of_years_are_kept() {
    assert_eq!(
        fires("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Tue 2028-02-29 00:00:00 UTC", "Sun 2032-02-29 00:00:00 UTC"]
    );
    assert_eq!(fires("59 23 31 12 *", "UTC", "2026-12-31T23:59:00Z", 1), ["Fri 2027-12-31 23:59:00 UTC"]);
    assert_eq!(
        fires("0,30 * * * *", "Europe/Berlin", "2026-12-31T22:45:00Z", 1),
        ["Fri 2027-01-01 00:00:00 CET"]
    );
    // A month without a 31st has none.
    assert_eq!(fires("0 0 31 * *", "UTC", "2026-03-31T00:00:00Z", 1), ["Sun 2026-05-31 00:00:00 UTC"]);
}

#[test]
fn in_the_gap_of_spring_a_daily_job_comes_at_its_end() {
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        ["Sat 2026-03-28 02:30:00 CET", "Sun 2026-03-29 03:00:00 CEST", "Mon 2026-03-30 02:30:00 CEST"]
    );
    assert_eq!(
        fires("15,45 2,3 * * *", "America/New_York", "2026-03-08T05:00:00Z", 3),
        ["Sun 2026-03-08 03:00:00 EDT", "Sun 2026-03-08 03:15:00 EDT", "Sun 2026-03-08 03:45:00 EDT"]
    );
    // Half an hour is left out there.
    assert_eq!(
        fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z", 3),
        ["Sun 2026-10-04 02:30:00 +11", "Mon 2026-10-05 02:15:00 +11", "Tue 2026-10-06 02:15:00 +11"]
    );
    // At midnight, too: the day begins at one.
    assert_eq!(fires("@daily", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["Fri 2026-04-24 01:00:00 EEST"]);
}

#[test]
fn in_the_repeated_hour_of_autumn_a_daily_job_comes_the_first_time() {
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["Sun 2026-10-25 02:30:00 CEST", "Mon 2026-10-26 02:30:00 CET"]
    );
    // Nor is it repeated for a scheduler that starts between the two.
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
        ["Mon 2026-10-26 02:30:00 CET"]
    );
    assert_eq!(
        fires("30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", 2),
        ["Sun 2026-11-01 01:30:00 EDT", "Mon 2026-11-02 01:30:00 EST"]
    );
    assert_eq!(
        fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", 2),
        ["Sun 2026-04-05 01:45:00 +11", "Mon 2026-04-06 01:45:00 +1030"]
    );
}

#[test]
fn what_fires_every_hour_goes_on_by_real_time() {
    for (zone, from) in [
        ("Europe/Berlin", "2026-03-29T00:00:00Z"),
        ("Europe/Berlin", "2026-10-24T23:00:00Z"),
        ("America/New_York", "2026-03-08T06:00:00Z"),
        ("America/New_York", "2026-11-01T04:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T14:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T14:00:00Z"),
    ] {
        let cron = Cron::parse("*/15 * * * *", zone).unwrap();
        let mut at = instant(from);
        for _ in 0..20 {
            let next = cron.next_after(at).unwrap();
            assert_eq!(next - at, Duration::minutes(15), "{zone} after {at}");
            at = next;
        }
    }
    assert_eq!(
        fires("30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 3),
        ["Sun 2026-10-25 02:30:00 CEST", "Sun 2026-10-25 02:30:00 CET", "Sun 2026-10-25 03:30:00 CET"]
    );
}

#[test]
fn the_last_fire_of_a_long_stretch_is_found_without_counting_it() {
    let cron = Cron::parse("* * * * * *", "UTC").unwrap();
    let (since, until) = (instant("2000-01-01T00:00:00Z"), instant("2026-01-01T00:00:00.7Z"));
    assert_eq!(cron.last_between(since, until), Some(instant("2026-01-01T00:00:00Z")));
    let cron = Cron::parse("0 0 29 2 *", "UTC").unwrap();
    assert_eq!(cron.last_between(since, until), Some(instant("2024-02-29T00:00:00Z")));
    assert_eq!(cron.last_between(instant("2024-02-29T00:00:00Z"), until), None);
}

/// A field as it is written, and what it means, computed by other means than the code's.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    values: Vec<u32>,
}

fn field(min: u32, max: u32) -> impl Strategy<Value = Field> {
    let star = Just(Field { text: "*".to_owned(), values: (min..=max).collect() });
    let part = prop_oneof![
        (min..=max).prop_map(|at| Field { text: at.to_string(), values: vec![at] }),
        (min..=max, min..=max, 1..=5_u32).prop_map(|(a, b, step)| {
            let (from, to) = (a.min(b), a.max(b));
            let values = (from..=to).filter(|at| (at - from) % step == 0).collect();
            Field { text: format!("{from}-{to}/{step}"), values }
        }),
    ];
    let parts = proptest::collection::vec(part, 1..=3).prop_map(|parts| Field {
        text: parts.iter().map(|part| part.text.clone()).collect::<Vec<_>>().join(","),
        values: parts.into_iter().flat_map(|part| part.values).collect(),
    });
    prop_oneof![star, parts]
}

/// An expression of five fields, and the rule it stands for.
fn expression() -> impl Strategy<Value = [Field; 5]> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).prop_map(Into::into)
}

fn text(fields: &[Field; 5]) -> String {
    fields.each_ref().map(|field| field.text.clone()).join(" ")
}

/// Tells whether a rule holds at a local time.
fn holds([minute, hour, day, month, weekday]: &[Field; 5], at: NaiveDateTime) -> bool {
    let on_day = day.values.contains(&at.day());
    let on_weekday = weekday.values.iter().any(|n| n % 7 == at.weekday().num_days_from_sunday());
    let on_date = match (day.text.as_str(), weekday.text.as_str()) {
        ("*", _) | (_, "*") => on_day && on_weekday,
        _ => on_day || on_weekday,
    };
    minute.values.contains(&at.minute())
        && hour.values.contains(&at.hour())
        && month.values.contains(&at.month())
        && on_date
}

/// Days on which clocks are changed, and one on which they are not.
const DAYS: [(&str, &str); 7] = [
    ("Europe/Berlin", "2026-03-28T20:00:00Z"),
    ("Europe/Berlin", "2026-10-24T20:00:00Z"),
    ("America/New_York", "2026-03-08T02:00:00Z"),
    ("America/New_York", "2026-11-01T02:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T10:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T10:00:00Z"),
    ("Africa/Cairo", "2026-06-01T00:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_next_fire_is_the_next_minute_that_holds(
        fields in expression(),
        from in 1_700_000_000_i64..1_900_000_000,
    ) {
        let Ok(cron) = Cron::parse(&text(&fields), "UTC") else {
            return Ok(()); // such as the 30th of February
        };
        let from = DateTime::from_timestamp(from, 0).unwrap();
        let next = cron.next_after(from);
        prop_assert!(next.is_none_or(|next| next > from));
        let minute = from.with_second(0).unwrap();
        let minutes = (1..=5 * 24 * 60).map(|n| minute + Duration::minutes(n));
        match minutes.into_iter().find(|at| holds(&fields, at.naive_utc())) {
            Some(at) => prop_assert_eq!(next, Some(at)),
            None => prop_assert!(next.is_none_or(|next| next > minute + Duration::days(5))),
        }
    }

    #[test]
    fn on_the_days_of_a_change_too(
        mut fields in expression(),
        (zone, from) in prop::sample::select(DAYS.to_vec()),
    ) {
        // The date is not what is looked at here.
        let any = field_of_all();
        (fields[2], fields[3], fields[4]) = (any(1, 31), any(1, 12), any(0, 6));
        let cron = Cron::parse(&text(&fields), zone).unwrap();
        let (from, zone) = (instant(from), cron.timezone());
        let every_hour = (0..24).all(|hour| fields[1].values.contains(&hour));
        let wall = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();

        let mut expected = Vec::new();
        let mut latest = wall(from);
        for at in (1..=12 * 60).map(|n| from + Duration::minutes(n)) {
            let now = wall(at);
            let fires = if every_hour {
                holds(&fields, now)
            } else {
                // All local times since the latest one seen so far, which are several after a gap
                // and none in an hour that comes again.
                let unseen = (now - latest).num_minutes().max(0);
                (0..unseen).any(|n| holds(&fields, now - Duration::minutes(n)))
            };
            latest = latest.max(now);
            if fires {
                expected.push(at);
            }
        }
        let fires = std::iter::successors(cron.next_after(from), |at| cron.next_after(*at));
        let end = from + Duration::hours(12);
        prop_assert_eq!(fires.take_while(|at| *at <= end).collect::<Vec<_>>(), expected);
    }
}

fn field_of_all() -> impl Fn(u32, u32) -> Field {
    |min, max| Field { text: "*".to_owned(), values: (min..=max).collect() }
}
