//! `mail.prune`: forgets what providers told once it is old, and tokens that can no longer come again.
//!
//! The outbox is not pruned: its rows are what keeps anybody from getting a mail twice. Run twice, the second finds
//! nothing.

use chrono::TimeDelta;
use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Mail;

/// Rows that one statement takes.
const PAGE: i64 = 5_000;
/// A token is good for minutes; after an hour it is refused by its time.
const TOKENS: TimeDelta = TimeDelta::hours(1);

/// Forgets old events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prune {}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pruned {
    /// Events and tokens.
    pub events: u64,
}

impl Job for Prune {
    const KIND: &'static str = "mail.prune";
    const POLICY: Policy = Policy::on("mail").cron("27 4 * * *").max_attempts(3);
    type State = Mail;
    type Report = Pruned;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, mail: &Mail, ctx: &Context) -> Result<Done<Pruned>, Stop> {
        let now = ctx.now().await?;
        let kept = TimeDelta::days(i64::from(mail.settings.keep_events_days.get()));
        let mut pruned = Pruned::default();
        loop {
            ctx.check()?;
            // By two statements, or the second would look at every event that is kept to find the tokens.
            let events = sqlx::query!(
                "delete from greenroom.email_events
                  where id = any(array(select id from greenroom.email_events
                                        where processed_at is not null and created_at < $1
                                        order by created_at limit $2))",
                now - kept,
                PAGE,
            );
            let events = events.execute(&mail.pool).await?.rows_affected();
            let tokens = sqlx::query!(
                "delete from greenroom.email_events
                  where id = any(array(select id from greenroom.email_events
                                        where event = 'token' and created_at < $1
                                        order by created_at limit $2))",
                now - TOKENS,
                PAGE,
            );
            let tokens = tokens.execute(&mail.pool).await?.rows_affected();
            pruned.events += events + tokens;
            if events.max(tokens) < PAGE.unsigned_abs() {
                return Ok(pruned.into());
            }
        }
    }
}
