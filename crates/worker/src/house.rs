//! What the jobs work with, put together once a process.

use std::sync::Arc;

use greenroom_boot::{Config, Environment, ExposeSecret as _, SecretString, secrets};
use greenroom_campaigns::{CampaignRules, Campaigns, UnsubscribeKeys};
use greenroom_comments::Enrichment;
use greenroom_connections::{Connections, Consents, Providers, Tokens, check_keys};
use greenroom_credits::{Credits, ModelPrices};
use greenroom_http::Client;
use greenroom_llm::Model;
use greenroom_mail::Mail;
use greenroom_model::Clock;
use greenroom_queue::Jobs;
use greenroom_vault::{Secret, Vault};
use greenroom_youtube::Youtube;
use sqlx::PgPool;

use crate::StartError;

/// The state of every slice that runs jobs.
#[derive(Clone, Debug)]
pub struct House {
    /// Seals and opens tokens.
    pub vault: Vault,
    /// Asks for consents.
    pub consents: Consents,
    connections: Arc<Connections>,
    youtube: Arc<Youtube>,
    credits: Arc<Credits>,
    enrichment: Arc<Enrichment>,
    campaigns: Arc<Campaigns>,
    mail: Arc<Mail>,
    unsubscribe: Option<UnsubscribeKeys>,
    http: Client,
}

/// What a house knows that stands in no file of settings.
#[derive(Debug)]
pub struct Secrets {
    /// Seals and opens tokens.
    pub vault: Vault,
    /// Who we are to platforms.
    pub providers: Providers,
    /// The key of the language model's server.
    pub llm_key: Option<Secret>,
    /// What mail is sent and signed with.
    pub mail: greenroom_mail::Secrets,
    /// What signs the links by which people leave lists.
    pub unsubscribe_keys: Option<SecretString>,
}

impl House {
    /// Puts the slices together from the settings and the secrets of the environment, whose keys must be those of
    /// the database.
    pub async fn assemble(config: &Config, pool: &PgPool, clock: &Clock) -> Result<Self, StartError> {
        let keys = secrets::required("ENCRYPTION_KEY")?;
        let vault = Vault::from_keys(keys.expose_secret())?;
        let providers = Providers::from_environment(&config.section("oauth")?)?;
        let llm_key = secrets::optional("LLM_API_KEY")?.map(|key| Secret::from(key.expose_secret()));
        let secrets = Secrets {
            vault,
            providers,
            llm_key,
            mail: greenroom_mail::Secrets::read(secrets::optional)?,
            unsubscribe_keys: secrets::optional("UNSUBSCRIBE_KEY")?,
        };
        Self::with_secrets(config, pool, clock, secrets).await
    }

    /// Puts the slices together with secrets that a program made itself.
    pub async fn with_secrets(
        config: &Config,
        pool: &PgPool,
        clock: &Clock,
        secrets: Secrets,
    ) -> Result<Self, StartError> {
        let Secrets { vault, providers, llm_key, mail: mail_secrets, unsubscribe_keys } = secrets;
        check_keys(pool, &vault).await?;
        let http = Client::new(&config.section("http")?, clock.clone())?;
        let settings: greenroom_youtube::Settings = config.section("youtube")?;
        let tokens_settings: greenroom_connections::Settings = config.section("tokens")?;
        let vault = vault.binding(tokens_settings.bind);
        let tokens = Tokens::new(
            pool.clone(),
            vault.clone(),
            http.clone(),
            providers.clone(),
            tokens_settings.clone(),
            clock.clone(),
        );
        let connections = Connections {
            pool: pool.clone(),
            vault: vault.clone(),
            tokens: tokens.clone(),
            settings: tokens_settings.clone(),
        };
        let consents = Consents {
            pool: pool.clone(),
            vault: vault.clone(),
            http: http.clone(),
            providers,
            oauth: Arc::new(config.section("oauth")?),
            tokens: tokens_settings,
            clock: clock.clone(),
        };
        let unsubscribe =
            unsubscribe_keys.map(|keys| UnsubscribeKeys::parse(keys.expose_secret())).transpose()?;
        let public_url = consents.public_url().to_owned();
        let (campaigns, mail) =
            mail(config, pool, unsubscribe.clone(), public_url, &mail_secrets, http.clone())?;
        let credits = Credits::new(pool.clone(), config.section("credits")?)?;
        let enrichment = enrichment(config, pool, clock, &credits, llm_key)?;
        let youtube = Arc::new(Youtube::new(pool.clone(), http.clone(), tokens, settings, clock.clone()));
        Ok(Self {
            vault,
            consents,
            connections: Arc::new(connections),
            youtube,
            credits: Arc::new(credits),
            enrichment: Arc::new(enrichment),
            campaigns,
            mail,
            unsubscribe,
            http,
        })
    }

    /// Returns what signs the links by which people leave lists.
    pub fn unsubscribe_keys(&self) -> Option<&UnsubscribeKeys> {
        self.unsubscribe.as_ref()
    }

    /// Returns what calls the outside world.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// Returns what sends mail.
    pub fn mail(&self) -> &Arc<Mail> {
        &self.mail
    }

    /// Returns what plans campaigns.
    pub fn campaigns(&self) -> &Arc<Campaigns> {
        &self.campaigns
    }

    /// Returns what models cost.
    pub fn model_prices(&self) -> &ModelPrices {
        &self.credits.prices
    }
}

/// Puts together what reads comments: the reader that comes with the program, and a language model where one is set.
fn enrichment(
    config: &Config,
    pool: &PgPool,
    clock: &Clock,
    credits: &Credits,
    key: Option<Secret>,
) -> Result<Enrichment, StartError> {
    let enrichment = Enrichment::new(pool.clone(), config.section("enrichment")?);
    match Model::new(config.section("llm")?, key, &config.section("http")?, clock.clone())? {
        Some(model) => Ok(enrichment.with_model(model, credits.prices.clone(), clock.now())?),
        None => Ok(enrichment),
    }
}

/// Puts together who gets which mail, and what sends it.
pub fn mail(
    config: &Config,
    pool: &PgPool,
    keys: Option<UnsubscribeKeys>,
    public_url: String,
    secrets: &greenroom_mail::Secrets,
    http: Client,
) -> Result<(Arc<Campaigns>, Arc<Mail>), StartError> {
    let settings: greenroom_campaigns::Settings = config.section("campaigns")?;
    let mail_settings: greenroom_mail::Settings = config.section("mail")?;
    mail_settings.validate(config.environment() == Environment::Production)?;
    settings.validate(keys.is_some(), &mail_settings.postal_address)?;
    let campaigns = Campaigns { pool: pool.clone(), settings: settings.clone(), mail: mail_settings.clone() };
    let rules = Arc::new(CampaignRules { settings, keys, public_url });
    let sources = greenroom_campaigns::sources();
    let mail = Mail::new(pool.clone(), mail_settings, &sources, secrets, http, rules)?;
    Ok((Arc::new(campaigns), Arc::new(mail)))
}

/// Lists every job of the house; without a house they are only declared.
pub fn jobs(house: Option<&House>) -> Jobs {
    greenroom_youtube::jobs(house.map(|house| &house.youtube))
        .and(greenroom_connections::jobs(house.map(|house| &house.connections)))
        .and(greenroom_credits::jobs(house.map(|house| &house.credits)))
        .and(greenroom_comments::jobs(house.map(|house| &house.enrichment)))
        .and(greenroom_campaigns::jobs(house.map(|house| &house.campaigns)))
        .and(greenroom_mail::jobs(house.map(|house| &house.mail)))
}
