//! What providers tell of a message, and what it does to the message and to the person: forward only.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_mail::events::{Event, Happened, Provider, Verified, store};
use greenroom_model::UserId;
use greenroom_sandbox::{Endpoint, Fault, Mishap, Point, Rule};

use super::{World, to_micros};

/// A world with somebody on the waiting list who has had a mail.
async fn after_a_mail() -> (World, UserId) {
    let world = World::with(Some(TimeDelta::days(14) - TimeDelta::hours(1)), |campaigns, _| {
        campaigns.window_closes = campaigns.window_opens;
    })
    .await;
    let ada = world.waiting("ada", world.now() - TimeDelta::days(3)).await;
    world.tick().await;
    (world, ada)
}

async fn tell(world: &World, happened: Happened, at: DateTime<Utc>) {
    let sql = "select message_id from greenroom.email_outbox where message_id is not null";
    let message_id: String = sqlx::query_scalar(sql).fetch_one(world.db.pool()).await.unwrap();
    let id = UserId::new().to_string();
    let event = Event {
        id,
        happened,
        at: Some(at),
        provider_message_id: None,
        message_id: Some(message_id),
        message: None,
    };
    tell_all(world, vec![event]).await;
}

async fn tell_all(world: &World, events: Vec<Event>) {
    let mut conn = world.db.pool().acquire().await.unwrap();
    store(&mut conn, Provider::Resend.as_str(), &Verified::of(events)).await.unwrap().unwrap();
    greenroom_mail::take_events(&mut conn).await.unwrap();
    drop(conn);
    world.drain().await;
}

#[tokio::test]
async fn events_go_forward_only() {
    let (world, ada) = after_a_mail().await;
    let now = to_micros(world.now());
    let state = async || world.lines(ada).await[0].clone();
    let last = async || world.column(ada, "marketing_last_event").await.unwrap();
    tell(&world, Happened::Opened, now + TimeDelta::minutes(2)).await;
    assert_eq!((state().await, last().await), ("waitlist.t14 sent".to_owned(), "opened".to_owned()));
    // It comes late, and is older than what is known.
    tell(&world, Happened::Delivered, now + TimeDelta::minutes(1)).await;
    assert_eq!((state().await, last().await), ("waitlist.t14 delivered".to_owned(), "opened".to_owned()));
    tell(&world, Happened::Complained, now + TimeDelta::minutes(3)).await;
    assert_eq!(
        (state().await, last().await),
        ("waitlist.t14 complained".to_owned(), "complained".to_owned())
    );
    tell(&world, Happened::Clicked, now + TimeDelta::minutes(4)).await;
    tell(&world, Happened::Delivered, now + TimeDelta::minutes(5)).await;
    assert_eq!(
        (state().await, last().await),
        ("waitlist.t14 complained".to_owned(), "complained".to_owned())
    );
    assert_eq!(world.column(ada, "marketing_opt_in").await.as_deref(), Some("false"));
    assert!(world.column(ada, "marketing_unsubscribed_at").await.is_some());
}

#[tokio::test]
async fn a_bounce_ends_all_mail_and_what_matches_nobody_is_kept() {
    let (world, ada) = after_a_mail().await;
    let stranger = Event {
        id: "x".to_owned(),
        happened: Happened::HardBounce,
        at: None,
        provider_message_id: Some("nobody's".to_owned()),
        message_id: Some("<nobody@example.test>".to_owned()),
        message: None,
    };
    tell_all(&world, vec![stranger.clone(), stranger]).await;
    assert_eq!(world.column(ada, "marketing_bounced_at").await, None);
    let kept: i64 = sqlx::query_scalar(
        "select count(*) from greenroom.email_events where outbox_id is null and processed_at is not null",
    )
    .fetch_one(world.db.pool())
    .await
    .unwrap();
    assert_eq!(kept, 1);
    tell(&world, Happened::HardBounce, world.now()).await;
    assert_eq!(world.lines(ada).await, ["waitlist.t14 bounced hard_bounce"]);
    assert!(world.column(ada, "marketing_bounced_at").await.is_some());
}

#[tokio::test]
async fn an_event_tells_what_nobody_knew() {
    let world = World::with(Some(TimeDelta::days(14) - TimeDelta::hours(1)), |campaigns, _| {
        campaigns.window_closes = campaigns.window_opens;
    })
    .await;
    let ada = world.waiting("ada", world.now() - TimeDelta::days(3)).await;
    world.server.inject(Rule::next(Endpoint::Smtp, Fault::Mail(Mishap::Drop { at: Point::Dot })));
    world.tick().await;
    assert_eq!(world.lines(ada).await, ["waitlist.t14 unknown no_answer"]);
    assert_eq!(world.column(ada, "countdown_t14_sent_at").await, None);
    tell(&world, Happened::Delivered, world.now()).await;
    assert_eq!(world.lines(ada).await, ["waitlist.t14 delivered"]);
    assert!(world.column(ada, "countdown_t14_sent_at").await.is_some());
}

#[tokio::test]
async fn a_box_that_is_full_for_a_week_is_given_up() {
    let world = World::with(None, |campaigns, _| campaigns.window_closes = campaigns.window_opens).await;
    let full = Mishap::Answer { at: Point::Rcpt, code: 552, text: "5.2.2 over quota".to_owned() };
    world.server.inject(Rule { times: None, ..Rule::next(Endpoint::Smtp, Fault::Mail(full)) });
    let ada = world.on_trial("ada", to_micros(world.now()) + TimeDelta::days(5)).await;
    for day in 0..5 {
        assert_eq!(world.column(ada, "marketing_bounced_at").await, None, "day {day}");
        world.set(ada, "trial_end_date = $2", Some(to_micros(world.now()) + TimeDelta::days(5))).await;
        world.tick().await;
        world.advance(TimeDelta::days(2)).await;
    }
    assert!(world.column(ada, "marketing_bounced_at").await.is_some());
}

#[tokio::test]
async fn complaints_are_seen_among_many_bounces() {
    let (world, _) = after_a_mail().await;
    // Two thousand have had the step; what came back of it is not enough to pause it.
    sqlx::query(
        "with who as (insert into users (email) select 'p' || n || '@example.test' from generate_series(1, 2000) n
                      returning id, substr(email, 2, position('@' in email) - 2)::int as n)
         insert into greenroom.email_outbox
                (user_id, campaign, step, occurrence, class, template, state, reason, sent_at, message_id)
         select id, 'waitlist', 't14', 'o', 'marketing', 'waitlist/t14', case when n <= 61 then 'bounced' else 'sent' end,
                case when n <= 61 then 'hard_bounce' end, greenroom.now(), '<' || n || '@house.test>'
           from who",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    let paused = async || {
        let steps = greenroom_mail::steps(&mut world.db.pool().acquire().await.unwrap()).await.unwrap();
        steps.into_iter().find_map(|row| row.reason)
    };
    for n in 101..=103 {
        assert_eq!(paused().await, None, "before complaint {n}");
        let event = Event {
            id: n.to_string(),
            happened: Happened::Complained,
            at: None,
            provider_message_id: None,
            message_id: Some(format!("<{n}@house.test>")),
            message: None,
        };
        tell_all(&world, vec![event]).await;
    }
    assert_eq!(paused().await.as_deref(), Some("3 of 2001 people complained"));
}
