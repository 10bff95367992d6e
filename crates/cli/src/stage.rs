//! A house set up on a stage: a database of its own, the sandbox for the outside world, people and a
//! connected channel. The demo and the benchmark play on it; nothing of it is for production.

use greenroom_accounts::{NewToken, access, memberships, organizations, users};
use greenroom_boot::{Config, SecretString, log, pool};
use greenroom_connections::youtube::{self, NewConnection};
use greenroom_connections::{OauthClient, OauthSettings, Providers};
use greenroom_credits::balances;
use greenroom_model::{Clock, ConnectionId, LocationId, OrganizationId, UserId};
use greenroom_postgres::{Source, Use, find_or_start};
use greenroom_queue::Queue;
use greenroom_sandbox::Ready;
use greenroom_vault::{Secret, Vault, generate_key};
use greenroom_worker::{House, Secrets};
use sqlx::PgPool;

use crate::error::CliError;

/// A database and a house on it, whose outside world is the sandbox.
pub(crate) struct Stage {
    pub config: Config,
    pub pool: PgPool,
    pub queue: Queue,
    /// The pool of the worker's engine.
    pub engine: PgPool,
    pub house: House,
    pub url: String,
    outside: Ready,
    /// Keeps the server running.
    _source: Source,
}

impl Stage {
    /// Drops and recreates the database on the private server, migrates it, and puts the house together.
    ///
    /// `DATABASE_URL` is never read: what is dropped here must be ours.
    pub(crate) async fn set(database: &str, outside: &Ready, public_url: &str) -> Result<Self, CliError> {
        let source = find_or_start(Use::Demo, &std::env::current_dir()?).await?;
        let Source::Ours(server) = &source else {
            return Err(CliError::Failed("a stage is set on a private server only".to_owned()));
        };
        server.recreate_database(database).await?;
        let url = server.url(database);
        let config = quiet(Config::load()?)?;
        log::init(&config.section("log")?, None)?;
        let config = config.with(outside_at(outside))?.with([("oauth.public_url", public_url.to_owned())])?;
        let pool = pool::connect(&SecretString::from(url.clone()), &config.section("database")?, "greenroom")
            .await?;
        greenroom_postgres::migrate(&pool.connect_options()).await?;
        let engine = greenroom_worker::engine_pool(&config, &url.clone().into(), "greenroom").await?;
        let vault = Vault::from_keys(generate_key().expose()).map_err(greenroom_worker::StartError::Key)?;
        let house = assemble(&config, &pool, vault, outside).await?;
        Ok(Self {
            queue: Queue::new(pool.clone()),
            engine,
            config,
            pool,
            house,
            url,
            outside: outside.clone(),
            _source: source,
        })
    }

    /// Lets a sync keep this many requests in flight.
    pub(crate) async fn set_in_flight(&mut self, in_flight: u16) -> Result<(), CliError> {
        self.configure([("youtube.in_flight", in_flight.to_string())]).await
    }

    /// Has the outside's language model read comments.
    pub(crate) async fn set_llm(&mut self) -> Result<(), CliError> {
        let model = self.outside.llm.model.clone();
        self.configure([("llm.provider", "openai".to_owned()), ("llm.model", model)]).await
    }

    /// Changes settings, and puts the house together anew.
    pub(crate) async fn configure<const N: usize>(
        &mut self,
        settings: [(&str, String); N],
    ) -> Result<(), CliError> {
        self.config = self.config.clone().with(settings)?;
        let vault = self.house.vault.clone();
        self.house = assemble(&self.config, &self.pool, vault, &self.outside).await?;
        Ok(())
    }

    /// Makes an agency and a service token that may sync for it.
    pub(crate) async fn agency(&self, name: &str) -> Result<(OrganizationId, Secret), CliError> {
        let mut tx = self.pool.begin().await?;
        let agency = organizations::create(&mut tx, name, organizations::Kind::Agency).await?;
        let scopes: Vec<String> = access::SCOPES.iter().map(|scope| (*scope).to_owned()).collect();
        let new =
            NewToken { organization: Some(agency), name: "demo", scopes: &scopes, days: 1, created_by: None };
        let (_, token) = access::create(&mut tx, &new).await?;
        tx.commit().await?;
        Ok((agency, token))
    }

    /// Makes a creator of the agency.
    pub(crate) async fn creator(&self, agency: OrganizationId, name: &str) -> Result<UserId, CliError> {
        let mut tx = self.pool.begin().await?;
        let email = format!("{}@example.test", name.to_lowercase());
        let new = users::NewUser { email: &email, full_name: Some(name), organization: Some(agency) };
        let user = users::create(&mut tx, new).await?;
        memberships::grant(&mut tx, user, agency, memberships::Role::Member).await?;
        balances::open(&mut tx, user).await.map_err(greenroom_youtube::Error::from)?;
        tx.commit().await?;
        Ok(user)
    }

    /// Makes a location of the agency.
    pub(crate) async fn location(&self, agency: OrganizationId, name: &str) -> Result<LocationId, CliError> {
        let id = LocationId::new();
        let new = sqlx::query!(
            "insert into locations (id, organization_id, name) values ($1, $2, $3)",
            id.0,
            agency.0,
            name,
        );
        new.execute(&self.pool).await?;
        Ok(id)
    }

    /// Connects a creator's channel without asking anybody; its access token has just ended.
    pub(crate) async fn connect(
        &self,
        user: UserId,
        channel_id: &str,
        refresh_token: &str,
    ) -> Result<ConnectionId, CliError> {
        let new = NewConnection {
            user,
            channel_id: channel_id.to_owned(),
            channel_name: None,
            access_token: Secret::from("an access token that has ended"),
            refresh_token: Some(Secret::from(refresh_token)),
            expires_at: Some(Clock::system().now()),
        };
        let mut conn = self.pool.acquire().await?;
        let connected = youtube::connect(&mut conn, &self.house.vault, new).await;
        connected.map_err(|error| CliError::Failed(error.to_string()))
    }
}

/// Puts a house together whose outside world is the sandbox.
pub(crate) async fn assemble(
    config: &Config,
    pool: &PgPool,
    vault: Vault,
    outside: &Ready,
) -> Result<House, CliError> {
    let secrets = Secrets {
        vault,
        providers: providers(config, outside)?,
        llm_key: Some(Secret::from(outside.llm.api_key.as_str())),
        mail: greenroom_mail::Secrets {
            bounce_keys: Some(SecretString::from(generate_key().expose())),
            ..greenroom_mail::Secrets::default()
        },
        unsubscribe_keys: Some(SecretString::from(generate_key().expose())),
    };
    Ok(House::with_secrets(config, pool, &Clock::system(), secrets).await?)
}

/// Returns the settings by which the sandbox is all of the outside world.
pub(crate) fn outside_at(outside: &Ready) -> Vec<(&'static str, String)> {
    let base_url = &outside.base_url;
    let mut settings = OauthSettings::at(base_url);
    let (smtp_host, smtp_port) = outside.smtp.rsplit_once(':').unwrap_or(("127.0.0.1", "25"));
    settings.push(("mail.transport", "smtp".to_owned()));
    settings.push(("mail.smtp_host", smtp_host.to_owned()));
    settings.push(("mail.smtp_port", smtp_port.to_owned()));
    settings.push(("mail.smtp_security", "none".to_owned()));
    settings.push(("youtube.api_base_url", base_url.clone()));
    settings.push(("llm.base_url", format!("{base_url}/v1")));
    settings
}

/// Returns the providers that the sandbox plays.
fn providers(config: &Config, outside: &Ready) -> Result<Providers, CliError> {
    let client = |id: &str, secret: &str| OauthClient { id: id.to_owned(), secret: Secret::from(secret) };
    let (google, instagram, twitter) = (&outside.google, &outside.instagram, &outside.twitter);
    Ok(Providers::of(
        &config.section("oauth")?,
        [
            ("google", client(&google.client_id, &google.client_secret)),
            ("instagram", client(&instagram.client_id, &instagram.client_secret)),
            ("twitter", client(&twitter.client_id, &twitter.client_secret)),
        ],
    ))
}

/// Shows only what goes wrong beside a stage, unless somebody has asked for more.
fn quiet(config: Config) -> Result<Config, CliError> {
    match std::env::var_os("GREENROOM__LOG__FILTER") {
        Some(_) => Ok(config),
        None => Ok(config.with([("log.filter", "warn".to_owned())])?),
    }
}
