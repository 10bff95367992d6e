//! Networks that are cut without a word, one direction at a time; and words that nobody hears.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use greenroom_queue::{NewJob, enqueue};

use super::errand::{Does, Errand};
use super::house::{House, Process};
use super::wire::Wire;

/// What cuts one direction of a way, or mends it.
type Cut<'a> = dyn Fn(bool) + 'a;

/// Cuts a worker off in the middle of its jobs; another one takes them, and both go on when it is back.
async fn cut_off(house: &House, mut far: Process, cuts: &[(&str, &Cut<'_>)], length: Duration) {
    let near = house.worker().slots(2).start();
    house.until("both are there", "count(*) = 3 from greenroom.workers").await;
    // Not by the far one's own row: who is away for long is forgotten.
    let near_id = house
        .list(&format!("select id::text from greenroom.workers where pid = {}", near.id()))
        .await
        .remove(0);
    let mut jobs = 0;
    for (which, cut) in cuts {
        jobs += house.errands(40, Does::Wait(100)).await.len();
        let works = format!(
            "exists (select from background_jobs where status = 'running' and worker_id <> '{near_id}')"
        );
        house.until("the far one works", &works).await;
        cut(true);
        // Whatever it held is taken from it and done by the other one, while it is still cut off.
        let took = house.until_idle(length).await;
        tokio::time::sleep(length.saturating_sub(took)).await;
        assert!(far.has_ended().is_none(), "it gave up");
        cut(false);
        near.send("-STOP");
        jobs += house.errands(2, Does::Wait(0)).await.len();
        let back = house.until_idle(Duration::from_mins(1)).await;
        near.send("-CONT");
        println!("{which} cut for {length:?}: the others were done after {took:?}; back after {back:?}");
        assert!(back < Duration::from_secs(20), "the far one came back after {back:?}");
    }
    let again = house.all_was_done_once(jobs).await;
    assert!(again > 0, "nothing was interrupted");
    far.stop().await;
    near.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 1 minute"]
async fn long_a_worker_that_is_cut_off_loses_its_jobs_and_comes_back() {
    let house = House::new().await;
    let bystander = house.bystander().await;
    let wire = Wire::to(&house.url).await;
    let far = house.worker().by(&wire.url).slots(2).start();
    let questions = |cut| wire.hold_questions(cut);
    let answers = |cut| wire.hold_answers(cut);
    cut_off(&house, far, &[("questions", &questions), ("answers", &answers)], Duration::from_secs(25)).await;
    drop(bystander);
}

/// A network namespace with one way out.
struct Far {
    name: String,
    host: Ipv4Addr,
    inside: Ipv4Addr,
}

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Far {
    fn new() -> Self {
        let one = u8::try_from(std::process::id() % 250).unwrap();
        let [host, inside] = [1, 2].map(|last| Ipv4Addr::new(10, 213, one, last));
        let far = Self { name: format!("gr{}", std::process::id()), host, inside };
        let name = &far.name;
        for line in [
            format!("netns add {name}"),
            format!("link add {name}h type veth peer name {name}n"),
            format!("link set {name}n netns {name}"),
            format!("addr add {host}/30 dev {name}h"),
            format!("link set {name}h up"),
            format!("-n {name} addr add {inside}/30 dev {name}n"),
            format!("-n {name} link set {name}n up"),
            format!("-n {name} link set lo up"),
        ] {
            ip(&line);
        }
        far
    }

    /// Sends what goes in to a machine that is not there.
    fn lose_what_goes_in(&self, lose: bool) {
        let (name, inside) = (&self.name, self.inside);
        Self::lose(lose, "neigh", &format!("{inside}"), &format!("{name}h"));
    }

    fn lose_what_comes_out(&self, lose: bool) {
        let (name, host) = (&self.name, self.host);
        Self::lose(lose, &format!("-n {name} neigh"), &format!("{host}"), &format!("{name}n"));
    }

    fn lose(lose: bool, neigh: &str, whom: &str, by: &str) {
        ip(&if lose {
            format!("{neigh} replace {whom} lladdr 02:00:00:00:00:99 dev {by} nud permanent")
        } else {
            format!("{neigh} del {whom} dev {by}")
        });
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        _ = Command::new("ip").args(["link", "del", &format!("{}h", self.name)]).status();
    }
}

async fn cut_the_network(length: Duration) {
    let house = House::new().await;
    let bystander = house.bystander().await;
    let network = Far::new();
    let wire = Wire::from(IpAddr::V4(network.host), &house.url).await;
    let far = house.worker().by(&wire.url).within(&network.name).slots(2).start();
    let out = |cut| network.lose_what_comes_out(cut);
    let into = |cut| network.lose_what_goes_in(cut);
    cut_off(&house, far, &[("what it sends", &out), ("what it hears", &into)], length).await;
    drop(bystander);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs iproute2, and to be root"]
async fn needs_netns_a_worker_whose_network_is_cut_comes_back() {
    cut_the_network(Duration::from_secs(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 3 minutes, as root"]
async fn long_netns_a_worker_whose_network_is_cut_comes_back() {
    cut_the_network(Duration::from_mins(1)).await;
}

/// Enqueues without a word to anybody.
async fn enqueue_silently(jobs: usize) {
    let house = House::new().await;
    let interval =
        [("GREENROOM__QUEUE__SWEEP_INTERVAL_MS", "1000"), ("GREENROOM__QUEUE__POLL_INTERVAL_MS", "1000")];
    let worker =
        interval.into_iter().fold(house.worker().slots(4), |plan, (name, ms)| plan.env(name, ms)).start();
    house.until("somebody sweeps", "exists (select from greenroom.leaders where role = 'sweeper')").await;
    for _ in 0..jobs {
        let job = NewJob::of(&Errand { does: Does::Wait(0) }).unwrap();
        enqueue(&mut house.pool.acquire().await.unwrap(), &[job]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(137)).await;
    }
    house.until_idle(Duration::from_secs(30)).await;
    house.all_was_done_once(jobs).await;
    let worst = "select (max(extract(epoch from started_at - run_at)) * 1000)::bigint from background_jobs";
    let worst = house.number(worst).await;
    println!("{jobs} jobs of which nobody was told: the worst waited {worst} ms");
    // A sweep, a poll, and what a busy machine takes.
    assert!(worst < 2_000 + 1_000, "a job waited {worst} ms");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wake_is_needed() {
    enqueue_silently(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 2 minutes"]
async fn long_no_wake_is_needed() {
    enqueue_silently(800).await;
}
