//! `campaigns.plan`: ends trials that are over, and plans for everybody who may be due.
//!
//! A transaction a page. Killed, the next one finds what is left; twice at once, the keys of the outbox let each
//! message be written once.

use chrono::{DateTime, Utc};
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_mail::insert;
use greenroom_queue::{Context, Done, Enqueued, Job, Policy, Stop};
use greenroom_sync::{Counts, Run, Subject, runs};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use std::time::{Duration, Instant};

use super::{Campaigns, PAGE};
use crate::plan::{Decision, Person, expired, trial, waitlist};
use crate::{CampaignsError, launch, store};

/// Trials that one transaction ends.
const EXPIRED_AT_ONCE: i64 = 2_000;

/// Plans all campaigns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {}

/// What was planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// Trials that ended.
    pub trials_ended: u64,
    /// Messages that will be sent.
    pub queued: u64,
    /// Messages that will not, with the reason.
    pub not_sent: u64,
    /// Messages that were withdrawn, since the launch was moved.
    pub withdrawn: u64,
}

impl Job for Plan {
    const KIND: &'static str = "campaigns.plan";
    const POLICY: Policy =
        Policy::on("campaigns").cron("*/5 * * * *").max_attempts(5).timeout(Duration::from_mins(30));
    type State = Campaigns;
    type Report = Planned;

    fn key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, campaigns: &Campaigns, ctx: &Context) -> Result<Done<Planned>, Stop> {
        Ok(through(campaigns, ctx).await?)
    }
}

/// A plan in the making.
struct Session<'a> {
    campaigns: &'a Campaigns,
    ctx: &'a Context,
    now: DateTime<Utc>,
    report: Planned,
    run: Option<Run>,
}

async fn through(campaigns: &Campaigns, ctx: &Context) -> Result<Done<Planned>, CampaignsError> {
    let (begun, now) = (Instant::now(), ctx.now().await?);
    let mut session = Session { campaigns, ctx, now, report: Planned::default(), run: None };
    session.expire().await?;
    session.trials().await?;
    session.waitlist().await?;
    metrics::histogram!("greenroom_campaigns_plan_seconds").record(begun.elapsed().as_secs_f64());
    let mut tx = campaigns.pool.begin().await?;
    ctx.fence(&mut tx).await?;
    if let Some(run) = &session.run {
        runs::succeed(&mut tx, run.id, Counts::default()).await?;
    }
    let done = ctx.complete(&mut tx, session.report).await?;
    tx.commit().await?;
    Ok(done)
}

impl Session<'_> {
    fn check(&self) -> Result<(), CampaignsError> {
        if self.ctx.is_interrupted() { Err(CampaignsError::Interrupted) } else { Ok(()) }
    }

    /// Opens the run in the log, once there is something to do.
    async fn open(&mut self, conn: &mut PgConnection) -> Result<(), CampaignsError> {
        if self.run.is_none() {
            self.run = Some(runs::open(conn, self.ctx.id(), Plan::KIND, Subject::Many).await?);
        }
        Ok(())
    }

    async fn expire(&mut self) -> Result<(), CampaignsError> {
        loop {
            self.check()?;
            let mut tx = self.campaigns.pool.begin().await?;
            let people = store::expire(&mut tx, EXPIRED_AT_ONCE).await?;
            if people.is_empty() {
                return Ok(());
            }
            self.open(&mut tx).await?;
            for person in &people {
                let entry = Entry {
                    action: Action::TrialExpired,
                    user: Some(person.user),
                    organization: None,
                    resource_type: "users",
                    resource_id: person.user.to_string(),
                    changes: json!({"by": "campaigns.plan", "trial_end_date": person.trial_end}),
                };
                audit::record(&mut tx, &entry).await?;
            }
            let enqueued = self
                .write(&mut tx, &people, |campaigns, person, now| expired(now, campaigns.by(), person))
                .await?;
            tx.commit().await?;
            self.ctx.queue().wake(&enqueued);
            self.report.trials_ended += people.len() as u64;
            metrics::counter!("greenroom_campaigns_trials_ended_total").increment(people.len() as u64);
        }
    }

    async fn trials(&mut self) -> Result<(), CampaignsError> {
        let due = store::trials_due(&mut *self.campaigns.pool.acquire().await?, self.now).await?;
        for page in due.chunks(PAGE) {
            self.check()?;
            let mut tx = self.campaigns.pool.begin().await?;
            let people = store::on_trial(&mut tx, page).await?;
            self.open(&mut tx).await?;
            let enqueued = self
                .write(&mut tx, &people, |campaigns, person, now| trial(now, campaigns.by(), person))
                .await?;
            tx.commit().await?;
            self.ctx.queue().wake(&enqueued);
        }
        Ok(())
    }

    async fn waitlist(&mut self) -> Result<(), CampaignsError> {
        let mut tx = self.campaigns.pool.begin().await?;
        self.report.withdrawn = launch::follow(&mut tx, self.campaigns.by()).await?;
        tx.commit().await?;
        let Some(launch) = self.campaigns.settings.waitlist.launch_at else { return Ok(()) };
        let steps = store::due_steps(self.now, launch);
        if steps.is_empty() {
            return Ok(());
        }
        let due = store::waiting_due(&mut *self.campaigns.pool.acquire().await?, launch, &steps).await?;
        for page in due.chunks(PAGE) {
            self.check()?;
            let mut tx = self.campaigns.pool.begin().await?;
            let people = store::waiting(&mut tx, launch, page).await?;
            self.open(&mut tx).await?;
            let enqueued = self
                .write(&mut tx, &people, |campaigns, person, now| {
                    waitlist(now, launch, campaigns.by(), person)
                })
                .await?;
            tx.commit().await?;
            self.ctx.queue().wake(&enqueued);
        }
        Ok(())
    }

    /// Asks the planner for each and writes what it decides.
    async fn write(
        &mut self,
        conn: &mut PgConnection,
        people: &[Person],
        decide: impl Fn(&Campaigns, &Person, DateTime<Utc>) -> Decision,
    ) -> Result<Vec<Enqueued>, CampaignsError> {
        let (mut messages, mut superseded) = (Vec::new(), Vec::new());
        for person in people {
            let decision = decide(self.campaigns, person, self.now);
            messages.extend(decision.messages);
            superseded.extend(decision.superseded.into_iter().map(|step| (person.user, step)));
        }
        store::supersede(conn, &superseded).await?;
        let (written, enqueued) = insert(conn, &messages).await?;
        self.report.queued += enqueued.len() as u64;
        self.report.not_sent += written.saturating_sub(enqueued.len() as u64);
        Ok(enqueued)
    }
}
