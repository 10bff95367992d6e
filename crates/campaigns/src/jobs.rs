//! The jobs of campaigns, and the same plan without writing anything.

pub(crate) mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use greenroom_mail::{NewMessage, Settings as MailSettings, Then, Whom};
use greenroom_model::UserId;
use greenroom_queue::Jobs;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::plan::{By, expired, trial, waitlist};
use crate::{CampaignsError, Settings, store};

/// People of one page.
pub(crate) const PAGE: usize = 5_000;

/// What the jobs of campaigns work with.
#[derive(Clone, Debug)]
pub struct Campaigns {
    /// Where people are.
    pub pool: PgPool,
    /// When they are written to.
    pub settings: Settings,
    /// Who may be mailed at all.
    pub mail: MailSettings,
}

impl Campaigns {
    /// Returns by which settings is planned.
    pub fn by(&self) -> By<'_> {
        By { campaigns: &self.settings, mail: &self.mail }
    }
}

/// Lists the jobs of campaigns; without a state they are only declared.
pub fn jobs(campaigns: Option<&Arc<Campaigns>>) -> Jobs {
    Jobs::new().with::<plan::Plan>(campaigns)
}

/// What a plan would do, by step and what becomes of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counted {
    /// At which instant.
    pub at: Option<DateTime<Utc>>,
    /// Trials that would end.
    pub trials_ended: u64,
    /// Messages by campaign and step, then by `send` or the reason for not sending.
    pub steps: BTreeMap<String, BTreeMap<String, u64>>,
    /// The first people of each step who would get it.
    pub first: BTreeMap<String, Vec<UserId>>,
}

/// People whose ids are shown of a step.
const SHOWN: usize = 20;

impl Counted {
    fn count(&mut self, messages: &[NewMessage]) {
        for message in messages {
            let step = format!("{}.{}", message.campaign, message.step);
            let becomes = match message.then {
                Then::Send { .. } => "send",
                Then::Not(_, reason) => reason,
            };
            *self.steps.entry(step.clone()).or_default().entry(becomes.to_owned()).or_default() += 1;
            if becomes == "send" {
                let first = self.first.entry(step).or_default();
                if let Whom::User(user) = message.whom
                    && first.len() < SHOWN
                {
                    first.push(user);
                }
            }
        }
    }
}

/// Plans at an instant without writing anything.
pub async fn preview(
    conn: &mut PgConnection,
    at: DateTime<Utc>,
    by: By<'_>,
    campaign: Option<&str>,
) -> Result<Counted, CampaignsError> {
    let mut counted = Counted { at: Some(at), ..Counted::default() };
    let wanted = |name: &str| campaign.is_none_or(|campaign| campaign == name);
    if wanted("trial") {
        let over = store::trials_over(conn, at).await?;
        counted.trials_ended = over.len() as u64;
        for page in over.chunks(PAGE) {
            for person in &store::on_trial(conn, page).await? {
                counted.count(&expired(at, by, person).messages);
            }
        }
        for page in store::trials_due(conn, at).await?.chunks(PAGE) {
            for person in &store::on_trial(conn, page).await? {
                counted.count(&trial(at, by, person).messages);
            }
        }
    }
    if let Some(launch) = by.campaigns.waitlist.launch_at.filter(|_| wanted("waitlist")) {
        let steps = store::due_steps(at, launch);
        for page in store::waiting_due(conn, launch, &steps).await?.chunks(PAGE) {
            for person in &store::waiting(conn, launch, page).await? {
                counted.count(&waitlist(at, launch, by, person).messages);
            }
        }
    }
    Ok(counted)
}
