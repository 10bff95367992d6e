use std::sync::Arc;

use chrono::TimeDelta;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use super::*;
use crate::schedules::{self, Override, ScheduleRow};
use crate::testing::{drain, enqueued};
use crate::{Context, Done, Job, Policy, Stop};

/// Every night, and never two at once.
#[derive(Serialize, Deserialize)]
struct Nightly {
    #[serde(default)]
    note: String,
}

impl Job for Nightly {
    const KIND: &'static str = "nightly";
    const POLICY: Policy = Policy::on("nights").cron("0 3 * * *");
    type State = ();
    type Report = ();

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

/// Another release's idea of the same job, by the wall clock of Berlin.
#[derive(Serialize, Deserialize)]
struct Local {}

impl Job for Local {
    const KIND: &'static str = "nightly";
    const POLICY: Policy =
        Policy::on("nights").cron("30 2 * * *").timezone("Europe/Berlin").catch_up(CatchUp::Skip);
    type State = ();
    type Report = ();

    fn key(&self) -> Option<String> {
        Some("only".to_owned())
    }

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

/// Known, but scheduled by nobody's code.
#[derive(Serialize, Deserialize)]
struct Plain {}

impl Job for Plain {
    const KIND: &'static str = "plain";
    const POLICY: Policy = Policy::on("nights");
    type State = ();
    type Report = ();

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

fn of<J: Job<State = ()>>(db: &Database) -> Scheduler {
    Scheduler::new(Queue::new(db.pool().clone()), Jobs::new().with::<J>(Some(&Arc::new(()))))
}

/// Makes a scheduler that has declared what its code has, and computed the first ticks.
async fn scheduler<J: Job<State = ()>>(db: &Database) -> Scheduler {
    let scheduler = of::<J>(db);
    scheduler.jobs.register(db.pool()).await.unwrap();
    scheduler.declare().await.unwrap();
    scheduler.tick().await.unwrap();
    scheduler
}

async fn row(db: &Database) -> ScheduleRow {
    schedules::show(&mut db.pool().acquire().await.unwrap(), "nightly").await.unwrap()
}

async fn set(db: &Database, cron: &str) -> Result<(), QueueError> {
    let to = Override { cron: Some(cron.to_owned()), ..Override::default() };
    schedules::set(&mut db.pool().acquire().await.unwrap(), "nightly", &to).await
}

async fn pause(db: &Database, paused: bool) {
    let names = ["nightly".to_owned()];
    schedules::pause(&mut db.pool().acquire().await.unwrap(), &names, paused).await.unwrap();
}

/// Moves the database's clock to an instant that lies ahead.
async fn advance_to(db: &Database, at: DateTime<Utc>) {
    let now: DateTime<Utc> = sqlx::query_scalar("select greenroom.now()").fetch_one(db.pool()).await.unwrap();
    db.advance((at - now).to_std().unwrap()).await;
}

async fn sql(db: &Database, sql: &'static str) {
    sqlx::query(sql).execute(db.pool()).await.unwrap();
}

const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_enqueued_once_by_any_number_of_schedulers() {
    let db = Database::new().await;
    let schedulers = futures::future::join_all((0..5).map(|_| scheduler::<Nightly>(&db))).await;
    assert_eq!(schedulers[0].tick().await.unwrap(), 0, "nothing is due yet");
    for night in 1..=3 {
        db.advance(DAY).await;
        let ticks = futures::future::join_all(schedulers.iter().map(Scheduler::tick)).await;
        assert_eq!(ticks.into_iter().map(Result::unwrap).sum::<usize>(), 1);
        assert_eq!(enqueued::<Nightly>(db.pool()).await.unwrap().len(), night);
    }
    // A new release declares again, and nothing fires anew.
    schedulers[0].declare().await.unwrap();
    assert_eq!(schedulers[0].tick().await.unwrap(), 0);
    assert_eq!(drain(&schedulers[0].queue, &schedulers[0].jobs).await.unwrap(), 3);
    assert_eq!(row(&db).await.last_outcome.as_deref(), Some("completed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_ticks_follow_the_catch_up_policy() {
    for (policy, fires) in [("skip", 0), ("latest", 1), ("all", 4)] {
        let db = Database::new().await;
        let scheduler = scheduler::<Nightly>(&db).await;
        // Paused or with nobody there: four nights at three o'clock pass, then it is noon.
        pause(&db, true).await;
        sqlx::query("update greenroom.schedules set catch_up = $1")
            .bind(policy)
            .execute(db.pool())
            .await
            .unwrap();
        let first = row(&db).await.next_fire_at.unwrap();
        advance_to(&db, first + TimeDelta::days(3) + TimeDelta::hours(9)).await;
        assert_eq!(scheduler.tick().await.unwrap(), 0, "a paused schedule does not fire");
        pause(&db, false).await;
        assert_eq!(scheduler.tick().await.unwrap(), fires, "{policy}");
        assert_eq!(scheduler.tick().await.unwrap(), 0, "{policy}");
        let row = row(&db).await;
        assert_eq!(row.next_fire_at, Some(first + TimeDelta::days(4)));
        assert_eq!(row.last_fire_at, (fires > 0).then_some(first + TimeDelta::days(3)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_with_very_many_ticks_goes_on() {
    let db = Database::new().await;
    let scheduler = scheduler::<Nightly>(&db).await;
    set(&db, "* * * * *").await.unwrap();
    sql(&db, "update greenroom.schedules set catch_up = 'all'").await;
    scheduler.tick().await.unwrap();
    db.advance(Duration::from_mins(2_500)).await;
    let mut ticks = Vec::new();
    while ticks.last() != Some(&0) {
        ticks.push(scheduler.tick().await.unwrap());
    }
    assert_eq!((&ticks[..2], ticks.iter().sum::<usize>() / 10), (&[1_000, 1_000][..], 250), "{ticks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_overrode_survives_a_new_declaration_until_it_is_reset() {
    let db = Database::new().await;
    let old = scheduler::<Nightly>(&db).await;
    set(&db, "0 5 * * *").await.unwrap();
    assert_eq!(row(&db).await.next_fire_at, None, "the scheduler computes it at its next look");
    old.tick().await.unwrap();
    let at_five = row(&db).await.next_fire_at.unwrap();
    assert_eq!(at_five.format("%T").to_string(), "05:00:00");

    scheduler::<Local>(&db).await;
    let now = row(&db).await;
    assert_eq!(
        (now.cron.as_str(), now.timezone.as_str(), now.catch_up.as_str()),
        ("0 5 * * *", "UTC", "latest")
    );
    assert_eq!(
        (now.declared_cron.as_deref(), now.declared_timezone.as_deref(), now.declared_catch_up.as_deref()),
        (Some("30 2 * * *"), Some("Europe/Berlin"), Some("skip"))
    );
    assert_eq!((now.overridden, now.next_fire_at), (true, Some(at_five)));

    schedules::reset(&mut db.pool().acquire().await.unwrap(), "nightly").await.unwrap();
    old.tick().await.unwrap();
    let now = row(&db).await;
    assert_eq!(
        (now.cron.as_str(), now.timezone.as_str(), now.catch_up.as_str(), now.overridden),
        ("30 2 * * *", "Europe/Berlin", "skip", false)
    );
    assert_ne!(now.next_fire_at, Some(at_five));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_changes_what_nobody_overrode_and_loses_no_tick() {
    let db = Database::new().await;
    scheduler::<Nightly>(&db).await;
    let old = row(&db).await.next_fire_at.unwrap();
    let new = scheduler::<Local>(&db).await;
    let changed = row(&db).await;
    assert_eq!((changed.cron.as_str(), changed.overridden), ("30 2 * * *", false));
    assert_ne!(changed.next_fire_at, Some(old), "the next tick is the new expression's");

    // What was due when the release changed back still comes.
    let due = changed.next_fire_at.unwrap();
    advance_to(&db, due + TimeDelta::seconds(1)).await;
    of::<Nightly>(&db).declare().await.unwrap();
    assert_eq!(row(&db).await.next_fire_at, Some(due));
    assert_eq!(new.tick().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_no_code_has_any_more_is_kept_and_shown_and_does_not_fire() {
    let db = Database::new().await;
    let old = scheduler::<Nightly>(&db).await;
    let new = scheduler::<Plain>(&db).await;
    sql(
        &db,
        "insert into greenroom.schedules (name, kind, cron) values ('by hand', 'plain', '* * * * *'),
              ('elsewhere', 'unheard_of', '* * * * *')",
    )
    .await;
    new.tick().await.unwrap();
    db.advance(DAY).await;
    assert!(!row(&db).await.undeclared, "nobody is there who could have said so");
    assert_eq!(new.tick().await.unwrap(), 1, "what operators made fires where its kind is known");
    assert_eq!(enqueued::<Plain>(db.pool()).await.unwrap().len(), 1);

    // A scheduler of the new release alone, which now has another schedule.
    sql(&db, "insert into greenroom.schedules (name, kind, cron, declared_cron, declared_timezone, declared_catch_up, declared_at)
              values ('new', 'plain', '@daily', '@daily', 'UTC', 'latest', greenroom.now())").await;
    let gone = row(&db).await;
    assert!(gone.undeclared && gone.lag_secs > 0.0, "{gone:?}");
    // The old release comes back, is not the leader, and finds what the leader leaves lying.
    old.declare_again().await.unwrap();
    assert!(!row(&db).await.undeclared);
    assert_eq!(old.tick_if_late(LEFT_BY_THE_LEADER).await.unwrap(), 1);
    assert_eq!(enqueued::<Nightly>(db.pool()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_row_is_shown_as_such_and_stops_no_other() {
    let db = Database::new().await;
    let scheduler = scheduler::<Nightly>(&db).await;
    sql(
        &db,
        "insert into greenroom.schedules (name, kind, cron, timezone, payload) values
              ('a wrong cron', 'nightly', 'every day', 'UTC', '{}'),
              ('a wrong payload', 'nightly', '* * * * *', 'UTC', '{\"note\": 7}'),
              ('a wrong zone', 'nightly', '* * * * *', 'Mars/Base', '{}')",
    )
    .await;
    scheduler.tick().await.unwrap();
    db.advance(DAY).await;
    assert_eq!(scheduler.tick().await.unwrap(), 1);
    let mut conn = db.pool().acquire().await.unwrap();
    let rows = schedules::list(&mut conn, None).await.unwrap();
    let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref().unwrap_or_default()).collect();
    assert!(errors[0].contains("has 2 fields"), "{errors:?}");
    assert!(errors[1].contains("the payload does not fit"), "{errors:?}");
    assert!(errors[2].contains("no time zone"), "{errors:?}");
    assert_eq!(errors[3], "");

    let refused = set(&db, "99 * * * *").await.unwrap_err();
    assert!(matches!(refused, QueueError::Cron(CronError::Expression(..))), "{refused}");
    // Once mended, it fires, and the error is gone.
    sql(&db, "update greenroom.schedules set payload = '{}' where name = 'a wrong payload'").await;
    scheduler.tick().await.unwrap();
    db.advance(Duration::from_mins(1)).await;
    assert_eq!(scheduler.tick().await.unwrap(), 1);
    assert_eq!(schedules::show(&mut conn, "a wrong payload").await.unwrap().error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_finds_its_job_still_open_is_counted_as_skipped() {
    let db = Database::new().await;
    let scheduler = scheduler::<Local>(&db).await;
    for _ in 0..3 {
        let next = row(&db).await.next_fire_at.unwrap();
        advance_to(&db, next).await;
        assert_eq!(scheduler.tick().await.unwrap(), 1);
    }
    let row = row(&db).await;
    assert_eq!((row.skipped, row.last_outcome.as_deref()), (2, Some("pending")));
    assert_eq!(enqueued::<Local>(db.pool()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_change_cost_no_tick_and_double_none() {
    let db = Database::new().await;
    let scheduler = scheduler::<Local>(&db).await;
    let cron = Cron::parse("30 2 * * *", "Europe/Berlin").unwrap();
    let first = row(&db).await.next_fire_at.unwrap();
    let nights: Vec<_> = std::iter::successors(Some(first), |at| cron.next_after(*at)).take(366).collect();
    let local = |at: DateTime<Utc>| at.with_timezone(&cron.timezone());
    // A year of them has one that lacks 2:30 and one that has it twice.
    let at_three = nights.iter().filter(|at| local(**at).format("%T").to_string() == "03:00:00").count();
    assert_eq!(at_three, 1);
    let changes = (1..365).filter(|n| nights[*n] - nights[n - 1] != TimeDelta::days(1));
    let around: std::collections::BTreeSet<usize> = changes.flat_map(|n| n - 1..=n + 1).collect();
    assert!((6..=8).contains(&around.len()), "{around:?}");
    for night in around {
        advance_to(&db, nights[night]).await;
        assert_eq!((scheduler.tick().await.unwrap(), scheduler.tick().await.unwrap()), (1, 0));
        // Nor again when the hour comes again, or later that day.
        for _ in 0..2 {
            db.advance(Duration::from_hours(1)).await;
            assert_eq!(scheduler.tick().await.unwrap(), 0);
        }
        let row = row(&db).await;
        assert_eq!((row.last_fire_at, row.next_fire_at), (Some(nights[night]), Some(nights[night + 1])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_waits_for_its_database_and_turns_meanwhile() {
    let db = Database::new().await;
    // Nothing that it asks is answered.
    sql(&db, "alter schema greenroom rename to away").await;
    let scheduler = of::<Nightly>(&db);
    let (heartbeat, stop) = (scheduler.heartbeat(), CancellationToken::new());
    let running = tokio::spawn(scheduler.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(
        !running.is_finished() && heartbeat.last() < Duration::from_millis(1_400),
        "{:?}",
        heartbeat.last()
    );
    sql(&db, "alter schema away rename to greenroom").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while sqlx::query_scalar::<_, i64>(
        "select count(*) from greenroom.schedules where next_fire_at is not null",
    )
    .fetch_one(db.pool())
    .await
    .unwrap()
        == 0
    {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
