//! Steps of campaigns that are paused: their messages wait in the outbox without a job.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_queue::Enqueued;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use crate::{MailError, Notice, outbox, tell_admins};

/// After at least so many messages of a step within a week, more hard bounces or complaints than these shares pause it.
const LEAST: i64 = 100;
const BOUNCES_PER_MILLE: i64 = 50;
const COMPLAINTS_PER_MILLE: i64 = 1;
/// How long admins are told of a pause.
const TOLD_FOR: Duration = Duration::from_hours(7 * 24);

/// A step as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// Its campaign.
    pub campaign: String,
    /// Its name there.
    pub step: String,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Option<String>,
    /// Messages by state.
    pub states: serde_json::Value,
    /// When the oldest one that should be gone by now was due.
    pub oldest_due: Option<DateTime<Utc>>,
}

/// Pauses a step; its messages wait, those on their way arrive. Returns whether it was not paused already.
pub async fn pause(conn: &mut PgConnection, campaign: &str, step: &str, reason: &str) -> sqlx::Result<bool> {
    let paused = sqlx::query!(
        "insert into greenroom.mail_steps (campaign, step, reason) values ($1, $2, $3) on conflict do nothing",
        campaign,
        step,
        reason,
    );
    Ok(paused.execute(conn).await?.rows_affected() == 1)
}

/// Lets a step go on: its messages get their jobs back, in the caller's transaction.
pub async fn resume(conn: &mut PgConnection, campaign: &str, step: &str) -> Result<Vec<Enqueued>, MailError> {
    let resumed =
        sqlx::query!("delete from greenroom.mail_steps where campaign = $1 and step = $2", campaign, step);
    resumed.execute(&mut *conn).await?;
    outbox::enqueue_waiting(conn, Some((campaign, step)), i64::MAX).await
}

/// Lists the steps of which there are messages or pauses.
pub async fn steps(conn: &mut PgConnection) -> sqlx::Result<Vec<StepRow>> {
    sqlx::query_as!(
        StepRow,
        r#"
        select coalesce(o.campaign, s.campaign) as "campaign!", coalesce(o.step, s.step) as "step!",
               s.paused_at as "paused_at?", s.reason as "reason?",
               coalesce(o.states, '{}') as "states!", o.oldest_due as "oldest_due?"
          from (select campaign, step, jsonb_object_agg(state, n) as states, min(oldest_due) as oldest_due
                  from (select campaign, step, state, count(*) as n,
                               min(not_before) filter (where state = 'queued' and not_before < greenroom.now()) as oldest_due
                          from greenroom.email_outbox group by 1, 2, 3) by_state
                 group by 1, 2) o
          full join greenroom.mail_steps s on s.campaign = o.campaign and s.step = o.step
         order by 1, 2
        "#
    )
    .fetch_all(conn)
    .await
}

/// What has come back of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// A mail, or the server's no to it.
    Mail,
    /// Somebody's complaint.
    Complaint,
}

/// Pauses a step of which too much came back lately; returns the reason if it did.
///
/// Called whenever something has come back. All of a week is counted only at the first few of its kind and then at every
/// twentieth part more, or a list of many bad addresses would be counted for each of them.
pub(crate) async fn judge(
    conn: &mut PgConnection,
    campaign: &str,
    step: &str,
    back: Back,
) -> Result<Option<String>, MailError> {
    let lately = sqlx::query!(
        r#"
        select (select count(*) from greenroom.email_outbox
                 where campaign = $1 and step = $2 and state = 'failed' and reason in ('hard_bounce', 'policy')
                   and updated_at > greenroom.now() - interval '7 days')
             + (select count(*) from greenroom.email_outbox
                 where campaign = $1 and step = $2 and state = 'bounced' and reason in ('hard_bounce', 'rejected')
                   and sent_at > greenroom.now() - interval '7 days') as "bounced!",
               (select count(*) from greenroom.email_outbox
                 where campaign = $1 and step = $2 and state = 'complained'
                   and sent_at > greenroom.now() - interval '7 days') as "complained!"
        "#,
        campaign,
        step,
    )
    .fetch_one(&mut *conn)
    .await?;
    // Of its own kind: complaints are few, and none of them may go by unseen among bounces.
    let counted = match back {
        Back::Mail => lately.bounced,
        Back::Complaint => lately.complained,
    };
    if counted % (counted / 20).max(1) != 0 {
        return Ok(None);
    }
    let tried = sqlx::query_scalar!(
        r#"
        select (select count(*) from greenroom.email_outbox
                 where campaign = $1 and step = $2 and sent_at > greenroom.now() - interval '7 days')
             + (select count(*) from greenroom.email_outbox
                 where campaign = $1 and step = $2 and state = 'failed'
                   and updated_at > greenroom.now() - interval '7 days') as "tried!"
        "#,
        campaign,
        step,
    )
    .fetch_one(&mut *conn)
    .await?;
    if tried < LEAST {
        return Ok(None);
    }
    let reason = if lately.bounced * 1_000 > tried * BOUNCES_PER_MILLE {
        format!("{} of {tried} were refused or came back", lately.bounced)
    } else if lately.complained * 1_000 > tried * COMPLAINTS_PER_MILLE {
        format!("{} of {tried} people complained", lately.complained)
    } else {
        return Ok(None);
    };
    if !pause(conn, campaign, step, &reason).await? {
        return Ok(None);
    }
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *conn).await?;
    let notice = Notice {
        step: "step_paused",
        occurrence: &format!("{campaign}.{step} {}", now.to_rfc3339()),
        params: json!({"campaign": campaign, "step": step, "reason": reason}),
        lasts: TOLD_FOR,
    };
    tell_admins(conn, &notice).await?;
    Ok(Some(reason))
}
