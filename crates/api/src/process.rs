//! The process `greenroom-api`, from its first line to its last.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use greenroom_boot::probes::Probes;
use greenroom_boot::traces::Traces;
use greenroom_boot::{
    BootError, Config, ExposeSecret as _, SecretString, log, metrics, pool, secrets, signals,
};
use greenroom_campaigns::UnsubscribeKeys;
use greenroom_connections::{Consents, Providers, check_keys};
use greenroom_credits::ModelPrices;
use greenroom_http::Client;
use greenroom_mail::events::{Provider, Sns};
use greenroom_model::Clock;
use greenroom_queue::Queue;
use greenroom_vault::Vault;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tracing::info;

use crate::{Api, Settings, StartError, serve};

/// How long the process waits for somebody to migrate the database before it gives up.
const SCHEMA_PATIENCE: Duration = Duration::from_mins(10);

/// Runs the API until it is told to stop, with the settings and secrets of the environment.
pub async fn run() -> Result<(), StartError> {
    let config = Config::load()?;
    let traces = Traces::open(&config.section("traces")?, "greenroom-api")?;
    log::init(&config.section("log")?, traces.as_ref())?;
    let settings: Settings = config.section("api")?;
    let address = settings.address(std::env::var("PORT").ok().as_deref())?;
    let shutdown = signals::shutdown()?;
    let metrics = metrics::install()?;
    let url = secrets::required("DATABASE_URL")?;
    let pool = pool::connect(&url, &config.section("database")?, "greenroom-api").await?;
    tokio::select! {
        current = greenroom_postgres::wait_until_current(&pool, SCHEMA_PATIENCE) => current?,
        () = shutdown.requested.cancelled() => return Ok(()),
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| StartError::Listen { address, source })?;
    let draining = shutdown.requested.clone();
    let probes = Probes::new(metrics, pool.clone(), draining, greenroom_postgres::has_schema);
    let consents = consents(&config, &pool).await?;
    let credits: greenroom_credits::Settings = config.section("credits")?;
    let model_prices = ModelPrices::load(&credits.prices_dir)?;
    let unsubscribe = secrets::optional("UNSUBSCRIBE_KEY")?;
    let unsubscribe = unsubscribe.map(|keys| UnsubscribeKeys::parse(keys.expose_secret())).transpose()?;
    let webhooks = webhooks()?;
    let sns = sns(&config, &consents.http)?;
    let api =
        Api { queue: Queue::new(pool), consents, model_prices, unsubscribe, webhooks, sns, probes, settings };
    serve(listener, api, shutdown).await?;
    info!("Stopped");
    Ok(())
}

/// Returns the providers of mail whose events are taken: those of which there is a secret.
pub fn webhooks() -> Result<Vec<(Provider, SecretString)>, BootError> {
    let secret =
        |provider: Provider| Ok(secrets::optional(provider.secret_name())?.map(|secret| (provider, secret)));
    Provider::ALL.into_iter().filter_map(|provider| secret(provider).transpose()).collect()
}

/// Returns what takes the events of SES, where topics of it are named.
pub fn sns(config: &Config, http: &Client) -> Result<Option<Sns>, BootError> {
    let mail: greenroom_mail::Settings = config.section("mail")?;
    Ok((!mail.sns_topics.is_empty()).then(|| Sns::new(mail.sns_topics, http.clone())))
}

/// Puts together what asks for consents, with the keys of this database.
async fn consents(config: &Config, pool: &PgPool) -> Result<Consents, StartError> {
    let keys = secrets::required("ENCRYPTION_KEY")?;
    let vault = Vault::from_keys(keys.expose_secret())?;
    check_keys(pool, &vault).await?;
    let (oauth, clock) = (Arc::new(config.section("oauth")?), Clock::system());
    let tokens: greenroom_connections::Settings = config.section("tokens")?;
    Ok(Consents {
        pool: pool.clone(),
        vault: vault.binding(tokens.bind),
        http: Client::new(&config.section("http")?, clock.clone())?,
        providers: Providers::from_environment(&oauth)?,
        oauth,
        tokens,
        clock,
    })
}

/// Turns the process's end into its exit code, and says why on standard error.
#[expect(clippy::print_stderr, reason = "the log may be what could not be started")]
pub fn exit(outcome: Result<(), StartError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}
