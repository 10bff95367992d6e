//! What mail asks of campaigns: whether a message is still right, and what becomes of the person when it was sent.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use greenroom_credits::{ActionType, Cost, Details, Free, Key, Resource, record_free};
use greenroom_mail::events::Happened;
use greenroom_mail::{Check, Message, Rules, Settled, Verdict};
use greenroom_model::{JobId, UserId};
use greenroom_sync::{Counts, Subject, runs};
use sqlx::PgConnection;

use crate::plan::{Person, QUIET, occurrence, trial, waitlist};
use crate::{CampaignsError, EXPIRED, Settings, TRIAL, UnsubscribeKeys, WAITLIST, store};

/// The rules of campaigns.
#[derive(Clone, Debug)]
pub struct CampaignRules {
    /// When people are written to.
    pub settings: Settings,
    /// How people leave lists; without it nobody gets news.
    pub keys: Option<UnsubscribeKeys>,
    /// Where browsers reach the API.
    pub public_url: String,
}

impl CampaignRules {
    /// Tells whether a message is still right for a person at an instant.
    pub(crate) fn still(&self, person: &Person, message: &Message, now: DateTime<Utc>) -> Check {
        match message.campaign.as_str() {
            "trial" => of_trial(person, message, now),
            "waitlist" => self.of_waitlist(person, message, now),
            _ => Check::Send,
        }
    }

    fn of_waitlist(&self, person: &Person, message: &Message, now: DateTime<Utc>) -> Check {
        let launch =
            self.settings.waitlist.launch_at.filter(|launch| occurrence(*launch) == message.occurrence);
        let Some(launch) = launch else { return Check::Cancel("launch_moved") };
        let Some(place) = WAITLIST.iter().position(|step| step.name == message.step) else {
            return Check::Cancel("no_such_step");
        };
        if person.joined_at.is_none() {
            return Check::Cancel("not_on_the_list");
        }
        if person.early_access_at.is_some() {
            return Check::Cancel("early_access");
        }
        if person.countdown[place].is_some() {
            return Check::Cancel("already_sent");
        }
        if WAITLIST.get(place + 1).is_some_and(|next| waitlist::due(next, launch) <= now) {
            return Check::Cancel("superseded");
        }
        match person.last_marketing_at.map(|last| last + QUIET).filter(|until| *until > now) {
            Some(until) => Check::Wait(until),
            None => Check::Send,
        }
    }
}

fn of_trial(person: &Person, message: &Message, now: DateTime<Utc>) -> Check {
    let Some(end) = person.trial_end.filter(|end| occurrence(*end) == message.occurrence) else {
        return Check::Cancel("trial_moved");
    };
    if person.organization_is_active {
        return Check::Cancel("organization_is_active");
    }
    if message.step == EXPIRED.name {
        let is_expired = person.subscription_status.as_deref() == Some("expired");
        return if is_expired { Check::Send } else { Check::Cancel("not_expired") };
    }
    if !trial::is_on_trial(person) {
        return Check::Cancel("not_on_trial");
    }
    let Some(place) = TRIAL.iter().position(|step| step.name == message.step) else {
        return Check::Cancel("no_such_step");
    };
    if person.notified[place] {
        return Check::Cancel("already_sent");
    }
    if trial::due(now, end) == Some(place) { Check::Send } else { Check::Cancel("superseded") }
}

impl Rules for CampaignRules {
    fn check<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        message: &'a Message,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<Check>> {
        Box::pin(async move {
            let Some(user) = message.user.filter(|_| message.campaign != "notices") else {
                return Ok(Check::Send);
            };
            let person = store::person(conn, user, message.id).await?;
            Ok(person.map_or(Check::Cancel("no_user"), |person| self.still(&person, message, now)))
        })
    }

    fn settled<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        message: &'a Message,
        settled: Settled,
        job: JobId,
        at: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            let Some(user) = message.user else { return Ok(()) };
            match settled {
                Settled::Sent => store::mark_sent(conn, user, &message.campaign, &message.step, at).await?,
                // Its run is over long since.
                Settled::Confirmed => {
                    return store::mark_sent(conn, user, &message.campaign, &message.step, at).await;
                }
                Settled::Refused(Verdict::Hard) => store::mark_bounced(conn, user, at).await?,
                Settled::Refused(Verdict::Soft) => store::mark_bounced_softly(conn, user, at).await?,
                Settled::Refused(_) => {}
            }
            log(conn, user, message, settled, job).await.map_err(|error| match error {
                CampaignsError::Database(error) => error,
                error => sqlx::Error::Protocol(error.to_string()),
            })
        })
    }

    fn heard<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        user: UserId,
        happened: Happened,
        at: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            match happened {
                Happened::HardBounce => store::mark_bounced(conn, user, at).await,
                Happened::SoftBounce => store::mark_bounced_softly(conn, user, at).await,
                Happened::Complained => store::mark_complained(conn, user, at).await,
                Happened::Unsubscribed => store::mark_unsubscribed(conn, user).await.map(|_| ()),
                Happened::Delivered | Happened::Opened | Happened::Clicked => {
                    store::mark_heard(conn, user, happened.as_str(), at).await
                }
                Happened::Rejected | Happened::Deferred | Happened::Other => Ok(()),
            }
        })
    }

    fn unsubscribe_url(&self, user: UserId) -> Option<String> {
        let token = self.keys.as_ref()?.token(user);
        Some(format!("{}/u/{token}", self.public_url.trim_end_matches('/')))
    }
}

/// Logs the run that sent a message, with its event, which costs nothing.
async fn log(
    conn: &mut PgConnection,
    user: UserId,
    message: &Message,
    settled: Settled,
    job: JobId,
) -> Result<(), CampaignsError> {
    let run = runs::open(conn, job, "mail.send", Subject::Many).await?;
    let why = match settled {
        Settled::Sent | Settled::Confirmed => {
            runs::succeed(conn, run.id, Counts::default()).await?;
            Free::Scheduled
        }
        Settled::Refused(verdict) => {
            runs::fail(conn, run.id, verdict.as_str()).await?;
            Free::Failed
        }
    };
    // Somebody who only waits has no account of credits yet.
    if !store::has_credits(conn, user).await? {
        return Ok(());
    }
    let details = Details {
        description: format!("Mail {}.{}", message.campaign, message.step),
        resource: Some(Resource { kind: "email_outbox".to_owned(), id: message.id.to_string() }),
        ..Details::default()
    };
    let (key, free) = (Key::of_run(run.id), Cost::default());
    record_free(conn, user, &key, ActionType::ScheduledTask, &free, why, &details).await?;
    Ok(())
}
