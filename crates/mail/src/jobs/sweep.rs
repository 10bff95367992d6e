//! `mail.sweep`: gives messages a job that wait for one: whose job was cancelled or deleted, or whose step goes on.
//!
//! The rows are the request; the job is only how they are served. Run twice, the key of a job keeps it from being
//! enqueued twice.

use greenroom_queue::{Context, Done, Job, Policy, Stop};
use serde::{Deserialize, Serialize};

use super::Mail;
use crate::outbox::enqueue_waiting;

/// Messages that one statement looks at.
const PAGE: i64 = 1_000;

/// Looks for messages without a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sweep {}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swept {
    /// Messages that got a job.
    pub enqueued: u64,
}

impl Job for Sweep {
    const KIND: &'static str = "mail.sweep";
    const POLICY: Policy = Policy::on("mail").cron("* * * * *").max_attempts(3);
    type State = Mail;
    type Report = Swept;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, mail: &Mail, ctx: &Context) -> Result<Done<Swept>, Stop> {
        let mut swept = Swept::default();
        loop {
            ctx.check()?;
            let mut tx = mail.pool.begin().await?;
            let enqueued = enqueue_waiting(&mut tx, None, PAGE).await?;
            tx.commit().await?;
            ctx.queue().wake(&enqueued);
            swept.enqueued += enqueued.len() as u64;
            if enqueued.is_empty() {
                break;
            }
        }
        tell(mail).await?;
        Ok(swept.into())
    }
}

/// Sets the gauges of the outbox: what is open by state and class, and for how long the oldest is due.
async fn tell(mail: &Mail) -> sqlx::Result<()> {
    let open = sqlx::query!(
        r#"
        select s.state as "state!", c.class as "class!", coalesce(o.n, 0) as "n!",
               coalesce(extract(epoch from greenroom.now() - o.oldest)::float8, 0) as "late!"
          from unnest(array['queued', 'sending', 'unknown']) s (state)
         cross join unnest(array['service', 'marketing']) c (class)
          left join (select state, class, count(*) as n, min(not_before) as oldest
                       from greenroom.email_outbox
                      where state in ('queued', 'sending', 'unknown') group by 1, 2) o
            on o.state = s.state and o.class = c.class
        "#
    )
    .fetch_all(&mail.pool)
    .await?;
    for row in open {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("greenroom_mail_outbox", "state" => row.state.clone(), "class" => row.class.clone())
            .set(row.n as f64);
        if row.state == "queued" {
            metrics::gauge!("greenroom_mail_oldest_due_seconds", "class" => row.class).set(row.late.max(0.0));
        }
    }
    Ok(())
}
