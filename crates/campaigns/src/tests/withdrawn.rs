//! What changes a person withdraws what waits for them, in the same transaction.

use chrono::TimeDelta;

use super::{World, go_to_hour, to_micros};

/// A world at night with somebody whose mail waits for the morning.
async fn at_night() -> (World, greenroom_model::UserId, greenroom_model::UserId) {
    let world = World::with(Some(TimeDelta::days(20)), |campaigns, _| {
        let launch = campaigns.waitlist.launch_at.unwrap().date_naive();
        campaigns.waitlist.launch_at = Some(launch.and_hms_opt(20, 0, 0).unwrap().and_utc());
    })
    .await;
    go_to_hour(&world, 20).await;
    while world.launch() - world.now() > TimeDelta::days(14) {
        world.advance(TimeDelta::days(1)).await;
    }
    world.advance(TimeDelta::minutes(5)).await;
    let trial = world.on_trial("trial", to_micros(world.now()) + TimeDelta::days(5)).await;
    let waiting = world.waiting("waiting", world.now() - TimeDelta::days(3)).await;
    world.tick().await;
    assert_eq!(world.lines(trial).await, ["trial.7d queued"]);
    assert_eq!(world.lines(waiting).await, ["waitlist.t14 queued"]);
    (world, trial, waiting)
}

#[tokio::test]
async fn whoever_subscribes_is_not_told_of_the_end_of_the_trial() {
    let (world, trial, _) = at_night().await;
    world.set(trial, "subscription_status = 'active'", None).await;
    assert_eq!(world.lines(trial).await, ["trial.7d cancelled subscription_active"]);
    world.advance(TimeDelta::days(6)).await;
    world.tick().await;
    assert_eq!((world.lines(trial).await.len(), world.taken("trial")), (1, 0));
}

#[tokio::test]
async fn a_trial_that_is_extended_has_its_steps_again() {
    let (world, trial, _) = at_night().await;
    world.advance(TimeDelta::hours(14)).await;
    world.tick().await;
    assert_eq!(world.lines(trial).await, ["trial.7d sent"]);
    world.set(trial, "trial_end_date = $2", Some(to_micros(world.now()) + TimeDelta::days(9))).await;
    assert_eq!(world.column(trial, "trial_notified_7d").await.as_deref(), Some("false"));
    world.advance(TimeDelta::days(3)).await;
    world.tick().await;
    assert_eq!(world.lines(trial).await, ["trial.7d sent", "trial.7d sent"]);
}

#[tokio::test]
async fn a_trial_that_is_moved_while_its_mail_waits_cancels_it() {
    let (world, trial, _) = at_night().await;
    world.set(trial, "trial_end_date = $2", Some(to_micros(world.now()) + TimeDelta::days(30))).await;
    assert_eq!(world.lines(trial).await, ["trial.7d cancelled trial_moved"]);
}

#[tokio::test]
async fn facts_about_a_person_suppress_what_waits() {
    for (columns, reason, is_service_too) in [
        ("marketing_unsubscribed_at = greenroom.now(), marketing_opt_in = false", "unsubscribed", false),
        ("marketing_opt_in = false", "not_opted_in", false),
        ("marketing_bounced_at = greenroom.now()", "bounced", true),
        (
            "marketing_last_event = 'complained', marketing_last_event_at = greenroom.now()",
            "complained",
            true,
        ),
        ("is_active = false", "inactive", true),
    ] {
        let (world, trial, waiting) = at_night().await;
        world.set(trial, columns, None).await;
        world.set(waiting, columns, None).await;
        assert_eq!(world.lines(waiting).await, [format!("waitlist.t14 suppressed {reason}")]);
        let of_trial = if is_service_too {
            format!("trial.7d suppressed {reason}")
        } else {
            "trial.7d queued".to_owned()
        };
        assert_eq!(world.lines(trial).await, [of_trial], "{columns}");
    }
}

#[tokio::test]
async fn whoever_is_let_in_early_is_not_counted_down() {
    let (world, _, waiting) = at_night().await;
    world.set(waiting, "early_access_granted_at = greenroom.now()", None).await;
    assert_eq!(world.lines(waiting).await, ["waitlist.t14 cancelled early_access"]);
    world.advance(TimeDelta::days(15)).await;
    world.tick().await;
    assert_eq!((world.lines(waiting).await.len(), world.taken("waiting")), (1, 0));
}

#[tokio::test]
async fn a_new_address_has_neither_bounced_nor_complained() {
    let (world, trial, _) = at_night().await;
    world
        .set(trial, "marketing_bounced_at = greenroom.now(), marketing_last_event = 'complained'", None)
        .await;
    world.set(trial, "marketing_opt_in = true", None).await;
    assert!(world.column(trial, "marketing_bounced_at").await.is_some(), "only a new address clears it");
    world.set(trial, "email = 'new@example.test'", None).await;
    assert_eq!(world.column(trial, "marketing_bounced_at").await, None);
    assert_eq!(world.column(trial, "marketing_last_event").await, None);
}

#[tokio::test]
async fn a_launch_that_moves_takes_its_mails_with_it() {
    let (world, _, waiting) = at_night().await;
    let admin = world.person("admin", "is_admin = true", None).await;
    world.advance(TimeDelta::hours(14)).await;
    world.tick().await;
    assert_eq!(world.lines(waiting).await, ["waitlist.t14 sent"]);
    let mut moved = (*world.campaigns).clone();
    moved.settings.waitlist.launch_at = Some(world.launch() + TimeDelta::days(10));
    let jobs =
        crate::jobs(Some(&std::sync::Arc::new(moved.clone()))).and(greenroom_mail::jobs(Some(&world.mail)));
    for _ in 0..2 {
        world.queue.enqueue(&crate::jobs::plan::Plan {}).await.unwrap();
        greenroom_queue::testing::drain(&world.queue, &jobs).await.unwrap();
        world.advance(TimeDelta::days(5)).await;
    }
    assert_eq!(world.lines(admin).await, ["notices.launch_moved sent"]);
    world.queue.enqueue(&crate::jobs::plan::Plan {}).await.unwrap();
    greenroom_queue::testing::drain(&world.queue, &jobs).await.unwrap();
    assert_eq!(world.lines(waiting).await, ["waitlist.t14 sent", "waitlist.t14 skipped already_sent"]);
}
