//! Candidates for the sweeper's role, of whom the leader falls asleep.

use std::time::Duration;

use greenroom_queue::NewJob;

use super::errand::{Does, Errand};
use super::house::{House, Process};

const TERM: Duration = Duration::from_secs(15);

async fn stop_leaders(rounds: usize) {
    let house = House::new().await;
    let crew: Vec<Process> = (0..5).map(|_| house.worker().slots(2).start()).collect();
    house.until("all are there", "count(*) = 5 from greenroom.workers").await;
    let mut jobs = 0;
    for _ in 0..rounds {
        let led = "exists (select from greenroom.leaders l join greenroom.workers w on w.id = l.holder
                    where l.role = 'sweeper' and l.until > greenroom.now())";
        house.until("one leads", led).await;
        let leader =
            "select w.pid::bigint from greenroom.leaders l join greenroom.workers w on w.id = l.holder";
        let leader = house.number(leader).await;
        let stopped = crew.iter().find(|process| i64::from(process.id()) == leader).unwrap();
        stopped.send("-STOP");
        // What only a sweep moves: a job that becomes due, and one that nobody announced.
        let due: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("select greenroom.now() + interval '1 s'")
                .fetch_one(&house.pool)
                .await
                .unwrap();
        let job = NewJob::of(&Errand { does: Does::Wait(0) }).unwrap().at(due);
        house.queue.enqueue_many(&[job]).await.unwrap();
        jobs += 1;
        let other = format!(
            "exists (select from greenroom.leaders l join greenroom.workers w on w.id = l.holder where w.pid <> {leader})"
        );
        let took = house.until("another leads", &other).await;
        // A term, and the third of one after which a candidate asks again.
        assert!(took < TERM * 4 / 3 + Duration::from_secs(3), "another led only after {took:?}");
        house
            .within(
                Duration::from_secs(10),
                "the due job is done",
                &format!("count(*) = {jobs} from effects"),
            )
            .await;
        stopped.send("-CONT");
        println!("another led after {took:?}");
        // The old one believes in its term no longer than that lasted; work goes on under both.
        jobs += house.errands(50, Does::Wait(5)).await.len();
        house.until("all is done", &format!("count(*) = {jobs} from effects")).await;
    }
    house.until_idle(Duration::from_secs(10)).await;
    house.all_was_done_once(jobs).await;
    let terms = usize::try_from(house.number("select term from greenroom.leaders").await).unwrap();
    assert_eq!(terms, rounds + 1, "the role changed hands more often than leaders were stopped");
    for process in crew {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_sleeps() {
    stop_leaders(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 4 minutes"]
async fn long_another_leads_when_the_leader_sleeps() {
    stop_leaders(10).await;
}
