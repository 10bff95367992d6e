//! The jobs of mail, one a file.

pub(crate) mod prune;
pub(crate) mod send;
pub(crate) mod sweep;
pub(crate) mod take_events;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use greenroom_http::Client;
use greenroom_model::UserId;
use greenroom_queue::{Enqueued, Jobs, NewJob, Pool, enqueue};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::compose::{Composed, Draft, compose};
use crate::dkim::Dkim;
use crate::{Class, MailError, ReturnPaths, Rules, Secrets, Settings, Source, Templates, Transport};

/// What all messages draw on, so that one that cannot be reached rests for all.
pub(crate) const TRANSPORT: Pool = Pool::named("mail.transport");

/// What the jobs of mail work with.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where the outbox is.
    pub pool: PgPool,
    /// How.
    pub settings: Settings,
    /// The words.
    pub templates: Templates,
    /// What takes messages.
    pub transport: Transport,
    /// What signs messages, where the server does not.
    pub(crate) dkim: Option<Arc<Dkim>>,
    /// Where messages come back to.
    pub return_paths: Option<ReturnPaths>,
    /// What is known of people beyond their address.
    pub rules: Arc<dyn Rules>,
}

impl Mail {
    /// Puts mail together; settings or templates that cannot stand are an error.
    pub fn new(
        pool: PgPool,
        settings: Settings,
        sources: &[Source],
        secrets: &Secrets,
        http: Client,
        rules: Arc<dyn Rules>,
    ) -> Result<Self, MailError> {
        let missing =
            |setting, name| move || MailError::Setting { setting, rule: format!("set {name} as well") };
        let templates = Templates::load(sources, &settings.templates_dir)?;
        let transport = Transport::new(&settings, secrets, http)?;
        let dkim = match (settings.dkim_selector.as_str(), &secrets.dkim_key) {
            ("", _) => None,
            (selector, key) => {
                let key = key.as_ref().ok_or_else(missing("dkim_selector", "DKIM_PRIVATE_KEY"))?;
                Some(Arc::new(Dkim::new(selector, &settings.domain(), key)?))
            }
        };
        let return_paths = match (settings.bounce_domain.as_str(), &secrets.bounce_keys) {
            ("", _) => None,
            (domain, keys) => {
                let keys = keys.as_ref().ok_or_else(missing("bounce_domain", "BOUNCE_KEY"))?;
                Some(ReturnPaths::new(domain, keys)?)
            }
        };
        Ok(Self { pool, settings, templates, transport, dkim, return_paths, rules })
    }

    /// Returns where receivers look for the key that signs messages, and what has to stand there.
    pub fn dkim_record(&self) -> Option<(String, String)> {
        self.dkim.as_ref().map(|dkim| (dkim.name(), dkim.record()))
    }

    /// Puts a message together that is not in the outbox: to look at, or to try.
    pub fn preview(&self, what: &Preview<'_>) -> Result<Composed, MailError> {
        let unsubscribe_url = match what.class {
            Class::Marketing => self.rules.unsubscribe_url(what.user),
            Class::Service => None,
        };
        let draft = Draft {
            id: Uuid::now_v7(),
            template: &format!("{}/{}", what.campaign, what.step),
            params: &what.params,
            to: what.to,
            full_name: what.full_name,
            date: what.now,
            unsubscribe_url,
            is_test: what.is_test,
        };
        compose(&draft, self)
    }
}

/// A message that is not in the outbox.
#[derive(Clone, Debug)]
pub struct Preview<'a> {
    /// Its campaign.
    pub campaign: &'a str,
    /// The step of the campaign.
    pub step: &'a str,
    /// Whether it needs consent.
    pub class: Class,
    /// For whom it is written.
    pub user: UserId,
    /// Where it goes.
    pub to: &'a str,
    /// How that person is called.
    pub full_name: Option<&'a str>,
    /// What its template says.
    pub params: Value,
    /// Its Date.
    pub now: DateTime<Utc>,
    /// Whether its subject says that it is a test.
    pub is_test: bool,
}

/// Has what providers told worked off, in the transaction that stores it.
pub async fn take_events(conn: &mut PgConnection) -> Result<Vec<Enqueued>, MailError> {
    Ok(enqueue(conn, &[NewJob::of(&take_events::TakeEvents {})?]).await?)
}

/// Lists the jobs of mail; without a state they are only declared.
pub fn jobs(mail: Option<&Arc<Mail>>) -> Jobs {
    Jobs::new()
        .with::<send::Send>(mail)
        .with::<sweep::Sweep>(mail)
        .with::<take_events::TakeEvents>(mail)
        .with::<prune::Prune>(mail)
        .pool(TRANSPORT)
}
