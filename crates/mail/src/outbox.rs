//! `greenroom.email_outbox`: one row an intended message.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_model::UserId;
use greenroom_queue::{Enqueued, NewJob, enqueue};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::MailError;
use crate::jobs::send::Send;

/// Whether a message needs consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Something a person has to know about their own account; sent at least once.
    Service,
    /// News, for who asked for them; sent at most once.
    Marketing,
}

impl Class {
    /// Returns the class as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Marketing => "marketing",
        }
    }

    pub(crate) fn of(stored: &str) -> Self {
        if stored == "marketing" { Self::Marketing } else { Self::Service }
    }
}

/// The state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is to be sent.
    Queued,
    /// A server is being asked, or was, by a process that is gone.
    Sending,
    /// A server took it.
    Sent,
    /// It will not be sent, and was tried.
    Failed,
    /// Nobody can know whether it was sent.
    Unknown,
    /// It was never to be sent.
    Skipped,
    /// Its recipient is not to be mailed.
    Suppressed,
    /// It became wrong.
    Cancelled,
    /// It became too old.
    Expired,
    /// It arrived.
    Delivered,
    /// It came back.
    Bounced,
    /// Its recipient complained.
    Complained,
}

impl State {
    const ALL: [Self; 12] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Failed,
        Self::Unknown,
        Self::Skipped,
        Self::Suppressed,
        Self::Cancelled,
        Self::Expired,
        Self::Delivered,
        Self::Bounced,
        Self::Complained,
    ];

    /// Returns the state as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
            Self::Suppressed => "suppressed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
        }
    }

    pub(crate) fn of(stored: &str) -> Self {
        // A CHECK holds the list.
        Self::ALL.into_iter().find(|state| state.as_str() == stored).unwrap_or(Self::Failed)
    }
}

/// What becomes of a new message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is sent, not before the one instant and not after the other.
    Send {
        /// The first instant at which it may be sent.
        not_before: DateTime<Utc>,
        /// From when on it is too old.
        expires_at: DateTime<Utc>,
    },
    /// It is not, for this reason.
    Not(State, &'static str),
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A person with an account, at the address they have when it is sent.
    User(UserId),
    /// An address that is no user's, for what concerns the house.
    Address(String),
}

/// A message for the outbox.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who gets it.
    pub whom: Whom,
    /// The campaign, which with the step names its template.
    pub campaign: &'static str,
    /// The step of the campaign.
    pub step: &'static str,
    /// Which time of it.
    pub occurrence: String,
    /// Whether it needs consent.
    pub class: Class,
    /// What its template says; nothing secret.
    pub params: Value,
    /// What becomes of it.
    pub then: Then,
}

/// Writes messages, those only of which this occurrence has none yet, and enqueues what is to be sent. Returns how many
/// were written, and the jobs to wake after the commit.
pub async fn insert(
    conn: &mut PgConnection,
    messages: &[NewMessage],
) -> Result<(u64, Vec<Enqueued>), MailError> {
    let ids: Vec<_> = messages.iter().map(|_| Uuid::now_v7()).collect();
    let state = |message: &NewMessage| match message.then {
        Then::Send { .. } => State::Queued,
        Then::Not(state, _) => state,
    };
    let times = |message: &NewMessage| match message.then {
        Then::Send { not_before, expires_at } => (Some(not_before), Some(expires_at)),
        Then::Not(..) => (None, None),
    };
    let (users, addresses): (Vec<_>, Vec<_>) = messages
        .iter()
        .map(|message| match &message.whom {
            Whom::User(user) => (Some(user.0), None),
            Whom::Address(address) => (None, Some(address.clone())),
        })
        .unzip();
    let written = sqlx::query!(
        r#"
        insert into greenroom.email_outbox
               (id, user_id, to_address, campaign, step, occurrence, class, template, params, state, reason, not_before,
                expires_at)
        select id, user_id, to_address, campaign, step, occurrence, class, campaign || '/' || step, params, state, reason,
               coalesce(not_before, greenroom.now()), expires_at
          from unnest($1::uuid[], $2::uuid[], $12::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[],
                      $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
            as new (id, user_id, to_address, campaign, step, occurrence, class, params, state, reason, not_before,
                    expires_at)
        on conflict do nothing
        returning id, user_id as "user: UserId", class, state, not_before
        "#,
        &ids,
        &users as &[Option<Uuid>],
        &messages.iter().map(|message| message.campaign.to_owned()).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.step.to_owned()).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.occurrence.clone()).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.class.as_str().to_owned()).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.params.clone()).collect::<Vec<_>>(),
        &messages.iter().map(|message| state(message).as_str().to_owned()).collect::<Vec<_>>(),
        &messages
            .iter()
            .map(|message| match message.then {
                Then::Send { .. } => None,
                Then::Not(_, reason) => Some(reason.to_owned()),
            })
            .collect::<Vec<_>>() as &[Option<String>],
        &messages.iter().map(|message| times(message).0).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &messages.iter().map(|message| times(message).1).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &addresses as &[Option<String>],
    )
    .fetch_all(&mut *conn)
    .await?;
    let jobs = written
        .iter()
        .filter(|row| row.state == State::Queued.as_str())
        .map(|row| job(row.id, row.user, Class::of(&row.class), Some(row.not_before)))
        .collect::<Result<Vec<_>, _>>()?;
    let enqueued = enqueue(conn, &jobs).await?;
    Ok((written.len() as u64, enqueued))
}

/// Makes the job that sends a message.
fn job(
    id: Uuid,
    user: Option<UserId>,
    class: Class,
    at: Option<DateTime<Utc>>,
) -> Result<NewJob, greenroom_queue::EnqueueError> {
    // What a person has to know goes before news.
    let priority = if class == Class::Service { 3 } else { 6 };
    let job = NewJob::of(&Send { message_id: id })?.priority(priority);
    let job = match user {
        Some(user) => job.for_user(user),
        None => job,
    };
    Ok(match at {
        Some(at) => job.at(at),
        None => job,
    })
}

/// Enqueues messages that wait for a job although they are due: those of a step that goes on, or whose job is gone.
pub(crate) async fn enqueue_waiting(
    conn: &mut PgConnection,
    of: Option<(&str, &str)>,
    limit: i64,
) -> Result<Vec<Enqueued>, MailError> {
    let waiting = sqlx::query!(
        r#"
        select o.id, o.user_id as "user: UserId", o.class
          from greenroom.email_outbox o
         where (o.state in ('queued', 'sending') or (o.state = 'unknown' and o.class = 'service'))
           and ($1::text is null or (o.campaign = $1 and o.step = $2))
           -- A job that is just ending may still hold the key.
           and ($1::text is not null or o.not_before < greenroom.now() - interval '2 minutes')
           and not exists (select from greenroom.mail_steps s where s.campaign = o.campaign and s.step = o.step)
           and not exists (select from background_jobs j
                            where j.unique_key = 'mail.send:' || o.id and j.status in ('pending', 'running'))
         order by o.not_before
         limit $3
        "#,
        of.map(|(campaign, _)| campaign),
        of.map(|(_, step)| step),
        limit,
    )
    .fetch_all(&mut *conn)
    .await?;
    let jobs = waiting
        .iter()
        .map(|row| job(row.id, row.user, Class::of(&row.class), None))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(enqueue(conn, &jobs).await?)
}

/// Something that somebody has to know; no consent to marketing is asked for.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// What it is about, such as `connection_error`: the template's name.
    pub step: &'static str,
    /// Which time of it: the same is told once.
    pub occurrence: &'a str,
    /// What the template says; nothing secret.
    pub params: Value,
    /// After which it is too old to be told.
    pub lasts: Duration,
}

/// Tells a person something about their own account, unless this occurrence was told; returns whether it was not.
pub async fn notify(conn: &mut PgConnection, user: UserId, notice: &Notice<'_>) -> Result<bool, MailError> {
    Ok(tell(conn, vec![Whom::User(user)], notice).await? == 1)
}

/// Tells whoever runs the house: admins, and the addresses that are to be told of operations. Returns how many are told
/// that were not.
pub async fn tell_admins(conn: &mut PgConnection, notice: &Notice<'_>) -> Result<u64, MailError> {
    let admins = sqlx::query!(
        r#"
        select id as "user: UserId", null as address from users where is_admin and is_active
        union all
        select null, s.email from admin_notification_settings s
         where s.is_active and s.notification_types @> '{"operations": true}'
           and not exists (select from users u where lower(u.email) = lower(s.email) and u.is_admin and u.is_active)
        "#
    );
    let whom = admins.fetch_all(&mut *conn).await?.into_iter();
    let whom = whom.filter_map(|row| row.user.map(Whom::User).or(row.address.map(Whom::Address)));
    tell(conn, whom.collect(), notice).await
}

async fn tell(conn: &mut PgConnection, whom: Vec<Whom>, notice: &Notice<'_>) -> Result<u64, MailError> {
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *conn).await?;
    let message = |whom| NewMessage {
        whom,
        campaign: "notices",
        step: notice.step,
        occurrence: notice.occurrence.to_owned(),
        class: Class::Service,
        params: notice.params.clone(),
        then: Then::Send { not_before: now, expires_at: now + notice.lasts },
    };
    let messages: Vec<_> = whom.into_iter().map(message).collect();
    Ok(insert(conn, &messages).await?.0)
}

/// A message on its way, as its sender sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// Who gets it; nobody, where it is no user's.
    pub user: Option<UserId>,
    /// Its campaign.
    pub campaign: String,
    /// The step of the campaign.
    pub step: String,
    /// Which time of it.
    pub occurrence: String,
    /// Whether it needs consent.
    pub class: Class,
}

/// A message as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// Who gets it.
    pub user_id: Option<UserId>,
    /// Its campaign.
    pub campaign: String,
    /// The step of the campaign.
    pub step: String,
    /// Which time of it.
    pub occurrence: String,
    /// Whether it needs consent.
    pub class: String,
    /// Its state.
    pub state: String,
    /// Why it is not sent.
    pub reason: Option<String>,
    /// From when on it may be sent.
    pub not_before: DateTime<Utc>,
    /// From when on it is too old.
    pub expires_at: Option<DateTime<Utc>>,
    /// Tries in which a server was reached.
    pub attempts: i16,
    /// The address at its last try.
    pub to_address: Option<String>,
    /// Its name for all servers.
    pub message_id: Option<String>,
    /// What the server said.
    pub response: Option<String>,
    /// When a server took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// Shows a message.
pub async fn show(conn: &mut PgConnection, id: Uuid) -> Result<Row, MailError> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, user_id as "user_id: UserId", campaign, step, occurrence, class, state, reason, not_before,
                  expires_at, attempts, to_address, message_id, response, sent_at, created_at
             from greenroom.email_outbox where id = $1"#,
        id
    );
    row.fetch_optional(conn).await?.ok_or(MailError::NotFound(id))
}

/// Lists messages of a user, or all, in this state or any, the newest first.
pub async fn rows(
    conn: &mut PgConnection,
    user: Option<UserId>,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<Row>, MailError> {
    Ok(sqlx::query_as!(
        Row,
        r#"select id, user_id as "user_id: UserId", campaign, step, occurrence, class, state, reason, not_before,
                  expires_at, attempts, to_address, message_id, response, sent_at, created_at
             from greenroom.email_outbox
            where ($1::uuid is null or user_id = $1) and ($2::text is null or state = $2)
            order by created_at desc, id desc limit $3"#,
        user.map(|user| user.0),
        state,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// Has a message sent again of which nobody knows, or which failed: an operator's decision. Returns the job.
pub async fn resend(conn: &mut PgConnection, id: Uuid) -> Result<Vec<Enqueued>, MailError> {
    let row = sqlx::query!(
        r#"
        update greenroom.email_outbox o
           set state = 'queued', reason = null, unknowns = 0, has_slot = false, not_before = greenroom.now(),
               expires_at = greatest(o.expires_at, greenroom.now() + interval '1 day'), sent_at = null,
               updated_at = greenroom.now()
         where id = $1 and state in ('unknown', 'failed', 'expired')
        returning user_id as "user: UserId", class
        "#,
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else {
        let state = show(conn, id).await?.state;
        return Err(MailError::State {
            state,
            rule: "only unknown, failed and expired ones can be sent again",
        });
    };
    Ok(enqueue(conn, &[job(id, row.user, Class::of(&row.class), None)?]).await?)
}

/// Cancels a message that waits.
pub async fn cancel(conn: &mut PgConnection, id: Uuid) -> Result<(), MailError> {
    let cancelled = sqlx::query!(
        "update greenroom.email_outbox set state = 'cancelled', reason = 'by_operator', updated_at = greenroom.now()
          where id = $1 and state = 'queued'",
        id
    );
    if cancelled.execute(&mut *conn).await?.rows_affected() == 1 {
        return Ok(());
    }
    let state = show(conn, id).await?.state;
    Err(MailError::State { state, rule: "only queued ones can be cancelled" })
}
