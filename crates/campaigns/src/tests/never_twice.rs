//! Servers that go wrong at every point: marketing is never sent twice, and what people have to know is not lost.

use chrono::TimeDelta;
use greenroom_sandbox::{Endpoint, Fault, Mishap, Point, Rule};

use super::{World, go_to_hour, to_micros};

/// A world in which a mail of each class is about to be sent.
async fn about_to_send() -> World {
    let world = World::with(Some(TimeDelta::days(14) - TimeDelta::hours(1)), |campaigns, mail| {
        campaigns.window_closes = campaigns.window_opens;
        mail.timeout_secs = 1.try_into().unwrap();
    })
    .await;
    world.on_trial("service", to_micros(world.now()) + TimeDelta::days(5)).await;
    world.waiting("marketing", world.now() - TimeDelta::days(3)).await;
    world
}

async fn lines(world: &World) -> [String; 2] {
    let sql = "select state || coalesce(' ' || reason, '') from greenroom.email_outbox order by class desc";
    let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(world.db.pool()).await.unwrap();
    rows.try_into().unwrap()
}

fn every(mishap: Mishap) -> Rule {
    Rule { times: None, ..Rule::next(Endpoint::Smtp, Fault::Mail(mishap)) }
}

fn answer(at: Point, code: u16, text: &str) -> Mishap {
    Mishap::Answer { at, code, text: text.to_owned() }
}

#[tokio::test]
async fn an_address_that_does_not_exist_is_not_mailed_again() {
    let world = about_to_send().await;
    world.server.inject(every(answer(Point::Rcpt, 550, "5.1.1 no such user")));
    world.tick().await;
    assert_eq!(lines(&world).await, ["failed hard_bounce", "failed hard_bounce"]);
    let marked: i64 = sqlx::query_scalar("select count(*) from users where marketing_bounced_at is not null")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(marked, 2);
    world.server.clear_faults();
    world.advance(TimeDelta::days(3)).await;
    world.tick().await;
    assert!(world.server.mails().is_empty());
}

#[tokio::test]
async fn a_refusal_that_says_nothing_of_the_person_marks_nobody() {
    for (point, code, text, state) in [
        (Point::Rcpt, 552, "5.2.2 over quota", "failed soft_bounce"),
        (Point::Data, 550, "5.7.1 we do not know you", "failed policy"),
        (Point::Dot, 554, "5.6.0 that is no mail", "failed our_fault"),
    ] {
        let world = about_to_send().await;
        world.server.inject(every(answer(point, code, text)));
        world.tick().await;
        assert_eq!(lines(&world).await, [state, state]);
        let marked: i64 =
            sqlx::query_scalar("select count(*) from users where marketing_bounced_at is not null")
                .fetch_one(world.db.pool())
                .await
                .unwrap();
        assert_eq!(marked, 0, "{text}");
    }
}

#[tokio::test]
async fn what_is_deferred_is_tried_again_until_it_is_taken() {
    for mishap in [
        answer(Point::Rcpt, 451, "4.7.1 greylisted"),
        answer(Point::Data, 421, "4.3.2 shutting down"),
        answer(Point::Dot, 452, "4.3.1 no room"),
        Mishap::Drop { at: Point::Rcpt },
        Mishap::Hang { at: Point::Data },
    ] {
        let world = about_to_send().await;
        world.server.inject(every(mishap.clone()));
        world.tick().await;
        assert_eq!(lines(&world).await, ["queued deferred", "queued deferred"], "{mishap:?}");
        world.server.clear_faults();
        world.advance(TimeDelta::minutes(2)).await;
        world.drain().await;
        assert_eq!(lines(&world).await, ["sent", "sent"], "{mishap:?}");
        assert_eq!((world.taken("service"), world.taken("marketing")), (1, 1), "{mishap:?}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_sent_again_only_where_it_has_to_be_known() {
    for (mishap, taken_before) in [
        (Mishap::AcceptAndDie, 1),
        (Mishap::Drop { at: Point::Dot }, 0),
        (Mishap::Hang { at: Point::Dot }, 0),
    ] {
        let world = about_to_send().await;
        world.server.inject(every(mishap.clone()));
        world.tick().await;
        assert_eq!(lines(&world).await, ["unknown no_answer", "unknown no_answer"], "{mishap:?}");
        world.server.clear_faults();
        for _ in 0..3 {
            world.advance(TimeDelta::minutes(10)).await;
            world.tick().await;
        }
        assert_eq!(lines(&world).await, ["sent", "unknown no_answer"], "{mishap:?}");
        let taken = (world.taken("service"), world.taken("marketing"));
        assert_eq!(taken, (taken_before + 1, taken_before), "{mishap:?}");
        if taken_before == 1 {
            let mails = world.server.mails();
            let of_service: Vec<_> =
                mails.iter().filter(|mail| mail.to == ["service@example.test"]).collect();
            for name in ["Message-ID", "Date"] {
                assert_eq!(of_service[0].header(name), of_service[1].header(name), "{name}");
            }
            assert_eq!(of_service[0].data, of_service[1].data);
        }
    }
}

#[tokio::test]
async fn what_nobody_knows_twice_is_given_up() {
    let world = about_to_send().await;
    world.server.inject(every(Mishap::Drop { at: Point::Dot }));
    for _ in 0..4 {
        world.tick().await;
        world.advance(TimeDelta::minutes(10)).await;
    }
    assert_eq!(lines(&world).await, ["failed unknown", "unknown no_answer"]);
}

#[tokio::test]
async fn what_nobody_knows_ends_when_it_is_too_old() {
    let world = about_to_send().await;
    world.server.inject(every(Mishap::Drop { at: Point::Dot }));
    world.tick().await;
    world.server.clear_faults();
    // Nobody works for two days.
    world.advance(TimeDelta::days(2)).await;
    for _ in 0..3 {
        let sweep = world.jobs().build("mail.sweep", "{}", None).unwrap();
        world.queue.enqueue_many(&[sweep]).await.unwrap();
        world.drain().await;
        world.advance(TimeDelta::minutes(5)).await;
    }
    assert_eq!(lines(&world).await, ["failed too_late", "unknown no_answer"]);
    let sends: i64 = sqlx::query_scalar("select count(*) from background_jobs where job_type = 'mail.send'")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(sends, 2, "it is looked for no more");
}

#[tokio::test]
async fn an_operator_may_send_again_what_nobody_knows() {
    let world = about_to_send().await;
    world.server.inject(every(Mishap::Drop { at: Point::Dot }));
    world.tick().await;
    world.server.clear_faults();
    let id: sqlx::types::Uuid =
        sqlx::query_scalar("select id from greenroom.email_outbox where class = 'marketing'")
            .fetch_one(world.db.pool())
            .await
            .unwrap();
    let mut tx = world.db.pool().begin().await.unwrap();
    greenroom_mail::resend(&mut tx, id).await.unwrap();
    tx.commit().await.unwrap();
    world.drain().await;
    assert_eq!(lines(&world).await[1], "sent");
    assert_eq!(world.taken("marketing"), 1);
    let mut conn = world.db.pool().acquire().await.unwrap();
    let error = greenroom_mail::resend(&mut conn, id).await.unwrap_err().to_string();
    assert!(error.starts_with("this message is sent"), "{error}");
}

#[tokio::test]
async fn a_run_that_was_cut_off_counts_as_one_that_nobody_knows() {
    let world = about_to_send().await;
    world.server.inject(every(answer(Point::Rcpt, 451, "4.7.1 later")));
    world.tick().await;
    world.server.clear_faults();
    // As a process leaves it that is killed while the server is asked.
    sqlx::query("update greenroom.email_outbox set state = 'sending'")
        .execute(world.db.pool())
        .await
        .unwrap();
    world.advance(TimeDelta::minutes(2)).await;
    world.drain().await;
    assert_eq!(lines(&world).await, ["sent", "unknown cut_off"]);
    assert_eq!((world.taken("service"), world.taken("marketing")), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_away_costs_no_try_and_stops_everybody() {
    let world = World::with(None, |_, mail| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        mail.smtp_port = free.local_addr().unwrap().port();
    })
    .await;
    go_to_hour(&world, 10).await;
    for n in 0..8 {
        world.on_trial(&format!("person{n}"), to_micros(world.now()) + TimeDelta::days(5)).await;
    }
    world.tick().await;
    let rows: Vec<(String, i16)> = sqlx::query_as(
        "select distinct state || ' ' || coalesce(reason, ''), attempts from greenroom.email_outbox",
    )
    .fetch_all(world.db.pool())
    .await
    .unwrap();
    assert!(rows.iter().all(|(_, attempts)| *attempts == 0), "{rows:?}");
    assert!(rows.iter().all(|(state, _)| state.starts_with("queued")), "{rows:?}");
    let open: bool = sqlx::query_scalar(
        "select open_until is not null from greenroom.pools where name = 'mail.transport'",
    )
    .fetch_one(world.db.pool())
    .await
    .unwrap();
    assert!(open, "the breaker of the transport is not open");
}

#[tokio::test]
async fn a_message_whose_job_is_gone_gets_another() {
    let world = about_to_send().await;
    world.queue.enqueue(&crate::jobs::plan::Plan {}).await.unwrap();
    greenroom_queue::testing::drain(&world.queue, &crate::jobs(Some(&world.campaigns))).await.unwrap();
    let gone = sqlx::query("delete from background_jobs where job_type = 'mail.send'");
    assert_eq!(gone.execute(world.db.pool()).await.unwrap().rows_affected(), 2);
    world.advance(TimeDelta::minutes(3)).await;
    sqlx::query("update greenroom.schedules set next_fire_at = greenroom.now()")
        .execute(world.db.pool())
        .await
        .unwrap();
    let sweep = world.jobs().build("mail.sweep", "{}", None).unwrap();
    world.queue.enqueue_many(&[sweep]).await.unwrap();
    world.drain().await;
    assert_eq!(lines(&world).await, ["sent", "sent"]);
}

#[tokio::test]
async fn a_paused_step_waits_and_goes_on() {
    let world = about_to_send().await;
    let mut conn = world.db.pool().acquire().await.unwrap();
    assert!(greenroom_mail::pause(&mut conn, "waitlist", "t14", "a test").await.unwrap());
    assert!(!greenroom_mail::pause(&mut conn, "waitlist", "t14", "a test").await.unwrap());
    world.tick().await;
    assert_eq!(lines(&world).await, ["sent", "queued paused"]);
    world.advance(TimeDelta::hours(1)).await;
    world.tick().await;
    assert_eq!(lines(&world).await, ["sent", "queued paused"]);
    let jobs = greenroom_mail::resume(&mut conn, "waitlist", "t14").await.unwrap();
    assert_eq!(jobs.len(), 1);
    world.drain().await;
    assert_eq!(lines(&world).await, ["sent", "sent"]);
}

#[tokio::test]
async fn a_step_of_which_too_much_comes_back_is_paused() {
    let world = World::with(None, |campaigns, _| campaigns.window_closes = campaigns.window_opens).await;
    let admin = world.person("admin", "is_admin = true", None).await;
    sqlx::query(
        "insert into admin_notification_settings (email, notification_types, is_active)
         values ('pager@house.test', '{\"operations\": true}', true), ('off@house.test', '{\"operations\": true}', false),
                ('other@house.test', '{\"creator_applications\": true}', true),
                ('ADMIN@example.test', '{\"operations\": true}', true)",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    for n in 0..120 {
        world.on_trial(&format!("person{n}"), to_micros(world.now()) + TimeDelta::days(5)).await;
    }
    let rule = Rule::next(Endpoint::Smtp, Fault::Mail(answer(Point::Rcpt, 550, "5.1.1 no such user")));
    world.server.inject(Rule { after: 60, times: Some(40), ..rule });
    world.tick().await;
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "select state, count(*) from greenroom.email_outbox where campaign = 'trial' group by 1 order by 1",
    )
    .fetch_all(world.db.pool())
    .await
    .unwrap();
    assert_eq!(counts, [("failed".to_owned(), 40), ("queued".to_owned(), 20), ("sent".to_owned(), 60)]);
    let rows = greenroom_mail::steps(&mut world.db.pool().acquire().await.unwrap()).await.unwrap();
    let paused = rows.iter().find(|row| row.step == "7d").unwrap();
    assert_eq!(paused.reason.as_deref(), Some("40 of 100 were refused or came back"));
    assert_eq!(world.lines(admin).await, ["notices.step_paused sent"]);
    let mails = world.server.mails();
    let told: std::collections::BTreeSet<_> = mails
        .iter()
        .filter(|mail| mail.header("Subject").is_some_and(|subject| subject.contains("paused")))
        .flat_map(|mail| mail.to.clone())
        .collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["admin@example.test", "pager@house.test"]);
}

#[tokio::test]
async fn rates_put_messages_in_a_line() {
    let world = World::with(None, |campaigns, mail| {
        campaigns.window_closes = campaigns.window_opens;
        mail.rate_per_sec = 1.try_into().unwrap();
        mail.burst_secs = 2.try_into().unwrap();
    })
    .await;
    for n in 0..6 {
        world.on_trial(&format!("person{n}"), to_micros(world.now()) + TimeDelta::days(5)).await;
    }
    world.tick().await;
    let at_once = world.server.mails().len();
    assert!((2..=4).contains(&at_once), "{at_once}");
    world.advance(TimeDelta::seconds(10)).await;
    world.drain().await;
    assert_eq!(world.server.mails().len(), 6);
}

#[tokio::test]
async fn whoever_is_not_on_the_allowlist_gets_nothing() {
    let world = World::with(None, |campaigns, mail| {
        campaigns.window_closes = campaigns.window_opens;
        mail.allowlist = vec!["Ada@example.test".to_owned(), "@friends.test".to_owned()];
    })
    .await;
    let ada = world.on_trial("ada", to_micros(world.now()) + TimeDelta::days(5)).await;
    let grace = world.on_trial("grace", to_micros(world.now()) + TimeDelta::days(5)).await;
    world.tick().await;
    assert_eq!(world.lines(ada).await, ["trial.7d sent"]);
    assert_eq!(world.lines(grace).await, ["trial.7d suppressed not_allowlisted"]);
}

#[tokio::test]
async fn redirected_mail_says_for_whom_it_was() {
    let world = World::with(None, |campaigns, mail| {
        campaigns.window_closes = campaigns.window_opens;
        mail.redirect_to = "tests@example.test".to_owned();
    })
    .await;
    world.on_trial("ada", to_micros(world.now()) + TimeDelta::days(5)).await;
    world.tick().await;
    let mails = world.server.mails();
    assert_eq!(mails[0].to, ["tests@example.test"]);
    assert_eq!(mails[0].header("X-Original-To").as_deref(), Some("ada@example.test"));
}
