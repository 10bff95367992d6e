use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::*;
use crate::control::{
    Filter, Pace, Status, attempts, cancel, cancel_all, failures, plan_redrive, redrive, show,
};
use crate::testing::drain;
use crate::{Context, Done, Fingerprint, Job, JobRow, Jobs, Policy, Queue, Settings, Stop, sweep};

macro_rules! broken {
    ($name:ident, $kind:literal) => {
        #[derive(Serialize, Deserialize)]
        struct $name {
            says: String,
            again: bool,
        }

        impl Job for $name {
            const KIND: &'static str = $kind;
            const POLICY: Policy = Policy::on("broken").max_attempts(2);
            type State = ();
            type Report = ();

            async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
                Err(if self.again { Stop::retry(self.says) } else { Stop::cancel(self.says) })
            }
        }
    };
}

broken!(Broken, "broken");
broken!(BrokenToo, "broken.too");

#[tokio::test]
async fn failures_of_a_kind_that_say_the_same_are_one_group() {
    let db = Database::new().await;
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Broken>(Some(&().into())).with::<BrokenToo>(Some(&().into()));
    let says = |says: &str, again| Broken { says: says.to_owned(), again };
    let first = queue.enqueue(&says("HTTP 503 for video 17", true)).await.unwrap().id;
    let second = queue.enqueue(&says("HTTP 502 for video 4", false)).await.unwrap().id;
    let other = queue.enqueue(&says("no such channel", true)).await.unwrap().id;
    let too = BrokenToo { says: "HTTP 503 for video 17".to_owned(), again: false };
    let too = queue.enqueue(&too).await.unwrap().id;
    let ended = queue.enqueue(&says("never run", true)).await.unwrap().id;
    cancel(db.pool(), ended).await.unwrap();
    drain(&queue, &jobs).await.unwrap();
    let row = async |id| -> JobRow { show(&mut db.pool().acquire().await.unwrap(), id).await.unwrap() };
    // It may run again: it has not failed for good.
    assert_eq!(row(first).await.fingerprint, None);
    db.advance(Duration::from_hours(2)).await;
    drain(&queue, &jobs).await.unwrap();

    let alike = row(first).await.fingerprint.unwrap();
    assert_eq!(row(second).await.fingerprint, Some(alike));
    assert!(row(other).await.fingerprint.is_some_and(|other| other != alike));
    assert!(row(too).await.fingerprint.is_some_and(|other| other != alike));
    assert_eq!(row(ended).await.fingerprint, None);
    let ended_so = attempts(&mut db.pool().acquire().await.unwrap(), first).await.unwrap();
    let ended_so: Vec<_> =
        ended_so.iter().map(|attempt| (attempt.outcome.as_str(), attempt.fingerprint)).collect();
    assert_eq!(ended_so, [("retried", Some(alike)), ("exhausted", Some(alike))]);

    let mut conn = db.pool().acquire().await.unwrap();
    let groups = failures(&mut conn, None, None, 10).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.jobs).collect::<Vec<_>>(), [2, 1, 1]);
    let group = &groups[0];
    assert_eq!(
        (
            group.fingerprint,
            group.kind.as_str(),
            group.newest,
            group.failure.as_deref(),
            group.error.as_deref()
        ),
        (alike, "broken", second, Some("discarded"), Some("HTTP 502 for video 4"))
    );
    assert!(group.first_at > group.last_at, "the newer one ended at its first attempt");
    let groups = failures(&mut conn, Some("broken.too"), None, 10).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.newest).collect::<Vec<_>>(), [too]);
    let later = db.clock().now() + TimeDelta::hours(1);
    assert!(failures(&mut conn, None, Some(later), 10).await.unwrap().is_empty());
    assert_eq!(failures(&mut conn, None, None, 1).await.unwrap().len(), 1);

    // Put back, the group is gone.
    redrive(db.pool(), alike, Pace::AtOnce, |_| {}).await.unwrap();
    assert_eq!((row(first).await.status, row(first).await.fingerprint), ("pending".to_owned(), Some(alike)));
    assert_eq!(failures(&mut conn, None, None, 10).await.unwrap().len(), 2);
    // Taken back, it is there again.
    let waiting = Filter { fingerprint: Some(alike), status: Some(Status::Pending), ..Filter::default() };
    assert_eq!(cancel_all(db.pool(), &waiting, |_| {}).await.unwrap().done, 2);
    assert_eq!(failures(&mut conn, None, None, 1).await.unwrap()[0].fingerprint, alike);
}

#[tokio::test]
async fn jobs_whose_process_died_with_them_are_a_group_of_their_kind() {
    let db = Database::new().await;
    for (kind, crashes) in [("a", 2), ("a", 2), ("b", 2), ("a", 0)] {
        let id = Row::of(kind, "running").insert(&db).await;
        sqlx::query!("update background_jobs set crashes = $2 where id = $1", id, crashes)
            .execute(db.pool())
            .await
            .unwrap();
    }
    let ended = Row::of("a", "running").insert(&db).await;
    sqlx::query!("update background_jobs set cancel_requested_at = greenroom.now() where id = $1", ended)
        .execute(db.pool())
        .await
        .unwrap();
    db.advance(Duration::from_mins(5)).await;
    assert_eq!(sweep(db.pool(), &Settings::default()).await.unwrap().rescued, 5);
    let mut conn = db.pool().acquire().await.unwrap();
    let groups = failures(&mut conn, None, None, 10).await.unwrap();
    let said: Vec<_> = groups.iter().map(|g| (g.kind.as_str(), g.jobs, g.failure.as_deref())).collect();
    assert_eq!(said, [("a", 2, Some("quarantined")), ("b", 1, Some("quarantined"))]);
    let crashed = sqlx::query_scalar!("select fingerprint from greenroom.attempts where outcome = 'crashed'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(crashed.map(Fingerprint), Some(groups[0].fingerprint));
}

#[tokio::test]
async fn a_redrive_says_before_how_many_and_until_when() {
    let db = Database::new().await;
    Row { fingerprint: Some(3), ..Row::of("a", "exhausted") }.insert_many(&db, 31).await;
    let pace = Pace::PerMinute(NonZeroU32::new(6).unwrap());
    let before = db.clock().now();
    let plan = plan_redrive(db.pool(), Fingerprint(3), pace).await.unwrap();
    let lasts = plan.until - before;
    assert_eq!(plan.jobs, 31);
    assert!((TimeDelta::minutes(5)..TimeDelta::seconds(305)).contains(&lasts), "{lasts}");
    assert_eq!(stand(&db).await, [("failed: exhausted".to_owned(), 31)]);

    redrive(db.pool(), Fingerprint(3), pace, |_| {}).await.unwrap();
    let last =
        sqlx::query_scalar!(r#"select max(run_at) as "last!" from background_jobs where status = 'pending'"#)
            .fetch_one(db.pool())
            .await
            .unwrap();
    assert!((last - plan.until).abs() < TimeDelta::seconds(5));
    assert_eq!(plan_redrive(db.pool(), Fingerprint(3), pace).await.unwrap().jobs, 0);
}
