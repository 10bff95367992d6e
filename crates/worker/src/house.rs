//! What the jobs work with, put together once a process.

use std::sync::Arc;

use greenroom_boot::{Config, ExposeSecret as _, secrets};
use greenroom_comments::Enrichment;
use greenroom_connections::{Connections, Consents, Providers, Tokens, check_keys};
use greenroom_credits::{Credits, ModelPrices};
use greenroom_http::Client;
use greenroom_llm::Model;
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
}

impl House {
    /// Puts the slices together from the settings and the secrets of the environment, whose keys must be those of
    /// the database.
    pub async fn assemble(config: &Config, pool: &PgPool, clock: &Clock) -> Result<Self, StartError> {
        let keys = secrets::required("ENCRYPTION_KEY")?;
        let vault = Vault::from_keys(keys.expose_secret())?;
        let providers = Providers::from_environment(&config.section("oauth")?)?;
        let llm_key = secrets::optional("LLM_API_KEY")?.map(|key| Secret::from(key.expose_secret()));
        Self::with_secrets(config, pool, clock, vault, providers, llm_key).await
    }

    /// Puts the slices together with secrets that a program made itself.
    pub async fn with_secrets(
        config: &Config,
        pool: &PgPool,
        clock: &Clock,
        vault: Vault,
        providers: Providers,
        llm_key: Option<Secret>,
    ) -> Result<Self, StartError> {
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
        let credits = Credits::new(pool.clone(), config.section("credits")?)?;
        let enrichment = enrichment(config, pool, clock, &credits, llm_key)?;
        let youtube = Arc::new(Youtube::new(pool.clone(), http, tokens, settings, clock.clone()));
        Ok(Self {
            vault,
            consents,
            connections: Arc::new(connections),
            youtube,
            credits: Arc::new(credits),
            enrichment: Arc::new(enrichment),
        })
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

/// Lists every job of the house; without a house they are only declared.
pub fn jobs(house: Option<&House>) -> Jobs {
    greenroom_youtube::jobs(house.map(|house| &house.youtube))
        .and(greenroom_connections::jobs(house.map(|house| &house.connections)))
        .and(greenroom_credits::jobs(house.map(|house| &house.credits)))
        .and(greenroom_comments::jobs(house.map(|house| &house.enrichment)))
}
