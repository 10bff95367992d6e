//! Processes that are killed, stopped or asked to go, in the middle of their work.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::errand::Does;
use super::house::{House, Process};
use super::wire::Wire;

/// Kills a process each time fifty more jobs are done; each has one job in hand.
async fn kill_one_job_in_fifty(kills: usize) {
    let house = House::new().await;
    let _bystander = if kills < 20 { Some(house.bystander().await) } else { None };
    let jobs = (kills + 1) * 50;
    house.errands(jobs, Does::Wait(5)).await;
    let mut crew: Vec<Process> = (0..4).map(|_| house.worker().start()).collect();
    let mut dice = StdRng::seed_from_u64(1);
    for kill in 1..=kills {
        let struck = format!(
            "(select count(*) >= {} from effects) and exists (select from background_jobs where status = 'running')",
            kill * 50
        );
        house.until("fifty more are done", &struck).await;
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..10))).await;
        crew.remove(dice.random_range(0..crew.len())).kill(&house).await;
        crew.push(house.worker().start());
    }
    house.until_idle(Duration::from_mins(2)).await;

    let again = house.all_was_done_once(jobs).await;
    let killed = i64::try_from(kills).unwrap();
    assert!(again <= killed, "{again} jobs were run again after {kills} kills");
    let attempts = "select count(*) from background_jobs where attempt <> 1";
    assert_eq!(house.number(attempts).await, 0, "a crash burns no attempt");
    let worst = house
        .number(
            "select coalesce(max(extract(epoch from a.finished_at - k.at) * 1000), 0)::bigint
               from greenroom.attempts a join kills k on k.worker = a.worker_id where a.outcome = 'crashed'",
        )
        .await;
    let crashed = house.number("select count(*) from greenroom.attempts where outcome = 'crashed'").await;
    assert!(crashed > 0, "nobody was hit");
    assert!(worst < 30_000, "the worst rescue took {worst} ms");
    println!("{kills} kills, {jobs} jobs, {crashed} rescued, {again} run again, worst rescue {worst} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_in_fifty_is_killed_and_none_is_lost_or_done_twice() {
    kill_one_job_in_fifty(5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 4 minutes"]
async fn long_one_job_in_fifty_is_killed_and_none_is_lost_or_done_twice() {
    kill_one_job_in_fifty(200).await;
}

/// A transaction has committed and nobody heard so: its process dies before the answer, or outlives it.
async fn lose_answers_to_commits(rounds: usize) {
    let house = House::new().await;
    let bystander = house.bystander().await;
    let wire = Wire::to(&house.url).await;
    for round in 0..rounds {
        let process = house.worker().handlers_by(&wire.url).start();
        wire.lose_next_commit();
        house.errands(1, Does::Wait(0)).await;
        house.until("it is committed", &format!("count(*) = {} from effects", round + 1)).await;
        assert!(wire.has_lost_it());
        if round % 2 == 0 {
            process.kill(&house).await;
        } else {
            // It hears nothing, gives up in the end, and has nothing to say about the job any more.
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            drop(process);
        }
    }
    house.until_idle(Duration::from_secs(30)).await;
    // Whoever thought the jobs lost would rescue and run them now.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(house.all_was_done_once(rounds).await, 0, "run again");
    assert_eq!(house.number("select count(*) from greenroom.attempts").await, 0);
    bystander.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_has_happened_once() {
    lose_answers_to_commits(2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 2 minutes"]
async fn long_a_commit_whose_answer_is_lost_has_happened_once() {
    lose_answers_to_commits(40).await;
}

/// Asks one process after the other to stop, as a rolling release does.
async fn roll(every: Duration, times: usize, steps: u32) {
    let house = House::new().await;
    let jobs = 12;
    house.errands(jobs, Does::Steps(steps, 50)).await;
    let start = || house.worker().slots(4).start();
    let mut crew: Vec<Process> = (0..3).map(|_| start()).collect();
    house.until("it has begun", "count(*) >= 12 from steps").await;
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let stopped = crew.remove(0).stop();
        crew.push(start());
        slowest = slowest.max(stopped.await);
        tokio::time::sleep(every).await;
    }
    house.until_idle(Duration::from_mins(5)).await;
    house.all_was_done_once(jobs).await;
    let burned = "select count(*) from background_jobs where attempt <> 1 or crashes <> 0";
    assert_eq!(house.number(burned).await, 0, "a stop burned an attempt");
    assert_eq!(house.list("select distinct outcome from greenroom.attempts").await, ["released"]);
    let released = house.number("select count(*) from greenroom.attempts").await;
    let taken = house.list("select count(*) || ' ' || count(distinct (job, step)) from steps").await;
    let wanted = jobs * steps as usize;
    assert_eq!(taken, [format!("{wanted} {wanted}")], "no step was lost or taken twice");
    assert!(slowest < Duration::from_secs(5), "a process took {slowest:?} to stop");
    println!("{times} stops, {released} jobs given back, {wanted} steps, slowest stop {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_release_burns_no_attempt_and_loses_no_step() {
    roll(Duration::from_millis(300), 6, 80).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 5 minutes"]
async fn long_a_rolling_release_burns_no_attempt_and_loses_no_step() {
    roll(Duration::from_secs(5), 50, 5_000).await;
}

/// Puts a process to sleep for longer than its leases last, and wakes it when its jobs are another's.
async fn sleep_past_the_lease(rounds: usize) {
    let house = House::new().await;
    let _bystander = house.bystander().await;
    let owners = ["ann", "bob", "cleo"];
    // A round takes five seconds, in which those who are awake go on.
    let turns = rounds * 20;
    for owner in owners {
        house.turns(turns, owner, Does::Wait(300)).await;
    }
    let crew: Vec<Process> = (0..2).map(|_| house.worker().slots(3).start()).collect();
    let over =
        "exists (select from background_jobs where status = 'running' group by lane having count(*) > 1)";
    for round in 0..rounds {
        let sleeper = &crew[round % crew.len()];
        let holds = format!(
            "exists (select from background_jobs b join greenroom.workers w on w.id = b.worker_id
                      where b.status = 'running' and w.pid = {})",
            sleeper.id()
        );
        house.until("it has a job", &holds).await;
        sleeper.send("-STOP");
        // The statement it had under way may still take effect; then nothing moves any more.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asleep = Instant::now();
        while asleep.elapsed() < Duration::from_millis(4_500) {
            assert!(!house.holds(over).await, "a lane runs two");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sleeper.send("-CONT");
        let awake = Instant::now();
        while awake.elapsed() < Duration::from_millis(500) {
            assert!(!house.holds(over).await, "a lane runs two");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    house.until_idle(Duration::from_mins(5)).await;
    house.all_was_done_once(owners.len() * turns).await;
    let rescued = house.number("select count(*) from greenroom.attempts where outcome = 'crashed'").await;
    assert!(rescued > 0, "nobody lost a lease");
    println!("{rounds} sleeps, {rescued} jobs rescued");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 3 minutes"]
async fn long_who_sleeps_past_its_lease_changes_nothing_and_breaks_no_cap() {
    sleep_past_the_lease(25).await;
}
