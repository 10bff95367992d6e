//! Whole campaigns on a real database: the clock is moved, the jobs run, and what came of it is looked at.

mod events;
mod looks;
mod never_twice;
mod outage;
mod transports;
mod walk;
mod withdrawn;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_mail::Mail;
use greenroom_model::{Clock, UserId};
use greenroom_queue::{Jobs, Queue, testing};
use greenroom_sandbox::{Running, Sandbox};
use greenroom_testkit::Database;
use serde::Deserialize;
use sqlx::{Connection as _, Row as _};

use crate::{CampaignRules, Campaigns, Settings, UnsubscribeKeys, sources};

/// A row of the outbox, as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) step: String,
    pub(crate) state: String,
    pub(crate) reason: String,
}

/// A database with people, a mail server, and the jobs of mail and campaigns.
pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) server: Running,
    pub(crate) campaigns: Arc<Campaigns>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) queue: Queue,
}

#[derive(Deserialize)]
struct Defaults {
    campaigns: Settings,
    mail: greenroom_mail::Settings,
    http: greenroom_http::Settings,
}

impl World {
    /// Makes a world whose launch is so far away; without one there is no waiting list.
    pub(crate) async fn new(launch_in: Option<TimeDelta>) -> Self {
        Self::with(launch_in, |_, _| ()).await
    }

    /// Makes a world with other settings.
    pub(crate) async fn with(
        launch_in: Option<TimeDelta>,
        change: impl FnOnce(&mut Settings, &mut greenroom_mail::Settings),
    ) -> Self {
        Self::with_secrets(launch_in, greenroom_mail::Secrets::default(), change).await
    }

    /// Makes a world with other settings and secrets; Resend's key is the sandbox's.
    pub(crate) async fn with_secrets(
        launch_in: Option<TimeDelta>,
        mut secrets: greenroom_mail::Secrets,
        change: impl FnOnce(&mut Settings, &mut greenroom_mail::Settings),
    ) -> Self {
        let db = Database::new().await;
        let server = Sandbox::start(greenroom_sandbox::Settings::default()).await.unwrap();
        let Defaults { mut campaigns, mut mail, http } =
            toml::from_str(include_str!("../../../config/default.toml")).unwrap();
        let ready = server.ready();
        let (host, port) = ready.smtp.rsplit_once(':').unwrap();
        secrets.resend_key = Some(ready.resend.api_key.as_str().into());
        mail.resend_url = server.base_url.parse().unwrap();
        mail.transport = greenroom_mail::TransportKind::Smtp;
        mail.smtp_host = host.to_owned();
        mail.smtp_port = port.parse().unwrap();
        mail.smtp_security = greenroom_mail::Security::None;
        mail.postal_address = "1 Stage Door, London".to_owned();
        mail.rate_per_sec = 10_000.try_into().unwrap();
        campaigns.waitlist.launch_at = launch_in.map(|ahead| to_micros(db.clock().now() + ahead));
        change(&mut campaigns, &mut mail);
        let keys = UnsubscribeKeys::parse("a key of the tests and nothing else").unwrap();
        let rules = CampaignRules {
            settings: campaigns.clone(),
            keys: Some(keys),
            public_url: "https://house.test".to_owned(),
        };
        let sender = Mail::new(
            db.pool().clone(),
            mail.clone(),
            &sources(),
            &secrets,
            greenroom_http::Client::new(&http, Clock::system()).unwrap(),
            Arc::new(rules),
        )
        .unwrap();
        let campaigns = Campaigns { pool: db.pool().clone(), settings: campaigns, mail };
        let queue = Queue::new(db.pool().clone());
        Self { db, server, campaigns: Arc::new(campaigns), mail: Arc::new(sender), queue }
    }

    pub(crate) fn jobs(&self) -> Jobs {
        crate::jobs(Some(&self.campaigns)).and(greenroom_mail::jobs(Some(&self.mail)))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.db.clock().now()
    }

    pub(crate) fn launch(&self) -> DateTime<Utc> {
        self.campaigns.settings.waitlist.launch_at.unwrap()
    }

    /// Plans, and sends what is due.
    pub(crate) async fn tick(&self) {
        self.queue.enqueue(&crate::jobs::plan::Plan {}).await.unwrap();
        self.drain().await;
    }

    pub(crate) async fn drain(&self) {
        testing::drain(&self.queue, &self.jobs()).await.unwrap();
    }

    pub(crate) async fn advance(&self, by: TimeDelta) {
        self.db.advance(by.to_std().unwrap()).await;
    }

    /// Makes a person, and sets columns of theirs.
    pub(crate) async fn person(
        &self,
        name: &str,
        columns: &'static str,
        at: Option<DateTime<Utc>>,
    ) -> UserId {
        let user = UserId::new();
        sqlx::query("insert into users (id, email, full_name) values ($1, $2, $3)")
            .bind(user.0)
            .bind(format!("{name}@example.test"))
            .bind(name)
            .execute(self.db.pool())
            .await
            .unwrap();
        self.set(user, columns, at).await;
        user
    }

    /// Somebody on trial until then.
    pub(crate) async fn on_trial(&self, name: &str, end: DateTime<Utc>) -> UserId {
        let columns =
            "subscription_status = 'trial', trial_start_date = $2 - interval '14 days', trial_end_date = $2";
        self.person(name, columns, Some(end)).await
    }

    /// Somebody on the waiting list since then.
    pub(crate) async fn waiting(&self, name: &str, since: DateTime<Utc>) -> UserId {
        self.person(name, "joined_waiting_list_at = $2, marketing_opt_in = true", Some(since)).await
    }

    pub(crate) async fn set(&self, user: UserId, columns: &'static str, at: Option<DateTime<Utc>>) {
        let sql = format!("update users set {columns} where id = $1 and ($2::timestamptz is null or true)");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.0).bind(at).execute(self.db.pool()).await.unwrap();
    }

    /// Reads a column of a person as text.
    pub(crate) async fn column(&self, user: UserId, column: &'static str) -> Option<String> {
        let sql = format!("select ({column})::text from users where id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.0).fetch_one(self.db.pool()).await.unwrap();
        row.get(0)
    }

    /// Returns what a person was told, in order of the steps' making.
    pub(crate) async fn told(&self, user: UserId) -> Vec<Told> {
        let sql = "select campaign || '.' || step, state, coalesce(reason, '') from greenroom.email_outbox
                    where user_id = $1 order by created_at, id";
        let rows = sqlx::query(sql).bind(user.0).fetch_all(self.db.pool()).await.unwrap();
        rows.iter().map(|row| Told { step: row.get(0), state: row.get(1), reason: row.get(2) }).collect()
    }

    /// Returns the same on one line each.
    pub(crate) async fn lines(&self, user: UserId) -> Vec<String> {
        let told = self.told(user).await;
        told.iter()
            .map(|Told { step, state, reason }| format!("{step} {state} {reason}").trim().to_owned())
            .collect()
    }

    /// Counts what the mail server has taken for a person.
    pub(crate) fn taken(&self, name: &str) -> usize {
        let address = format!("{name}@example.test");
        self.server.mails().iter().filter(|mail| mail.to == [address.clone()]).count()
    }
}

/// The database counts in microseconds.
pub(crate) fn to_micros(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(instant.timestamp_micros()).unwrap()
}

/// The next instant of a time of day in UTC, so that windows are where a test wants them.
pub(crate) async fn go_to_hour(world: &World, hour: i64) {
    let now = world.now();
    let into = now.timestamp().rem_euclid(86_400);
    let wait = (hour * 3_600 - into).rem_euclid(86_400);
    world.advance(TimeDelta::seconds(wait)).await;
}

#[tokio::test]
async fn a_trial_is_told_of_its_end_step_by_step() {
    let world = World::new(None).await;
    go_to_hour(&world, 10).await;
    let ada = world.on_trial("ada", to_micros(world.now()) + TimeDelta::days(8)).await;
    for _ in 0..10 {
        world.tick().await;
        world.advance(TimeDelta::days(1)).await;
    }
    let lines = world.lines(ada).await;
    assert_eq!(lines, ["trial.7d sent", "trial.3d sent", "trial.1d sent", "trial.expired sent"]);
    assert_eq!(world.column(ada, "subscription_status").await.as_deref(), Some("expired"));
    for flag in ["trial_notified_7d", "trial_notified_3d", "trial_notified_1d"] {
        assert_eq!(world.column(ada, flag).await.as_deref(), Some("true"), "{flag}");
    }
    assert_eq!(world.taken("ada"), 4);
    let trail: i64 = sqlx::query_scalar("select count(*) from audit_logs where action = 'trial.expired'")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(trail, 1);
    let runs: Vec<(String, String)> =
        sqlx::query_as("select distinct sync_type, status from sync_logs order by 1")
            .fetch_all(world.db.pool())
            .await
            .unwrap();
    assert_eq!(
        runs,
        [("campaigns.plan".to_owned(), "success".to_owned()), ("mail.send".to_owned(), "success".to_owned())]
    );
}

#[tokio::test]
async fn steps_begin_exactly_at_their_boundaries() {
    let world = World::new(None).await;
    let (campaigns, now) = (&world.campaigns, world.now());
    let person = |left: TimeDelta| crate::plan::Person {
        recipient: greenroom_mail::Recipient {
            email: "ada@example.test".to_owned(),
            is_active: true,
            ..Default::default()
        },
        subscription_status: Some("trial".to_owned()),
        trial_start: Some(now - TimeDelta::days(30)),
        trial_end: Some(now + left),
        ..Default::default()
    };
    let step = |left: TimeDelta| {
        let decision = crate::plan::trial(now, campaigns.by(), &person(left));
        decision.messages.last().map(|message| message.step)
    };
    let moment = TimeDelta::microseconds(1);
    assert_eq!(step(TimeDelta::days(7) + moment), None);
    assert_eq!(step(TimeDelta::days(7)), Some("7d"));
    assert_eq!(step(TimeDelta::days(3) + moment), Some("7d"));
    assert_eq!(step(TimeDelta::days(3)), Some("3d"));
    assert_eq!(step(TimeDelta::days(1) + moment), Some("3d"));
    assert_eq!(step(TimeDelta::days(1)), Some("1d"));
    assert_eq!(step(moment), Some("1d"));
    assert_eq!(step(TimeDelta::zero()), None);
}

#[tokio::test]
async fn the_waiting_list_is_counted_down() {
    let world = World::with(Some(TimeDelta::days(20)), |campaigns, _| {
        let at_noon =
            campaigns.waitlist.launch_at.map(|at| at.date_naive().and_hms_opt(12, 0, 0).unwrap().and_utc());
        campaigns.waitlist.launch_at = at_noon;
    })
    .await;
    let ada = world.waiting("ada", world.now() - TimeDelta::days(3)).await;
    let quiet = world.person("quiet", "joined_waiting_list_at = $2", Some(world.now())).await;
    let late = world.waiting("late", world.launch() - TimeDelta::days(8)).await;
    for _ in 0..(6 * 22) {
        world.tick().await;
        world.advance(TimeDelta::hours(4)).await;
    }
    let sent = ["waitlist.t14 sent", "waitlist.t7 sent", "waitlist.t1 sent", "waitlist.launch sent"];
    assert_eq!(world.lines(ada).await, sent);
    assert_eq!(world.lines(late).await[0], "waitlist.t14 skipped joined_after");
    assert_eq!(world.lines(late).await[1..], sent[1..]);
    assert!(
        world.told(quiet).await.iter().all(|told| told.reason == "not_opted_in"),
        "{:?}",
        world.told(quiet).await
    );
    let mail = &world.server.mails()[0];
    assert_eq!(mail.header("Subject").as_deref(), Some("We open in 14 days"));
    assert_eq!(mail.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert!(mail.header("List-Unsubscribe").unwrap().starts_with("<https://house.test/u/v1."));
    for column in ["countdown_t14_sent_at", "countdown_t7_sent_at", "countdown_t1_sent_at", "launch_sent_at"]
    {
        assert!(world.column(ada, column).await.is_some(), "{column}");
    }
    assert_eq!(world.column(late, "countdown_t14_sent_at").await, None);
}

#[tokio::test]
async fn two_planners_at_once_write_each_message_once() {
    let world = World::new(None).await;
    for n in 0..300 {
        world.on_trial(&format!("person{n}"), to_micros(world.now()) + TimeDelta::hours(30 + n)).await;
    }
    let plan = async || {
        let mut conn = sqlx::PgConnection::connect(&world.db.url()).await.unwrap();
        let due = crate::store::trials_due(&mut conn, world.now()).await.unwrap();
        let people = crate::store::on_trial(&mut conn, &due).await.unwrap();
        let decisions =
            people.iter().map(|person| crate::plan::trial(world.now(), world.campaigns.by(), person));
        let messages: Vec<_> = decisions.flat_map(|decision| decision.messages).collect();
        greenroom_mail::insert(&mut conn, &messages).await.unwrap().0
    };
    let (one, two) = tokio::join!(plan(), plan());
    let rows: i64 = sqlx::query_scalar("select count(*) from greenroom.email_outbox")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(u64::try_from(rows), Ok(one + two));
    let twice: i64 = sqlx::query_scalar(
        "select count(*) from (select from greenroom.email_outbox group by user_id, step having count(*) > 1) twice",
    )
    .fetch_one(world.db.pool())
    .await
    .unwrap();
    assert_eq!(twice, 0);
}
