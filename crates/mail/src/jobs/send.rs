//! `mail.send`: sends one message.
//!
//! Three steps: a transaction that decides and commits `sending`, the server, a transaction that writes down what came
//! of it together with the end of the job. Whoever finds `sending` at the start knows that an earlier run was cut off
//! between the two, wherever that was: marketing is then never sent again by itself, and what a person has to know
//! once more.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::UserId;
use greenroom_queue::{Context, Done, Job, Policy, Scope, Stop};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use std::time::Duration;
use uuid::Uuid;

use super::Mail;
use crate::compose::{Composed, Draft, compose, message_id};
use crate::rate::{Slot, group_of, slow_down, take};
use crate::steps::Back;
use crate::transport::{Outcome, Reply};
use crate::{
    Check, Class, MailError, Message, Recipient, Settled, State, Verdict, backoff, steps, suppressed,
};

/// When a message that people have to get is sent once more after nobody knew.
const ONCE_MORE: TimeDelta = TimeDelta::minutes(5);
/// So many times nobody knew, and it is given up.
const UNKNOWNS: i16 = 2;

/// Sends a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Send {
    /// Which.
    pub message_id: Uuid,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handled {
    /// The state of the message.
    pub state: String,
    /// Why, where it was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Handled {
    fn new(state: &str, reason: Option<&str>) -> Self {
        Self { state: state.to_owned(), reason: reason.map(str::to_owned) }
    }
}

impl Job for Send {
    const KIND: &'static str = "mail.send";
    const POLICY: Policy =
        Policy::on("mail").pool("mail.transport").max_attempts(20).timeout(Duration::from_mins(10));
    type State = Mail;
    type Report = Handled;

    fn key(&self) -> Option<String> {
        Some(self.message_id.to_string())
    }

    async fn run(self, mail: &Mail, ctx: &Context) -> Result<Done<Handled>, Stop> {
        match begin(mail, ctx, self.message_id).await? {
            Begun::Over(handled) => Ok(handled.into()),
            Begun::Later(at, why) => Err(Stop::snooze_until(at, why)),
            Begun::Ready(ready) => {
                let outcome = mail.transport.send(&ready.composed).await;
                end(mail, ctx, &ready, outcome).await
            }
        }
    }
}

/// Where a run stands after its first transaction.
enum Begun {
    /// There is nothing to send.
    Over(Handled),
    /// It is too early.
    Later(DateTime<Utc>, &'static str),
    /// `sending` is committed.
    Ready(Box<Ready>),
}

/// A message that may go.
struct Ready {
    message: Message,
    composed: Composed,
    group: &'static str,
    /// How often it was tried, this time included.
    attempts: i16,
    unknowns: i16,
    expires_at: Option<DateTime<Utc>>,
    /// When its first try began.
    date: DateTime<Utc>,
    /// What it is again if this try comes to nothing: nobody knows of an earlier one, or there was none.
    otherwise: State,
}

impl Ready {
    /// Returns why it is open after a try that came to nothing; what nobody knows of an earlier one outweighs it.
    fn why(&self, reason: &'static str) -> &'static str {
        if self.otherwise == State::Unknown { "no_answer" } else { reason }
    }
}

/// The row, locked, with what is known of its recipient.
struct Held {
    message: Message,
    state: State,
    reason: Option<String>,
    template: String,
    params: Value,
    not_before: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    attempts: i16,
    unknowns: i16,
    has_slot: bool,
    date: DateTime<Utc>,
    full_name: Option<String>,
    recipient: Option<Recipient>,
    is_paused: bool,
    now: DateTime<Utc>,
}

async fn hold(conn: &mut PgConnection, id: Uuid) -> Result<Held, MailError> {
    let row = sqlx::query!(
        r#"
        select o.user_id as "user_id: UserId", o.campaign, o.step, o.occurrence, o.class, o.state, o.reason,
               o.to_address, o.template, o.params, o.not_before, o.expires_at, o.attempts, o.unknowns, o.has_slot, o.dated_at,
               u.email as "email?", u.full_name, u.is_active as "is_active?", u.marketing_opt_in as "opt_in?",
               u.marketing_unsubscribed_at, u.marketing_bounced_at, u.marketing_last_event,
               exists (select from greenroom.mail_steps s
                        where s.campaign = o.campaign and s.step = o.step) as "is_paused!",
               greenroom.now() as "now!"
          from greenroom.email_outbox o
          left join users u on u.id = o.user_id
         where o.id = $1
           for update of o
        "#,
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(MailError::NotFound(id))?;
    // An address that is no user's has nothing that speaks against it, and gets what concerns the house only.
    let address = row.to_address.filter(|_| row.user_id.is_none());
    let address = address.map(|email| Recipient { email, is_active: true, ..Recipient::default() });
    let recipient = row.email.map(|email| Recipient {
        email,
        is_active: row.is_active.unwrap_or(false),
        opt_in: row.opt_in.unwrap_or(false),
        unsubscribed_at: row.marketing_unsubscribed_at,
        bounced_at: row.marketing_bounced_at,
        last_event: row.marketing_last_event,
    });
    let recipient = recipient.or(address);
    Ok(Held {
        message: Message {
            id,
            user: row.user_id,
            campaign: row.campaign,
            step: row.step,
            occurrence: row.occurrence,
            class: Class::of(&row.class),
        },
        state: State::of(&row.state),
        reason: row.reason,
        template: row.template,
        params: row.params,
        not_before: row.not_before,
        expires_at: row.expires_at,
        attempts: row.attempts,
        unknowns: row.unknowns,
        has_slot: row.has_slot,
        date: row.dated_at.unwrap_or(row.now),
        full_name: row.full_name,
        recipient,
        is_paused: row.is_paused,
        now: row.now,
    })
}

/// Decides, and commits `sending` where the message may go.
async fn begin(mail: &Mail, ctx: &Context, id: Uuid) -> Result<Begun, MailError> {
    let mut tx = mail.pool.begin().await?;
    ctx.fence(&mut tx).await?;
    let held = hold(&mut tx, id).await?;
    let begun = decide(mail, &mut tx, held).await?;
    tx.commit().await?;
    Ok(begun)
}

async fn decide(mail: &Mail, tx: &mut PgConnection, held: Held) -> Result<Begun, MailError> {
    let (id, now) = (held.message.id, held.now);
    let mut unknowns = held.unknowns;
    match held.state {
        State::Queued => {}
        // The transport knows a message that it has had.
        State::Sending | State::Unknown if mail.transport.knows_again(held.date, now) => {}
        State::Sending => {
            unknowns += 1;
            if held.message.class == Class::Marketing {
                return over(tx, &held.message, State::Unknown, "cut_off", unknowns).await;
            }
            if unknowns >= UNKNOWNS {
                return over(tx, &held.message, State::Failed, "unknown", unknowns).await;
            }
        }
        State::Unknown if held.message.class == Class::Service && unknowns < UNKNOWNS => {
            // While the transport knew it again, that was not counted.
            unknowns = unknowns.max(1);
        }
        state => return Ok(Begun::Over(Handled::new(state.as_str(), held.reason.as_deref()))),
    }
    // What was begun once is not "not sent". Where it cannot be sent again, that is its end: what a person has to know
    // would be looked for again and again while it is unknown.
    let undone = |state| match (held.state, held.message.class) {
        (State::Queued, _) => state,
        (_, Class::Service) => State::Failed,
        (_, Class::Marketing) => State::Unknown,
    };
    if held.expires_at.is_some_and(|end| end <= now) {
        return over(tx, &held.message, undone(State::Expired), "too_late", unknowns).await;
    }
    if held.is_paused {
        let state = if held.state == State::Queued { State::Queued } else { State::Unknown };
        return over(tx, &held.message, state, "paused", unknowns).await;
    }
    let Some(who) = &held.recipient else {
        return over(tx, &held.message, undone(State::Suppressed), "no_user", unknowns).await;
    };
    if let Some(reason) = suppressed(who, held.message.class, &mail.settings) {
        return over(tx, &held.message, undone(State::Suppressed), reason, unknowns).await;
    }
    if held.not_before > now {
        return Ok(Begun::Later(held.not_before, "its time has not come"));
    }
    match mail.rules.check(tx, &held.message, now).await? {
        Check::Send => {}
        Check::Cancel(reason) => {
            return over(tx, &held.message, undone(State::Cancelled), reason, unknowns).await;
        }
        Check::Wait(at) => {
            move_to(tx, id, at, false).await?;
            return Ok(Begun::Later(at, "its time has not come"));
        }
    }
    let unsubscribe_url = match (held.message.class, held.message.user) {
        (Class::Marketing, Some(user)) => match mail.rules.unsubscribe_url(user) {
            Some(url) => Some(url),
            None => {
                return over(tx, &held.message, undone(State::Suppressed), "no_unsubscribe_key", unknowns)
                    .await;
            }
        },
        _ => None,
    };
    let draft = Draft {
        id,
        template: &held.template,
        params: &held.params,
        to: &who.email,
        full_name: held.full_name.as_deref(),
        date: held.date,
        unsubscribe_url,
        is_test: false,
    };
    let composed = compose(&draft, mail)?;
    let group = group_of(&who.email);
    // Last, since whoever takes from a rate holds it until the commit.
    if !held.has_slot {
        let (at, has_slot) = match take(tx, &mail.settings, group, now).await? {
            Slot::Now => (None, false),
            Slot::At(at) => (Some(at), true),
            Slot::Full(at) => (Some(at), false),
        };
        if let Some(at) = at {
            move_to(tx, id, at, has_slot).await?;
            return Ok(Begun::Later(at, "the rate of mail is used up"));
        }
    }
    let attempts = held.attempts + 1;
    sqlx::query!(
        r#"
        update greenroom.email_outbox
           set state = 'sending', reason = null, attempts = $2, unknowns = $3, has_slot = false, to_address = $4,
               message_id = coalesce(message_id, $5), dated_at = coalesce(dated_at, $7), template_version = $6, updated_at = greenroom.now()
         where id = $1
        "#,
        id,
        attempts,
        unknowns,
        who.email,
        message_id(id, &mail.settings.domain()),
        mail.templates.version(),
        held.date,
    )
    .execute(&mut *tx)
    .await?;
    Ok(Begun::Ready(Box::new(Ready {
        message: held.message,
        composed,
        group,
        attempts,
        unknowns,
        expires_at: held.expires_at,
        date: held.date,
        otherwise: if held.state == State::Queued { State::Queued } else { State::Unknown },
    })))
}

/// Writes that nothing is sent, and why.
async fn over(
    tx: &mut PgConnection,
    message: &Message,
    state: State,
    reason: &str,
    unknowns: i16,
) -> Result<Begun, MailError> {
    sqlx::query!(
        "update greenroom.email_outbox
            set state = $2, reason = $3, unknowns = $4, has_slot = false, updated_at = greenroom.now() where id = $1",
        message.id,
        state.as_str(),
        reason,
        unknowns,
    )
    .execute(tx)
    .await?;
    count(message, state.as_str(), "none");
    Ok(Begun::Over(Handled::new(state.as_str(), Some(reason))))
}

async fn move_to(tx: &mut PgConnection, id: Uuid, at: DateTime<Utc>, has_slot: bool) -> sqlx::Result<()> {
    let moved = sqlx::query!(
        "update greenroom.email_outbox set not_before = $2, has_slot = $3, updated_at = greenroom.now() where id = $1",
        id,
        at,
        has_slot,
    );
    moved.execute(tx).await.map(|_| ())
}

/// Writes down what came of a try, together with the end of the job.
async fn end(mail: &Mail, ctx: &Context, ready: &Ready, outcome: Outcome) -> Result<Done<Handled>, Stop> {
    let mut tx = mail.pool.begin().await?;
    // On the same connection: senders that each hold one and wait for another would wait for each other.
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *tx).await?;
    match outcome {
        Outcome::Accepted(reply) => {
            let first = settle(&mut tx, ready, State::Sent, None, Some(&reply), ready.unknowns).await?;
            if first {
                mail.rules.settled(&mut tx, &ready.message, Settled::Sent, ctx.id(), now).await?;
            }
            finish(tx, ctx, ready, State::Sent, None).await
        }
        Outcome::Refused(reply, judged) => {
            if judged == Verdict::Fault {
                tracing::error!(mail.id = %ready.message.id, code = reply.code, "A server says that we are at fault");
            }
            settle(&mut tx, ready, State::Failed, Some(judged.as_str()), Some(&reply), ready.unknowns)
                .await?;
            mail.rules.settled(&mut tx, &ready.message, Settled::Refused(judged), ctx.id(), now).await?;
            if let Verdict::Hard | Verdict::Policy = judged {
                let Message { campaign, step, .. } = &ready.message;
                if let Some(reason) = steps::judge(&mut tx, campaign, step, Back::Mail).await? {
                    tracing::error!(campaign, step, reason, "A step was paused: too much of it came back");
                }
            }
            finish(tx, ctx, ready, State::Failed, Some(judged.as_str())).await
        }
        Outcome::Deferred(reply) => {
            if matches!(reply.code, 421 | 429 | 450 | 451 | 454) {
                slow_down(&mut tx, &mail.settings, ready.group).await?;
            }
            let at = now + backoff::wait(ready.message.id, ready.attempts);
            if ready.otherwise == State::Queued && ready.expires_at.is_some_and(|end| end <= at) {
                settle(&mut tx, ready, State::Expired, Some("too_late"), Some(&reply), ready.unknowns)
                    .await?;
                return finish(tx, ctx, ready, State::Expired, Some("too_late")).await;
            }
            settle(
                &mut tx,
                ready,
                ready.otherwise,
                Some(ready.why("deferred")),
                Some(&reply),
                ready.unknowns,
            )
            .await?;
            move_to(&mut tx, ready.message.id, at, false).await?;
            tx.commit().await?;
            count(&ready.message, "deferred", ready.group);
            Err(Stop::snooze_until(at, "the server deferred it"))
        }
        Outcome::Unreached(why) => {
            // Says nothing about the message: the try does not count, and everybody waits for the transport.
            sqlx::query!(
                "update greenroom.email_outbox
                    set state = $2, reason = $3, attempts = attempts - 1, updated_at = greenroom.now()
                  where id = $1 and state = 'sending'",
                ready.message.id,
                ready.otherwise.as_str(),
                ready.why("unreached"),
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            count(&ready.message, "unreached", ready.group);
            Err(Stop::trip(Scope::Pool, None, format!("the mail server cannot be used: {why}")))
        }
        Outcome::Unknown(why) => {
            tracing::warn!(mail.id = %ready.message.id, why, "Nobody knows whether a message was taken");
            if mail.transport.knows_again(ready.date, now) {
                settle(&mut tx, ready, State::Unknown, Some("no_answer"), None, ready.unknowns).await?;
                let at = now + backoff::wait(ready.message.id, ready.attempts);
                move_to(&mut tx, ready.message.id, at, false).await?;
                tx.commit().await?;
                count(&ready.message, "unknown", ready.group);
                return Err(Stop::snooze_until(at, "it is asked again whether it was taken"));
            }
            let unknowns = ready.unknowns + 1;
            if ready.message.class == Class::Service && unknowns >= UNKNOWNS {
                settle(&mut tx, ready, State::Failed, Some("unknown"), None, unknowns).await?;
                return finish(tx, ctx, ready, State::Failed, Some("unknown")).await;
            }
            settle(&mut tx, ready, State::Unknown, Some("no_answer"), None, unknowns).await?;
            if ready.message.class == Class::Marketing {
                return finish(tx, ctx, ready, State::Unknown, Some("no_answer")).await;
            }
            let at = now + ONCE_MORE;
            move_to(&mut tx, ready.message.id, at, false).await?;
            tx.commit().await?;
            count(&ready.message, "unknown", ready.group);
            Err(Stop::snooze_until(at, "nobody knows whether it was taken"))
        }
    }
}

/// Writes the outcome, unless somebody knows better by now; tells whether it was written.
///
/// A run that was taken for dead may come back with the truth about a message that is unknown since.
async fn settle(
    tx: &mut PgConnection,
    ready: &Ready,
    state: State,
    reason: Option<&str>,
    reply: Option<&Reply>,
    unknowns: i16,
) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        r#"
        update greenroom.email_outbox
           set state = $2, reason = $3, unknowns = $4, smtp_code = $5, enhanced_status = $6, response = $7,
               provider_message_id = coalesce($8, provider_message_id),
               sent_at = case when $2 = 'sent' then greenroom.now() else sent_at end, updated_at = greenroom.now()
         where id = $1 and (state = 'sending' or (state = 'unknown' and $2 = 'sent'))
        "#,
        ready.message.id,
        state.as_str(),
        reason,
        unknowns,
        reply.map(|reply| i32::from(reply.code)).filter(|code| *code > 0),
        reply.and_then(|reply| reply.enhanced).map(|enhanced| enhanced.to_string()),
        reply.map(|reply| reply.text.clone()),
        reply.and_then(|reply| reply.provider_id.clone()),
    )
    .execute(tx)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Ends the job in the same transaction; where it is no longer ours, what is known of the message is kept all the same.
async fn finish(
    mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
    ctx: &Context,
    ready: &Ready,
    state: State,
    reason: Option<&str>,
) -> Result<Done<Handled>, Stop> {
    let handled = Handled::new(state.as_str(), reason);
    count(&ready.message, state.as_str(), ready.group);
    match ctx.complete(&mut tx, handled.clone()).await {
        Ok(done) => {
            tx.commit().await?;
            Ok(done)
        }
        Err(greenroom_queue::QueueError::LeaseLost(_)) => {
            tx.commit().await?;
            Err(Stop::interrupted())
        }
        Err(error) => Err(error.into()),
    }
}

fn count(message: &Message, outcome: &str, group: &'static str) {
    metrics::counter!(
        "greenroom_mail_messages_total",
        "campaign" => message.campaign.clone(), "step" => message.step.clone(),
        "outcome" => outcome.to_owned(), "group" => group,
    )
    .increment(1);
}
