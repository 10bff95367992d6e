//! Senders that are killed while they ask a mail server: no news are sent twice, and what people have to know is not lost.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use greenroom_queue::Queue;
use greenroom_sandbox::{Endpoint, Fault, Mishap, Point, Rule};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::process::WorkerProcess;
use crate::world::World;

const QUEUES: &str = "campaigns,mail,housekeeping";
/// What is not settled yet, by a job or by its state.
const IS_SETTLED: &str = "select not exists (
    select from background_jobs where status in ('pending', 'running') and job_type in ('mail.send', 'campaigns.plan'))";

/// Makes so many people on trial, whose step is service, and as many on the waiting list, whose step is marketing.
async fn people(world: &World, each: i32) {
    sqlx::query(
        "insert into users (email, subscription_status, trial_start_date, trial_end_date)
         select 'service' || n || '@example.test', 'trial', greenroom.now() - interval '9 days',
                greenroom.now() + interval '5 days'
           from generate_series(1, $1) n",
    )
    .bind(each)
    .execute(world.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into users (email, marketing_opt_in, joined_waiting_list_at)
         select 'marketing' || n || '@example.test', true, greenroom.now() - interval '30 days'
           from generate_series(1, $1) n",
    )
    .bind(each)
    .execute(world.pool())
    .await
    .unwrap();
}

/// Starts a process that serves queues and sends to the world's mail server, at any hour.
fn process(world: &World, queues: &str, timeout_secs: u32) -> WorkerProcess {
    let (ready, launch) =
        (world.sandbox.ready(), world.db.clock().now() + TimeDelta::days(14) - TimeDelta::hours(1));
    let (host, port) = ready.smtp.rsplit_once(':').unwrap();
    // Truncated to the day before, so that every process has the same.
    let launch = launch.date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc().to_rfc3339();
    WorkerProcess::start_in(
        world,
        queues,
        &[
            ("GREENROOM__MAIL__TRANSPORT", "smtp"),
            ("GREENROOM__MAIL__SMTP_HOST", host),
            ("GREENROOM__MAIL__SMTP_PORT", port),
            ("GREENROOM__MAIL__SMTP_SECURITY", "none"),
            ("GREENROOM__MAIL__POSTAL_ADDRESS", "1 Stage Door, London"),
            ("GREENROOM__MAIL__TIMEOUT_SECS", &timeout_secs.to_string()),
            ("GREENROOM__MAIL__RATE_PER_SEC", "10000"),
            ("GREENROOM__CAMPAIGNS__WINDOW_OPENS", "00:00"),
            ("GREENROOM__CAMPAIGNS__WINDOW_CLOSES", "00:00"),
            ("GREENROOM__CAMPAIGNS__WAITLIST__LAUNCH_AT", &launch),
            ("UNSUBSCRIBE_KEY", "a key of the tests and nothing else"),
        ],
    )
}

fn sender(world: &World, timeout_secs: u32) -> WorkerProcess {
    process(world, QUEUES, timeout_secs)
}

async fn enqueue(world: &World, kind: &str) {
    let job = greenroom_worker::jobs(None).build(kind, "{}", None).unwrap();
    Queue::new(world.pool().clone()).enqueue_many(&[job]).await.unwrap();
}

/// Lets time pass until what was deferred, rescued or has lost its job has come back.
async fn settle(world: &World) {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.db.advance(Duration::from_mins(7)).await;
        enqueue(world, "mail.sweep").await;
        world.until("select not exists (select from background_jobs where status = 'running')").await;
        let open = "select count(*) from background_jobs where status in ('pending', 'running') and job_type = 'mail.send'";
        if world.number(open).await == 0 {
            break;
        }
    }
    world.until(IS_SETTLED).await;
}

/// Counts what the server has taken, by address.
fn taken(world: &World) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::new();
    for mail in world.sandbox.mails() {
        *taken.entry(mail.to[0].clone()).or_default() += 1;
    }
    taken
}

/// Returns each message: the address, its state and its reason.
async fn rows(world: &World) -> Vec<String> {
    let sql = "select u.email || ' ' || o.state || ' ' || coalesce(o.reason, '')
                 from greenroom.email_outbox o join users u on u.id = o.user_id order by 1";
    world.list(sql).await
}

/// A point at which a sender is killed: the way that a message goes, in its order.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In the transaction that decides, before it is committed.
    Deciding,
    /// After a command of the protocol, which the server does not answer.
    Command(Point),
    /// The server has taken the message and does not say so.
    Taken,
    /// The server has said so; the transaction that writes it down is not committed.
    WritingDown,
}

/// Kills a sender at a point, lets another go on, and tells what became of a message of each class: its row, and how often
/// it was taken.
async fn killed_at(at: At) -> [(String, u32); 2] {
    let world = World::new(1, 0).await;
    people(&world, 1).await;
    // Planned before anybody sends, so that what stands still below is the sender.
    enqueue(&world, "campaigns.plan").await;
    let mut planner = process(&world, "campaigns", 60);
    world.until("select count(*) = 2 from greenroom.email_outbox where state = 'queued'").await;
    assert!(planner.stop().await.0.success());

    let mut lock = world.pool().begin().await.unwrap();
    match at {
        At::Deciding => {
            sqlx::query("select from greenroom.email_outbox for update").execute(&mut *lock).await.unwrap();
        }
        At::WritingDown => {
            sqlx::query("select from users for update").execute(&mut *lock).await.unwrap();
        }
        At::Command(point) => {
            let rule = Rule::next(Endpoint::Smtp, Fault::Mail(Mishap::Hang { at: point }));
            world.sandbox.inject(Rule { times: None, ..rule });
        }
        At::Taken => {
            let rule = Rule::next(Endpoint::Smtp, Fault::Mail(Mishap::AcceptAndHang));
            world.sandbox.inject(Rule { times: None, ..rule });
        }
    }
    let doomed = sender(&world, 60);
    if let At::Deciding | At::WritingDown = at {
        let wait = "select count(*) = 2 from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock' and query like '%email_outbox%'
                        or datname = current_database() and wait_event_type = 'Lock' and query like '%update users%'";
        world.until(wait).await;
    } else {
        while world.sandbox.mails_hanging() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    doomed.kill();
    lock.rollback().await.unwrap();
    world.sandbox.clear_faults();
    let mut next = sender(&world, 60);
    settle(&world).await;
    assert!(next.stop().await.0.success());
    let (taken, rows) = (taken(&world), rows(&world).await);
    ["service1@example.test", "marketing1@example.test"].map(|email| {
        let row = rows.iter().find(|row| row.starts_with(email)).unwrap();
        (row[email.len()..].trim().to_owned(), taken.get(email).copied().unwrap_or(0))
    })
}

/// What is certainly not sent is sent; news of which that is not certain are not sent again; what people have to know is.
async fn ends(at: At, service: (&str, u32), marketing: (&str, u32)) {
    let ended = killed_at(at).await;
    let wanted = [service, marketing].map(|(state, taken)| (state.to_owned(), taken));
    assert_eq!(ended, wanted, "killed at {at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_is_decided() {
    ends(At::Deciding, ("sent", 1), ("sent", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_senders_name() {
    ends(At::Command(Point::Mail), ("sent", 1), ("unknown cut_off", 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_recipients_name() {
    ends(At::Command(Point::Rcpt), ("sent", 1), ("unknown cut_off", 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_message_is_begun() {
    ends(At::Command(Point::Data), ("sent", 1), ("unknown cut_off", 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_last_dot() {
    ends(At::Command(Point::Dot), ("sent", 1), ("unknown cut_off", 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_message_is_taken() {
    ends(At::Taken, ("sent", 2), ("unknown cut_off", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_is_written_down() {
    ends(At::WritingDown, ("sent", 2), ("unknown cut_off", 1)).await;
}

/// Kills senders again and again while a server goes wrong in every way it can, and looks at what was taken.
async fn killed_senders(each: i32, kills: u32, seed: u64) {
    let world = World::new(1, 0).await;
    people(&world, each).await;
    let mut dice = StdRng::seed_from_u64(seed);
    let every = |n: u64, mishap: Mishap| {
        let rule = Rule::next(Endpoint::Smtp, Fault::Mail(mishap));
        Rule { after: n, times: Some(3), ..rule }
    };
    for n in 0..u64::from(kills) {
        let place = n * 15;
        world.sandbox.inject(every(place + 2, Mishap::AcceptAndDie));
        world.sandbox.inject(every(place + 5, Mishap::Drop { at: Point::Dot }));
        world.sandbox.inject(every(place + 9, Mishap::Hang { at: Point::Dot }));
        let later = Mishap::Answer { at: Point::Rcpt, code: 451, text: "4.7.1 later".to_owned() };
        world.sandbox.inject(every(place + 12, later));
    }
    enqueue(&world, "campaigns.plan").await;
    let mut senders: Vec<_> = (0..3).map(|_| sender(&world, 2)).collect();
    for kill in 0..kills {
        // So that every kill falls among sends, however fast this machine is.
        let target = usize::try_from(kill + 1).unwrap() * usize::try_from(each).unwrap()
            / usize::try_from(kills).unwrap();
        let begun = std::time::Instant::now();
        while world.sandbox.mails_taken() < target && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..60))).await;
        senders.remove(dice.random_range(0..senders.len())).kill();
        senders.push(sender(&world, 2));
    }
    settle(&world).await;

    let taken = taken(&world);
    let rows = rows(&world).await;
    assert_eq!(rows.len(), 2 * usize::try_from(each).unwrap(), "{rows:?}");
    let (mut unknown, mut again) = (0, 0);
    for row in &rows {
        let (email, state) = row.split_once(' ').unwrap();
        let times = taken.get(email).copied().unwrap_or(0);
        match (email.starts_with("marketing"), state.trim()) {
            (true, "sent") => assert_eq!(times, 1, "{row}"),
            (true, "unknown no_answer" | "unknown cut_off") => {
                assert!(times <= 1, "{row}: taken {times} times");
                unknown += 1;
            }
            (false, "sent") => {
                assert!((1..=2).contains(&times), "{row}: taken {times} times");
                again += u32::from(times == 2);
            }
            // Twice nobody knew: that is told to operators, and never silently lost.
            (false, "failed unknown") => unknown += 1,
            _ => panic!("{row}: taken {times} times"),
        }
    }
    assert!(unknown + again > 0, "nothing was cut off: the kills fell between sends");
    for mut sender in senders {
        assert!(sender.stop().await.0.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_senders_send_no_news_twice_and_lose_nothing() {
    killed_senders(60, 3, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 1 minute"]
async fn long_killed_senders_send_no_news_twice_and_lose_nothing() {
    killed_senders(500, 20, 2).await;
}
