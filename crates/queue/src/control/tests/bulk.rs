use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use super::*;
use crate::control::{
    Act, BulkOutcome, Failure, Filter, Pace, Skip, Status, cancel_all, count_all, delete_all, retry_all,
};
use crate::{Fingerprint, QueueError};

fn kind(kind: &str) -> Filter {
    Filter { kind: Some(kind.to_owned()), ..Filter::default() }
}

fn done(done: u64, skipped: &[(Skip, u64)]) -> BulkOutcome {
    BulkOutcome { done, requested: 0, skipped: skipped.iter().copied().collect() }
}

#[tokio::test]
async fn what_is_open_is_cancelled_in_batches_and_nothing_else() {
    let db = Database::new().await;
    Row::of("a", "pending").insert_many(&db, 1_100).await;
    Row::of("a", "running").insert_many(&db, 3).await;
    Row::of("a", "completed").insert_many(&db, 2).await;
    Row::of("b", "pending").insert(&db).await;
    let counts = count_all(db.pool(), &kind("a"), Act::Cancel).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|count| (count.status.as_str(), count.jobs)).collect();
    assert_eq!(counts, [("pending", 1_100), ("running", 3)]);

    let mut told = Vec::new();
    let outcome = cancel_all(db.pool(), &kind("a"), |so_far| told.push(so_far.done)).await.unwrap();
    assert_eq!(outcome, BulkOutcome { requested: 3, ..done(1_100, &[]) });
    assert_eq!(told, [500, 1_000, 1_100, 1_100]);
    assert_eq!(
        stand(&db).await,
        [("completed", 2), ("failed: cancelled", 1_100), ("pending", 1), ("running", 3)]
            .map(|(s, n)| (s.to_owned(), n))
    );
    let noted = sqlx::query_scalar!("select count(*) from greenroom.attempts where outcome = 'cancelled'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(noted, Some(1_100));
    // Again is the rest: nothing that waits, and the same that run.
    let again = cancel_all(db.pool(), &kind("a"), |_| {}).await.unwrap();
    assert_eq!(again, BulkOutcome { requested: 3, ..done(0, &[]) });
}

#[tokio::test]
async fn what_failed_is_put_back_but_for_keys_that_others_hold() {
    let db = Database::new().await;
    Row::of("a", "exhausted").insert_many(&db, 3).await;
    let held =
        Row { key: Some("k"), millis: 1_700_000_001_000, ..Row::of("a", "discarded") }.insert(&db).await;
    Row { key: Some("k"), ..Row::of("b", "pending") }.insert(&db).await;
    // Two with a key of their own: the newer one goes.
    let twins = Row { key: Some("t"), millis: 1_700_000_002_000, ..Row::of("a", "exhausted") }
        .insert_many(&db, 2)
        .await;
    let waiting = Row::of("a", "pending").insert(&db).await;

    let outcome = retry_all(db.pool(), &kind("a"), Pace::AtOnce, |_| {}).await.unwrap();
    assert_eq!(outcome, done(4, &[(Skip::KeyHeld, 2)]));
    let failed = sqlx::query_scalar!("select id from background_jobs where status = 'failed' order by id")
        .fetch_all(db.pool())
        .await
        .unwrap();
    assert_eq!(failed, [held, twins[0]]);
    let now = db.clock().now();
    let run_at = async |id: Uuid| {
        sqlx::query_scalar!("select run_at from background_jobs where id = $1", id)
            .fetch_one(db.pool())
            .await
            .unwrap()
    };
    assert!(run_at(twins[1]).await <= now && run_at(waiting).await > now);

    // Waiting ones run now if they are asked for.
    let pending = Filter { status: Some(Status::Pending), ..kind("a") };
    assert_eq!(retry_all(db.pool(), &pending, Pace::AtOnce, |_| {}).await.unwrap(), done(5, &[]));
    assert!(run_at(waiting).await <= db.clock().now());
}

#[tokio::test]
async fn a_row_that_is_refused_holds_up_no_other() {
    let db = Database::new().await;
    let ids = Row::of("a", "exhausted").insert_many(&db, 20).await;
    // What a race with an enqueue looks like, and something worse.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create function refuse() returns trigger language plpgsql as $$ begin
             if new.id = '{}' then raise unique_violation; end if;
             if new.id = '{}' then raise 'no'; end if;
             return new;
         end $$;
         create trigger refuse before update on background_jobs for each row execute function refuse()",
        ids[4], ids[9]
    )))
    .execute(db.pool())
    .await
    .unwrap();
    let outcome = retry_all(db.pool(), &kind("a"), Pace::AtOnce, |_| {}).await.unwrap();
    assert_eq!(outcome, done(18, &[(Skip::KeyHeld, 1), (Skip::Refused, 1)]));
    assert_eq!(stand(&db).await, [("failed: exhausted".to_owned(), 2), ("pending".to_owned(), 18)]);
}

#[tokio::test]
async fn a_pace_is_kept_also_over_an_interruption() {
    let db = Database::new().await;
    let ids = Row { fingerprint: Some(5), ..Row::of("a", "exhausted") }.insert_many(&db, 1_200).await;
    let filter = Filter { fingerprint: Some(Fingerprint(5)), ..Filter::default() };
    let pace = Pace::PerMinute(NonZeroU32::new(60).unwrap());
    let begun = db.clock().now();
    let batch = Notify::new();
    tokio::select! {
        biased;
        () = batch.notified() => {}
        outcome = retry_all(db.pool(), &filter, pace, |_| batch.notify_one()) => unreachable!("{outcome:?}"),
    }
    let left = count_all(db.pool(), &filter, Act::Retry).await.unwrap()[0].jobs;
    assert!((200..=700).contains(&left), "{left}");
    retry_all(db.pool(), &filter, pace, |_| {}).await.unwrap();

    let turns: Vec<DateTime<Utc>> =
        sqlx::query_scalar!("select run_at from background_jobs where status = 'pending' order by id")
            .fetch_all(db.pool())
            .await
            .unwrap();
    assert_eq!(turns.len(), ids.len());
    for (turn, second) in turns.iter().zip(0..) {
        let late = *turn - begun - TimeDelta::seconds(second);
        assert!((TimeDelta::zero()..TimeDelta::seconds(10)).contains(&late), "turn {second} is {late} late");
    }
}

#[tokio::test]
async fn what_is_finished_is_deleted_with_its_attempts() {
    let db = Database::new().await;
    let ended = Row::of("a", "exhausted").insert(&db).await;
    Row::of("a", "completed").insert_many(&db, 2).await;
    let open = Row::of("a", "pending").insert(&db).await;
    sqlx::query!(
        "insert into greenroom.attempts (job_id, attempt, outcome) values ($1, 1, 'exhausted')",
        ended
    )
    .execute(db.pool())
    .await
    .unwrap();
    assert_eq!(delete_all(db.pool(), &kind("a"), |_| {}).await.unwrap(), done(3, &[]));
    let left = sqlx::query_scalar!("select id from background_jobs").fetch_all(db.pool()).await.unwrap();
    assert_eq!(left, [open]);
}

#[tokio::test]
async fn what_cannot_be_done_to_a_status_is_refused_before_anything_is() {
    let db = Database::new().await;
    for (act, status) in [
        (Act::Retry, Status::Running),
        (Act::Retry, Status::Completed),
        (Act::Cancel, Status::Failed),
        (Act::Delete, Status::Pending),
    ] {
        let filter = Filter { status: Some(status), ..Filter::default() };
        assert!(
            matches!(count_all(db.pool(), &filter, act).await, Err(QueueError::NotForThese(_))),
            "{act:?}"
        );
    }
    let discarded = Filter { failure: Some(Failure::Discarded), ..Filter::default() };
    assert!(matches!(cancel_all(db.pool(), &discarded, |_| {}).await, Err(QueueError::NotForThese(_))));
}
