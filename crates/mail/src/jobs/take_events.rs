//! `mail.take_events`: works off what providers told.
//!
//! A transaction an event, oldest first. What matches no message is kept and marked as looked at. Run twice, the second
//! finds nothing; every effect goes one way, so it does not matter in which order events come.

use chrono::{DateTime, Utc};
use greenroom_model::UserId;
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Mail;
use crate::events::{Event, Happened};
use crate::steps::Back;
use crate::{Class, MailError, Message, Settled, steps};

/// Events that one look takes.
const PAGE: i64 = 200;

/// Works off events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TakeEvents {}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventsTaken {
    /// Events of messages of ours.
    pub matched: u64,
    /// Events of others.
    pub unmatched: u64,
}

impl Job for TakeEvents {
    const KIND: &'static str = "mail.take_events";
    const POLICY: Policy = Policy::on("mail").cron("* * * * *").max_attempts(5).priority(4);
    type State = Mail;
    type Report = EventsTaken;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, mail: &Mail, ctx: &Context) -> Result<Done<EventsTaken>, Stop> {
        let mut taken = EventsTaken::default();
        loop {
            let open = sqlx::query_scalar!(
                "select id from greenroom.email_events where processed_at is null order by created_at, id limit $1",
                PAGE
            )
            .fetch_all(&mail.pool)
            .await?;
            if open.is_empty() {
                return Ok(taken.into());
            }
            for id in open {
                ctx.check()?;
                *(if take(mail, ctx, id).await? { &mut taken.matched } else { &mut taken.unmatched }) += 1;
            }
        }
    }
}

/// The message that an event is about.
struct About {
    message: Message,
    state: String,
}

/// Works off one event; tells whether it was about a message of ours.
async fn take(mail: &Mail, ctx: &Context, id: Uuid) -> Result<bool, MailError> {
    let mut tx = mail.pool.begin().await?;
    let row = sqlx::query!(
        r#"select provider, event, payload, created_at from greenroom.email_events
            where id = $1 and processed_at is null for update"#,
        id
    );
    let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(true) };
    let event = row.payload.and_then(|payload| serde_json::from_value::<Event>(payload).ok());
    let about = match &event {
        Some(event) => find(&mut tx, event).await?,
        None => None,
    };
    if let (Some(event), Some(about)) = (&event, &about) {
        apply(mail, &mut tx, ctx, about, event, event.at.unwrap_or(row.created_at)).await?;
    }
    sqlx::query!(
        "update greenroom.email_events set processed_at = greenroom.now(), outbox_id = $2 where id = $1",
        id,
        about.as_ref().map(|about| about.message.id),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    let matches = if about.is_some() { "yes" } else { "no" };
    metrics::counter!("greenroom_mail_events_total", "provider" => row.provider, "event" => row.event, "matched" => matches)
        .increment(1);
    Ok(about.is_some())
}

async fn find(conn: &mut PgConnection, event: &Event) -> sqlx::Result<Option<About>> {
    let row = sqlx::query!(
        r#"
        select id, user_id as "user_id: UserId", campaign, step, occurrence, class, state
          from greenroom.email_outbox
         where id = coalesce((select id from greenroom.email_outbox where provider_message_id = $1 limit 1),
                             (select id from greenroom.email_outbox where message_id = $2 limit 1), $3)
           for update
        "#,
        event.provider_message_id,
        event.message_id,
        event.message,
    );
    Ok(row.fetch_optional(conn).await?.map(|row| About {
        message: Message {
            id: row.id,
            user: row.user_id,
            campaign: row.campaign,
            step: row.step,
            occurrence: row.occurrence,
            class: Class::of(&row.class),
        },
        state: row.state,
    }))
}

async fn apply(
    mail: &Mail,
    conn: &mut PgConnection,
    ctx: &Context,
    about: &About,
    event: &Event,
    at: DateTime<Utc>,
) -> Result<(), MailError> {
    let becomes = match event.happened {
        Happened::Delivered => Some("delivered"),
        Happened::HardBounce | Happened::SoftBounce | Happened::Rejected => Some("bounced"),
        Happened::Complained => Some("complained"),
        _ => None,
    };
    // Only forward: what was complained of is not delivered again by an event that comes late.
    let rank = |state: &str| {
        ["sending", "unknown", "sent", "delivered", "bounced", "complained"]
            .iter()
            .position(|known| *known == state)
    };
    if let Some(becomes) = becomes
        && rank(&about.state).is_some_and(|now| Some(now) < rank(becomes))
    {
        sqlx::query!(
            "update greenroom.email_outbox
                set state = $2, reason = $3, sent_at = coalesce(sent_at, $4), updated_at = greenroom.now()
              where id = $1",
            about.message.id,
            becomes,
            (becomes == "bounced").then(|| event.happened.as_str()),
            at,
        )
        .execute(&mut *conn)
        .await?;
        // Now it is known.
        if matches!(about.state.as_str(), "sending" | "unknown") {
            mail.rules.settled(conn, &about.message, Settled::Confirmed, ctx.id(), at).await?;
        }
    }
    if let Some(user) = about.message.user {
        mail.rules.heard(conn, user, event.happened, at).await?;
    }
    let back = match event.happened {
        Happened::HardBounce | Happened::Rejected => Some(Back::Mail),
        Happened::Complained => Some(Back::Complaint),
        _ => None,
    };
    if let Some(back) = back {
        let Message { campaign, step, .. } = &about.message;
        if let Some(reason) = steps::judge(conn, campaign, step, back).await? {
            tracing::error!(campaign, step, reason, "A step was paused: too much of it came back");
        }
    }
    Ok(())
}
