//! Workers that die, stop or sleep in the middle of a sync: it ends complete, once, at one price. And in the middle of
//! everybody's reset: each period begins once.

use std::time::Duration;

use greenroom_queue::{Queue, enqueue};
use greenroom_sandbox::{Fault, Rule};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Connection as _;

use crate::process::WorkerProcess;
use crate::world::{Creator, World};

const QUEUES: &str = "youtube,housekeeping";
/// A bystander serves no sync: it is there to lead the sweeping, as some worker of a pool always does.
const BYSTANDER: &str = "housekeeping";

async fn bystander(world: &World) -> WorkerProcess {
    let bystander = WorkerProcess::start(world, BYSTANDER);
    world.until("select exists (select from greenroom.leaders where role = 'sweeper')").await;
    bystander
}

/// Nothing of the killed worker's is left half-way: the rows there are were stored whole.
async fn is_in_the_middle(world: &World) {
    let state = "select status || ' ' || attempt || ' ' || crashes from background_jobs";
    assert_eq!(world.list(state).await, ["running 1 0"]);
    assert_eq!(world.list("select status from sync_logs").await, ["pending"]);
    assert!(world.number("select count(*) from youtube_comments").await > 0, "it has not begun");
}

/// Returns how many calls an undisturbed sync makes.
async fn calls_of_a_whole_sync(world: &World, creator: &Creator) -> u64 {
    let job = world.schedule(creator).await;
    world.until_idle().await;
    world.report(job).await.calls.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sync_is_carried_on_by_a_new_process() {
    let world = World::new(60, 3_000).await;
    let creator = world.creator().await;
    let job = world.request(&creator).await;
    let killed = WorkerProcess::start(&world, QUEUES);
    world.until_calls(60).await;
    killed.kill();
    is_in_the_middle(&world).await;

    // Alone: it must first inherit the sweeper's role of the dead one.
    let mut heir = WorkerProcess::start(&world, QUEUES);
    let rescued = world.until("select crashes = 1 from background_jobs").await;
    assert!(rescued < Duration::from_secs(30), "rescued only after {rescued:?}");
    world.until_idle().await;

    world.was_synced_once(&creator, job).await;
    assert!(world.report(job).await.resumed);
    let state = "select attempt || ' ' || crashes from background_jobs";
    assert_eq!(world.list(state).await, ["1 1"], "the crash burned no attempt");
    assert_eq!(world.list("select outcome from greenroom.attempts").await, ["crashed"]);
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_gives_a_long_sync_back_and_another_goes_on() {
    let world = World::new(60, 3_000).await;
    let creator = world.creator().await;
    let job = world.request(&creator).await;
    let mut stopped = WorkerProcess::start(&world, QUEUES);
    world.until_calls(60).await;
    let (status, took) = stopped.stop().await;
    assert!(status.success(), "{status}");
    // GREENROOM_ENV=test gives 4 s; the sync stops at its next page.
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    let state = "select status || ' ' || attempt || ' ' || crashes from background_jobs";
    assert_eq!(world.list(state).await, ["pending 0 0"]);
    assert_eq!(world.list("select outcome from greenroom.attempts").await, ["released"]);
    assert_eq!(world.list("select status from sync_logs").await, ["pending"]);
    let signed_on = "select to_jsonb(w)::text from greenroom.workers w";
    assert_eq!(world.list(signed_on).await, [""; 0], "it did not sign off");
    let before = world.calls();

    let mut heir = WorkerProcess::start(&world, QUEUES);
    world.until_idle().await;
    world.was_synced_once(&creator, job).await;
    assert_eq!(world.list("select attempt || ' ' || crashes from background_jobs").await, ["1 0"]);
    let both = world.calls();
    let whole = calls_of_a_whole_sync(&world, &creator).await;
    assert!(before >= whole / 4, "{before} calls of {whole} are no middle");
    assert!(
        both < whole + before / 2,
        "{both} calls, where {whole} bring everything and {before} had been made"
    );
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_who_wakes_when_its_job_is_anothers_changes_nothing() {
    let world = World::new(60, 3_000).await;
    let creator = world.creator().await;
    let _bystander = bystander(&world).await;
    let job = world.request(&creator).await;
    let mut sleeper = WorkerProcess::start(&world, "youtube");
    world.until_calls(30).await;
    // It falls asleep while it says that it lives, having just looked after its lease, and while it waits
    // for answers: so it wakes with pages to store, before it finds out by itself that it may not.
    let mut conn = world.pool().acquire().await.unwrap();
    let mut lock = conn.begin().await.unwrap();
    sqlx::query("select from greenroom.workers where queues = '{youtube}' for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    world.until("select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')").await;
    let late = Fault::Delay { millis: 2_000 };
    world.sandbox.inject(Rule { endpoint: None, after: 0, times: None, fault: late });
    tokio::time::sleep(Duration::from_millis(200)).await;
    sleeper.send("-STOP");
    world.sandbox.clear_faults();
    let asleep_at = world.calls();
    let mut heir = WorkerProcess::start(&world, "youtube");
    world.until("select crashes = 1 and status = 'running' from background_jobs").await;
    world.until_calls(asleep_at + 10).await;
    sleeper.send("-CONT");
    world.until_idle().await;
    lock.rollback().await.unwrap();

    assert!(sleeper.stop().await.0.success());
    assert!(sleeper.log().contains("lease was lost"), "it did not notice:\n{}", sleeper.log());
    world.was_synced_once(&creator, job).await;
    assert_eq!(world.list("select attempt || ' ' || crashes from background_jobs").await, ["1 1"]);
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_the_last_page_and_the_end_has_charged_nothing() {
    let world = World::new(20, 600).await;
    let creator = world.creator().await;
    let _bystander = bystander(&world).await;
    let job = world.request(&creator).await;

    // The closing transaction records the quota: whoever locks that table holds it up in its middle.
    let mut conn = world.pool().acquire().await.unwrap();
    let mut lock = conn.begin().await.unwrap();
    sqlx::query("lock table greenroom.quota_usage in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let killed = WorkerProcess::start(&world, "youtube");
    world.until("select exists (select from pg_locks where not granted and relation = 'greenroom.quota_usage'::regclass)").await;
    killed.kill();
    let before = world.calls();
    lock.rollback().await.unwrap();
    assert_eq!(world.number("select count(*) from credit_usage_events").await, 0);

    let mut heir = WorkerProcess::start(&world, "youtube");
    world.until_idle().await;
    world.was_synced_once(&creator, job).await;
    assert_eq!(world.calls() - before, 1, "all but the channel itself was there already");
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_as_soon_as_its_end_is_committed_has_charged_once() {
    let world = World::new(3, 30).await;
    let creator = world.creator().await;
    let _bystander = bystander(&world).await;
    let job = world.request(&creator).await;
    let killed = WorkerProcess::start(&world, "youtube");
    world.until("select status = 'completed' from background_jobs").await;
    killed.kill();
    let calls = world.calls();

    // Longer than the dead one's lease: who believed its work undone would do it, and charge it, again.
    let mut heir = WorkerProcess::start(&world, "youtube");
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.until_idle().await;
    world.was_synced_once(&creator, job).await;
    assert_eq!(world.calls(), calls);
    assert_eq!(world.number("select count(*) from credit_usage_events").await, 1);
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_that_are_killed_begin_every_period_once() {
    let world = World::new(1, 1).await;
    sqlx::raw_sql(
        "with person as (insert into users (email) select n || '@example.test' from generate_series(1, 3000) n returning id)
         insert into user_credit_balances (user_id, reset_anchor_at, last_reset_at, next_reset_at)
         select id, greenroom.now() - interval '32 days', greenroom.now() - interval '32 days',
                greenroom.nth_reset(greenroom.now() - interval '32 days', 1) from person",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _bystander = bystander(&world).await;
    let reset = greenroom_worker::jobs(None).build("credits.reset_monthly", "{}", None).unwrap();
    let enqueued = enqueue(&mut world.pool().acquire().await.unwrap(), &[reset]).await.unwrap();
    Queue::new(world.pool().clone()).wake(&enqueued);
    let small = [("GREENROOM__CREDITS__RESET_BATCH", "50")];
    let due = async || {
        world.number("select count(*) from user_credit_balances where next_reset_at <= greenroom.now()").await
    };
    for part in [
        "select count(*) > 500 from greenroom.credit_grants",
        "select count(*) > 1500 from greenroom.credit_grants",
    ] {
        let killed = WorkerProcess::start_in(&world, "credits", &small);
        world.until(part).await;
        killed.kill();
        assert!(due().await > 0, "it was done before it could be killed");
        world.until("select status <> 'running' from background_jobs").await;
    }
    let mut last = WorkerProcess::start_in(&world, "credits", &small);
    world.until_idle().await;
    assert_eq!(due().await, 0);
    let once = "select count(*) from user_credit_balances b
                 where current_balance = 100 and month_start_balance = 100 and total_earned = 100
                   and (select count(*) from greenroom.credit_grants g where g.user_id = b.user_id) = 1";
    assert_eq!(world.number(once).await, 3_000);
    assert_eq!(world.list("select status from sync_logs").await, ["success"]);
    assert!(last.stop().await.0.success());
}

/// Kills one worker after the other at moments that the seed decides.
///
/// A job whose worker dies three times is quarantined; an operator who knows better puts it back.
async fn outlasts(kills: u16, seed: u64, videos: u32, comments: u64) {
    let world = World::new(videos, comments).await;
    let creator = world.creator().await;
    let _bystander = bystander(&world).await;
    let job = world.request(&creator).await;
    let mut dice = StdRng::seed_from_u64(seed);
    let mut quarantined = 0;
    for kill in 1..=kills {
        let worker = WorkerProcess::start(&world, "youtube");
        world.until_calls(world.calls() + dice.random_range(1..=30)).await;
        // Calls come in steps of the latency: this strikes at commits as well.
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..20))).await;
        worker.kill();
        world.until("select status <> 'running' from background_jobs").await;
        let state = world.list("select coalesce(failure, status) from background_jobs").await.remove(0);
        match state.as_str() {
            "quarantined" => {
                quarantined += 1;
                greenroom_queue::retry(world.pool(), job).await.unwrap();
            }
            state => assert_eq!(state, "pending", "after {kill} kills"),
        }
    }
    assert_eq!(quarantined, kills / 3);
    let mut last = WorkerProcess::start(&world, "youtube");
    world.until_idle().await;
    world.was_synced_once(&creator, job).await;
    assert_eq!(world.number("select attempt::bigint from background_jobs").await, 1);
    assert!(last.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_at_random_leave_no_mark() {
    outlasts(5, 7, 60, 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 3 minutes"]
async fn long_fifty_kills_at_random_leave_no_mark() {
    outlasts(50, 11, 400, 30_000).await;
}
