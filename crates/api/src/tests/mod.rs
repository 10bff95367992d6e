//! The API over real HTTP, on a database of each test's own.

mod connections;
mod credits;
mod door;
mod ending;
mod interactions;
mod jobs;
mod mail;
mod sync;
mod webhooks;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use greenroom_accounts::organizations::{self, Kind};
use greenroom_accounts::users::{self, NewUser};
use greenroom_accounts::{NewToken, access};
use greenroom_boot::SecretString;
use greenroom_boot::metrics::{self, Metrics};
use greenroom_boot::probes::Probes;
use greenroom_boot::signals::Shutdown;
use greenroom_connections::youtube::{self, NewConnection};
use greenroom_connections::{Consents, OauthClient, OauthSettings, Providers};
use greenroom_http::Client;
use greenroom_mail::events::{Provider, Sns};
use greenroom_model::{Clock, ConnectionId, JobId, OrganizationId, UserId};
use greenroom_queue::{NewJob, Queue};
use greenroom_sandbox::{Running, Sandbox};
use greenroom_testkit::Database;
use greenroom_vault::{Secret, Vault, generate_key};
use greenroom_youtube::{CloseRuns, SyncChannel, Trigger};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Api, Settings, StartError, serve};

/// A process counts once, whatever its tests start.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| metrics::install().unwrap());

/// The log of all tests: one of a thread's own would not see what another thread has silenced.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    subscriber.with_writer(Arc::new(Writer(Arc::clone(&log)))).init();
    log
});

struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for &Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what was logged so far, at every level.
fn log() -> String {
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

const SCOPES: [&str; 6] = [
    "connection.connect",
    "connection.disconnect",
    "connection.read",
    "connection.sync",
    "job.cancel",
    "job.read",
];

/// What signs the links of these tests.
pub(crate) const UNSUBSCRIBE_KEY: &str = "a key of the tests and nothing else";

/// What verifies the events of these tests.
pub(crate) const RESEND_SECRET: &str =
    "whsec_YW4gb2xkIHNlY3JldCBvZiB0aGVzZSB0ZXN0cw==,whsec_YSBzZWNyZXQgb2YgdGhlc2UgdGVzdHM=";
pub(crate) const MAILGUN_KEY: &str = "key-of-these-tests";
pub(crate) const POSTMARK_LOGIN: &str = "postmark:a password of these tests";
/// The one topic of SNS that is believed.
pub(crate) const SNS_TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";

pub(crate) fn settings() -> Settings {
    let mut config: toml::Table = include_str!("../../../../config/default.toml").parse().unwrap();
    config.remove("api").unwrap().try_into().unwrap()
}

fn api(
    queue: &Queue,
    draining: CancellationToken,
    settings: Settings,
    address: SocketAddr,
    sandbox: &Running,
) -> Api {
    let pool = queue.pool().clone();
    let probes = Probes::new(METRICS.clone(), pool, draining, greenroom_postgres::has_schema);
    let consents = consents(queue.pool(), address, sandbox);
    let model_prices = greenroom_credits::ModelPrices::load("").unwrap();
    let unsubscribe = Some(greenroom_campaigns::UnsubscribeKeys::parse(UNSUBSCRIBE_KEY).unwrap());
    let webhooks = vec![
        (Provider::Resend, SecretString::from(RESEND_SECRET)),
        (Provider::Mailgun, SecretString::from(MAILGUN_KEY)),
        (Provider::Postmark, SecretString::from(POSTMARK_LOGIN)),
    ];
    let sns = Some(Sns::new(vec![SNS_TOPIC.to_owned()], consents.http.clone()));
    Api { queue: queue.clone(), consents, model_prices, unsubscribe, webhooks, sns, probes, settings }
}

/// Consents that the sandbox plays, and that come back to this address.
fn consents(pool: &PgPool, address: SocketAddr, sandbox: &Running) -> Consents {
    let mut config: toml::Table = include_str!("../../../../config/default.toml").parse().unwrap();
    let mut oauth = config.remove("oauth").unwrap();
    for (key, value) in OauthSettings::at(&sandbox.base_url) {
        oauth[key.strip_prefix("oauth.").unwrap()] = value.into();
    }
    oauth["public_url"] = format!("http://{address}").into();
    oauth["redirect_uris"] = vec!["https://front.test/back"].into();
    let oauth: OauthSettings = oauth.try_into().unwrap();
    let ready = sandbox.ready();
    let client = |id: &str, secret: &str| OauthClient { id: id.to_owned(), secret: Secret::from(secret) };
    let providers = Providers::of(
        &oauth,
        [
            ("google", client(&ready.google.client_id, &ready.google.client_secret)),
            ("instagram", client(&ready.instagram.client_id, &ready.instagram.client_secret)),
        ],
    );
    let clock = Clock::system();
    let http: greenroom_http::Settings = config.remove("http").unwrap().try_into().unwrap();
    Consents {
        pool: pool.clone(),
        vault: Vault::from_keys(generate_key().expose()).unwrap(),
        http: Client::new(&http, clock.clone()).unwrap(),
        providers,
        oauth: Arc::new(oauth),
        tokens: config.remove("tokens").unwrap().try_into().unwrap(),
        clock,
    }
}

/// A tenant with one creator, whose channel is connected.
struct Tenant {
    organization: OrganizationId,
    user: UserId,
    connection: ConnectionId,
    token: String,
}

struct World {
    ours: Tenant,
    theirs: Tenant,
    operator: String,
    address: SocketAddr,
    http: reqwest::Client,
    shutdown: Shutdown,
    server: JoinHandle<Result<(), StartError>>,
    queue: Queue,
    sandbox: Running,
    db: Database,
}

impl World {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        LazyLock::force(&LOG);
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        let (ours, theirs) = (tenant(db.pool(), "ours").await, tenant(db.pool(), "theirs").await);
        let operator = token(db.pool(), None, &[&SCOPES[..], &["job.operate"]].concat()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown { requested: CancellationToken::new(), insisted: CancellationToken::new() };
        let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await.unwrap();
        let api = api(&queue, shutdown.requested.clone(), settings, address, &sandbox);
        let server = tokio::spawn(serve(listener, api, shutdown.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { ours, theirs, operator, address, http, shutdown, server, queue, sandbox, db }
    }

    fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        Answer::read(self.request(Method::GET, path).bearer_auth(token).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, token: &str) -> Answer {
        Answer::read(self.request(Method::POST, path).bearer_auth(token).send().await.unwrap()).await
    }

    async fn sync(&self, tenant: &Tenant) -> Answer {
        self.post(&sync_path(tenant.connection), &tenant.token).await
    }

    /// Enqueues the sync of a tenant's channel.
    async fn job_of(&self, tenant: &Tenant) -> JobId {
        let job = SyncChannel { connection_id: tenant.connection, trigger: Trigger::Requested };
        let job = NewJob::of(&job).unwrap().for_user(tenant.user);
        self.queue.enqueue_many(&[job]).await.unwrap()[0].id
    }

    /// Enqueues a job that is no user's.
    async fn job_of_the_house(&self) -> JobId {
        self.queue.enqueue(&CloseRuns {}).await.unwrap().id
    }

    /// Brings a job into a state, as a worker would.
    async fn set(&self, job: JobId, status: &str) {
        let sql = "update background_jobs
                      set status = $2, failure = case when $2 = 'failed' then 'exhausted' end,
                          completed_at = case when $2 in ('completed', 'failed') then greenroom.now() end,
                          lease_token = case when $2 = 'running' then 1 end,
                          worker_id = case when $2 = 'running' then gen_random_uuid() end,
                          leased_until = case when $2 = 'running' then greenroom.now() + interval '1 hour' end
                    where id = $1";
        sqlx::query(sql).bind(job.0).bind(status).execute(self.pool()).await.unwrap();
    }

    async fn jobs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from background_jobs").fetch_one(self.pool()).await.unwrap()
    }
}

fn sync_path(connection: ConnectionId) -> String {
    format!("/v1/youtube/connections/{connection}/sync")
}

async fn tenant(pool: &PgPool, name: &str) -> Tenant {
    let mut conn = pool.acquire().await.unwrap();
    let organization = organizations::create(&mut conn, name, Kind::Agency).await.unwrap();
    let email = format!("{name}@example.test");
    let new = NewUser { email: &email, full_name: None, organization: Some(organization) };
    let user = users::create(&mut conn, new).await.unwrap();
    let new = NewConnection {
        user,
        channel_id: format!("UC-{name}"),
        channel_name: None,
        access_token: Secret::from("an access token".to_owned()),
        refresh_token: Some(Secret::from("a refresh token".to_owned())),
        expires_at: None,
    };
    let vault = Vault::from_keys(generate_key().expose()).unwrap();
    let connection = youtube::connect(&mut conn, &vault, new).await.unwrap();
    let token = token(pool, Some(organization), &SCOPES).await;
    Tenant { organization, user, connection, token }
}

async fn token(pool: &PgPool, organization: Option<OrganizationId>, scopes: &[&str]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let new = NewToken { organization, name: "a test", scopes: &scopes, days: 90, created_by: None };
    let (_, text) = access::create(&mut pool.acquire().await.unwrap(), &new).await.unwrap();
    text.expose().to_owned()
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the status and code of a problem, whose form is checked on the way.
    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        (self.status, self.body["code"].as_str().unwrap())
    }
}
