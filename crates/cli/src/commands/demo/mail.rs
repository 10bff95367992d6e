//! The demo's mail: people whose steps are due, one who wants none, and what the mail server has taken in the end.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use greenroom_mail::events::{DSN, Verified, store};
use greenroom_mail::{Report, take_events};
use greenroom_model::{Clock, OrganizationId, UserId};
use greenroom_sandbox::Running;
use serde::Serialize;
use sqlx::PgPool;

use super::{Cast, http, unreachable};
use crate::CliError;
use crate::stage::Stage;

/// How far ahead the doors of the demo open: a week, but for an hour.
pub(super) const LAUNCH_IN: TimeDelta = TimeDelta::hours(7 * 24 - 1);

/// What became of mail.
#[derive(Debug, Serialize)]
pub(super) struct Mail {
    /// Messages that were sent, by step.
    pub(super) sent: BTreeMap<String, i64>,
    /// Messages that were not, by step and reason.
    pub(super) not_sent: BTreeMap<String, i64>,
    /// Messages of which nobody knows, of which there must be none.
    pub(super) unknown: i64,
    /// Trials that ended.
    pub(super) trials_ended: i64,
    /// What the mail server has taken: to whom, and the subject.
    pub(super) taken: Vec<String>,
    /// People who left the list by the link of a mail.
    pub(super) unsubscribed: i64,
    /// People whose address turned out not to exist, by a report that came back; a forged one marked nobody.
    pub(super) came_back: i64,
}

impl Mail {
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let count = |counts: &BTreeMap<String, i64>| {
            counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
        };
        lines.push(("Mail sent".to_owned(), count(&self.sent)));
        lines.push(("Mail not sent, and why".to_owned(), count(&self.not_sent)));
        lines.push(("Trials ended".to_owned(), self.trials_ended.to_string()));
        lines.push(("Left the list by a mail's link".to_owned(), self.unsubscribed.to_string()));
        lines.push(("Address that does not exist".to_owned(), self.came_back.to_string()));
        for taken in &self.taken {
            lines.push(("  the mail server took".to_owned(), taken.clone()));
        }
        lines
    }
}

/// Puts people where steps are due: on trial, on the waiting list, and one who asked for no more news.
pub(super) async fn cast(stage: &Stage, agency: OrganizationId, cast: &Cast) -> Result<(), CliError> {
    let edsger = stage.creator(agency, "Edsger").await?;
    let barbara = stage.creator(agency, "Barbara").await?;
    let kathleen = stage.creator(agency, "Kathleen").await?;
    let now = Clock::system().now();
    let set_trial = async |user: UserId, ends_in: TimeDelta| {
        let set = sqlx::query!(
            "update users set subscription_status = 'trial', trial_start_date = $2, trial_end_date = $3 where id = $1",
            user.0,
            now - TimeDelta::days(11),
            now + ends_in,
        );
        set.execute(&stage.pool).await.map(|_| ())
    };
    set_trial(cast.ada, TimeDelta::hours(60)).await?;
    set_trial(edsger, TimeDelta::hours(-1)).await?;
    let waiting = sqlx::query!(
        "update users set joined_waiting_list_at = $2, marketing_opt_in = true where id = any($1)",
        &[cast.grace.0, barbara.0, kathleen.0],
        now - TimeDelta::days(30),
    );
    waiting.execute(&stage.pool).await?;
    let left = sqlx::query!(
        "update users set marketing_unsubscribed_at = $2, marketing_opt_in = false where id = $1",
        barbara.0,
        now - TimeDelta::days(3),
    );
    left.execute(&stage.pool).await?;
    Ok(())
}

/// Leaves the list as a mail program does for a reader who clicks its button: by the link in the header of a mail.
pub(super) async fn click_unsubscribe(sandbox: &Running) -> Result<(), CliError> {
    let mails = sandbox.mails();
    let link = mails.iter().rev().find_map(|mail| {
        mail.header("List-Unsubscribe")?.split_once('<')?.1.split_once('>').map(|(link, _)| link.to_owned())
    });
    let Some(link) = link else {
        return Err(CliError::Failed("no mail says how to leave the list".to_owned()));
    };
    let answer =
        http()?.post(link).form(&[("List-Unsubscribe", "One-Click")]).send().await.map_err(unreachable)?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(CliError::Failed(format!("the link in a mail answered {status}"))),
    }
}

/// Has a mail come back as that of somebody who does not exist, and a forgery that says the same of everybody else.
pub(super) async fn come_back(stage: &Stage, sandbox: &Running) -> Result<(), CliError> {
    let missing = |what: &str| CliError::Failed(what.to_owned());
    let paths =
        stage.house.mail().return_paths.as_ref().ok_or_else(|| missing("there are no return paths"))?;
    let mails = sandbox.mails();
    let is_service = |mail: &&greenroom_sandbox::Received| mail.header("List-Unsubscribe").is_none();
    let returned =
        mails.iter().find(is_service).ok_or_else(|| missing("no mail was taken that is no news"))?;
    let others = mails.iter().filter(|mail| mail.from != returned.from).map(|mail| mail.to.concat());
    let mut events = Vec::new();
    for to in others.chain([returned.from.clone()]) {
        let report = format!(
            "To: <{to}>\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
             --x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
             Action: failed\r\nStatus: 5.1.1\r\n\r\n--x--\r\n"
        );
        if let Report::About(event) = paths.read(report.as_bytes(), None) {
            events.push(event);
        }
    }
    let refused = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
    let mut tx = stage.pool.begin().await?;
    let stored = store(&mut tx, DSN, &Verified::of(events)).await.map_err(|error| refused(&error))?;
    stored.map_err(|error| refused(&error))?;
    let jobs = take_events(&mut tx).await.map_err(|error| refused(&error))?;
    tx.commit().await?;
    stage.queue.wake(&jobs);
    Ok(())
}

/// Holds the outbox against what the mail server has taken.
pub(super) async fn account(
    pool: &PgPool,
    sandbox: &Running,
    disagreements: &mut Vec<String>,
) -> Result<Mail, CliError> {
    let (mut sent, mut not_sent, mut unknown) = (BTreeMap::new(), BTreeMap::new(), 0);
    let rows = sqlx::query!(
        r#"select campaign || '.' || step as "step!", state, coalesce(reason, '') as "reason!", count(*) as "n!"
             from greenroom.email_outbox group by 1, 2, 3"#
    );
    for row in rows.fetch_all(pool).await? {
        match row.state.as_str() {
            "sent" | "bounced" => *sent.entry(row.step).or_default() += row.n,
            "skipped" | "suppressed" | "cancelled" | "expired" => {
                *not_sent.entry(format!("{} {}", row.step, row.reason)).or_default() += row.n;
            }
            _ => unknown += row.n,
        }
    }
    let people = sqlx::query!(
        r#"select count(*) filter (where subscription_status = 'expired') as "ended!",
                  count(*) filter (where marketing_last_event = 'unsubscribed') as "left!",
                  count(*) filter (where marketing_bounced_at is not null) as "came_back!" from users"#
    );
    let people = people.fetch_one(pool).await?;
    let mails = sandbox.mails();
    let ours: i64 = sent.values().sum();
    if usize::try_from(ours) != Ok(mails.len()) {
        disagreements
            .push(format!("mails: the outbox has sent {ours}, the mail server has taken {}", mails.len()));
    }
    let mut ids: Vec<_> = mails.iter().filter_map(|mail| mail.header("Message-ID")).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != mails.len() {
        disagreements.push("the mail server has taken a mail twice".to_owned());
    }
    if unknown > 0 {
        disagreements.push(format!("{unknown} mails are neither sent nor is it said why not"));
    }
    if people.left != 1 {
        disagreements.push(format!("{} people left the list by a link, and not one", people.left));
    }
    if people.came_back != 1 {
        disagreements.push(format!("{} addresses are taken for wrong, and not one", people.came_back));
    }
    let taken = mails
        .iter()
        .map(|mail| format!("{}: {}", mail.to.join(", "), mail.header("Subject").unwrap_or_default()))
        .collect();
    let (trials_ended, unsubscribed, came_back) = (people.ended, people.left, people.came_back);
    Ok(Mail { sent, not_sent, unknown, trials_ended, taken, unsubscribed, came_back })
}

/// The settings by which the demo's mail does not wait for anybody's morning.
pub(super) fn settings() -> [(&'static str, String); 6] {
    let launch = Clock::system().now() + LAUNCH_IN;
    [
        ("campaigns.waitlist.launch_at", launch.to_rfc3339()),
        ("campaigns.window_opens", "00:00".to_owned()),
        ("campaigns.window_closes", "00:00".to_owned()),
        ("mail.postal_address", "Backstage Talent, 1 Stage Door, London".to_owned()),
        ("mail.bounce_domain", "bounces.backstage.example".to_owned()),
        ("mail.from", "Backstage Talent <hello@backstage.example>".to_owned()),
    ]
}
