//! Tokens against a real database and a token endpoint on loopback.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use greenroom_model::{ConnectionId, UserId};
use greenroom_testkit::Database;
use greenroom_vault::Bind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::provider::OauthClient;
use crate::store::youtube::{self, NewConnection};

pub(crate) const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const OTHER: &str = "9rtyBmpmfNeOSlqxPsnjWlVp6ndPXSNB6VOmEuhD5LI=";

const PATIENCE: Duration = Duration::from_secs(10);

/// A token endpoint that answers what it is told, when it is let.
#[derive(Clone)]
pub(crate) struct Endpoint(Arc<Script>);

pub(crate) struct Script {
    forms: Mutex<Vec<String>>,
    replies: Mutex<VecDeque<(u16, Value)>>,
    gate: Semaphore,
}

impl Endpoint {
    pub(crate) fn forms(&self) -> Vec<String> {
        self.0.forms.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.forms().len()
    }

    pub(crate) fn reply(&self, status: u16, body: Value) {
        self.0.replies.lock().unwrap().push_back((status, body));
    }

    /// Waits for the next call and holds its answer back until [`Endpoint::open`].
    pub(crate) fn shut(&self) {
        self.0.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open(&self) {
        self.0.gate.add_permits(1_000);
    }

    pub(crate) async fn called(&self) {
        let call = async {
            while self.calls() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, call).await.expect("the token endpoint is asked");
    }

    async fn serve() -> (Self, String) {
        let endpoint = Self(Arc::new(Script {
            forms: Mutex::default(),
            replies: Mutex::default(),
            gate: Semaphore::new(1_000),
        }));
        let handler = async |State(endpoint): State<Self>, form: String| {
            endpoint.0.forms.lock().unwrap().push(form);
            endpoint.0.gate.acquire().await.unwrap().forget();
            let reply = endpoint.0.replies.lock().unwrap().pop_front();
            let (status, body) = reply.unwrap_or((503, json!({})));
            (StatusCode::from_u16(status).unwrap(), body.to_string())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let router = Router::new().route("/token", post(handler)).with_state(endpoint.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (endpoint, url)
    }
}

pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) endpoint: Endpoint,
    url: String,
    pub(crate) tokens: Tokens,
    pub(crate) id: ConnectionId,
}

pub(crate) fn granted(token: &str) -> Value {
    json!({"access_token": token, "expires_in": 3_599, "scope": "s", "token_type": "Bearer"})
}

pub(crate) fn invalid_grant() -> Value {
    json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
}

impl World {
    /// A connection whose access token ends after so many minutes.
    pub(crate) async fn new(minutes: i64) -> Self {
        let db = Database::new().await;
        let (endpoint, url) = Endpoint::serve().await;
        let user = UserId::new();
        sqlx::query!("insert into users (id, email) values ($1, 'a@example.test')", user.0)
            .execute(db.pool())
            .await
            .unwrap();
        let new = NewConnection {
            user,
            channel_id: "UC1".to_owned(),
            channel_name: None,
            access_token: "ya29.first".into(),
            refresh_token: Some("1//refresh".into()),
            expires_at: Some(db.clock().now() + TimeDelta::minutes(minutes)),
        };
        let vault = Vault::from_keys(KEY).unwrap();
        let id = youtube::connect(&mut db.pool().acquire().await.unwrap(), &vault, new).await.unwrap();
        // As if it had been issued an hour before its end.
        sqlx::query!(
            "update youtube_connections set last_token_refresh_at = token_expires_at - interval '1 hour'"
        )
        .execute(db.pool())
        .await
        .unwrap();
        let tokens = tokens(&db, &url, KEY, true);
        Self { db, endpoint, url, tokens, id }
    }

    pub(crate) async fn row(&self) -> tokens::Stored {
        tokens::read(&mut self.db.pool().acquire().await.unwrap(), Which::youtube(self.id))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn fresh(&self) -> Result<(String, i64), TokenError> {
        self.tokens.fresh(Which::youtube(self.id)).await.map(shown)
    }

    async fn set(&self, access: Option<&str>, refresh: Option<&str>) {
        sqlx::query!("update youtube_connections set access_token = $1, refresh_token = $2", access, refresh)
            .execute(self.db.pool())
            .await
            .unwrap();
    }
}

/// What a process makes at its start.
pub(crate) fn tokens(db: &Database, url: &str, keys: &str, allow_plaintext: bool) -> Tokens {
    let http = serde_json::from_value(json!({
        "connect_timeout_secs": 1, "timeout_secs": 5, "max_tries": 2, "retry_delay_ms": 1,
        "max_pause_secs": 1, "idle_connections": 4, "idle_timeout_secs": 30, "max_body_bytes": 10_000,
    }))
    .unwrap();
    let mut config: toml::Table = include_str!("../../../../config/default.toml").parse().unwrap();
    let mut oauth: crate::OauthSettings = config.remove("oauth").unwrap().try_into().unwrap();
    oauth.google_token_url = url.parse().unwrap();
    let client = OauthClient { id: "an-id".to_owned(), secret: "a-secret".into() };
    let providers = Providers::of(&oauth, [("google", client)]);
    Tokens::new(
        db.pool().clone(),
        Vault::from_keys(keys).unwrap(),
        Client::new(&http, db.clock()).unwrap(),
        providers,
        Settings {
            refresh_margin_secs: 600,
            allow_plaintext,
            bind: Bind::Off,
            reencrypt_pause_ms: 0,
            purge_after_days: 7,
        },
        db.clock(),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over results")]
pub(crate) fn shown(token: AccessToken) -> (String, i64) {
    (token.secret.expose().to_owned(), token.version)
}

pub(crate) fn open(sealed: Option<&Secret>) -> String {
    Vault::from_keys(KEY).unwrap().open(sealed.unwrap().expose()).unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_token_that_lasts_is_used_as_it_is() {
    let world = World::new(60).await;
    assert_eq!(world.fresh().await.unwrap(), ("ya29.first".to_owned(), 0));
    assert_eq!(world.endpoint.calls(), 0);
}

#[tokio::test]
async fn a_token_about_to_end_is_refreshed_and_the_refresh_token_kept() {
    let world = World::new(60).await;
    world.db.advance(Duration::from_mins(51)).await;
    world.endpoint.reply(200, granted("ya29.second"));
    assert_eq!(world.fresh().await.unwrap(), ("ya29.second".to_owned(), 1));
    assert_eq!(
        world.endpoint.forms(),
        ["grant_type=refresh_token&refresh_token=1%2F%2Frefresh&client_id=an-id&client_secret=a-secret"]
    );
    let row = world.row().await;
    assert_eq!((open(row.access_token.as_ref()).as_str(), row.version), ("ya29.second", 1));
    assert_eq!(open(row.refresh_token.as_ref()), "1//refresh");
    let lasts = row.expires_at.unwrap() - world.db.clock().now();
    assert!((TimeDelta::seconds(3_590)..=TimeDelta::seconds(3_599)).contains(&lasts), "{lasts}");
    // The next one finds it.
    assert_eq!(world.fresh().await.unwrap().1, 1);
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn a_new_refresh_token_replaces_the_old_one() {
    let world = World::new(-1).await;
    let mut answer = granted("ya29.second");
    answer["refresh_token"] = json!("1//rotated");
    world.endpoint.reply(200, answer);
    world.fresh().await.unwrap();
    assert_eq!(open(world.row().await.refresh_token.as_ref()), "1//rotated");
}

#[tokio::test]
async fn all_who_wait_share_one_refresh_and_no_connection_waits_with_them() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    world.endpoint.reply(200, granted("ya29.second"));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (tokens, id) = (world.tokens.clone(), world.id);
            tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) })
        })
        .collect();
    world.endpoint.called().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.db.pool().num_idle(), world.db.pool().size() as usize, "nobody holds a connection");
    world.endpoint.open();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().unwrap(), ("ya29.second".to_owned(), 1));
    }
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn an_answer_is_kept_though_nobody_waits_for_it_any_more() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    world.endpoint.reply(200, granted("ya29.second"));
    let (tokens, id) = (world.tokens.clone(), world.id);
    let waiter = tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) });
    world.endpoint.called().await;
    waiter.abort();
    world.endpoint.open();
    let kept = async {
        while world.row().await.version == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("the answer is stored");
    assert_eq!(world.fresh().await.unwrap().0, "ya29.second");
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::new(60).await;
    world.endpoint.reply(200, granted("ya29.second"));
    let second = world.tokens.renew(Which::youtube(world.id), 0).await.map(shown).unwrap();
    assert_eq!(second, ("ya29.second".to_owned(), 1));
    // Somebody who was refused with the first one gets the second without asking Google.
    assert_eq!(world.tokens.renew(Which::youtube(world.id), 0).await.map(shown).unwrap(), second);
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn a_late_answer_does_not_overwrite_a_newer_token() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    world.endpoint.reply(200, granted("ya29.late"));
    let (tokens, id) = (world.tokens.clone(), world.id);
    let late = tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) });
    world.endpoint.called().await;
    let newer = Vault::from_keys(KEY).unwrap().seal(&"ya29.newer".into());
    sqlx::query!("update youtube_connections set access_token = $1, token_version = 7", newer)
        .execute(world.db.pool())
        .await
        .unwrap();
    world.endpoint.open();
    assert_eq!(late.await.unwrap().unwrap(), ("ya29.newer".to_owned(), 7));
    assert_eq!(open(world.row().await.access_token.as_ref()), "ya29.newer");
}

#[tokio::test]
async fn a_refresh_does_not_bring_back_what_its_owner_has_ended() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    world.endpoint.reply(200, granted("ya29.late"));
    let (tokens, id) = (world.tokens.clone(), world.id);
    let late = tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) });
    world.endpoint.called().await;
    sqlx::query!(
        "update youtube_connections
            set connection_status = 'disconnected', access_token = null, refresh_token = null"
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    world.endpoint.open();
    assert_eq!(late.await.unwrap().unwrap_err(), TokenError::Disconnected);
    let row = world.row().await;
    assert!(row.status == Status::Disconnected && row.access_token.is_none());
}

#[tokio::test]
async fn a_revoked_token_that_was_replaced_meanwhile_was_a_race() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    world.endpoint.reply(400, invalid_grant());
    let (tokens, id) = (world.tokens.clone(), world.id);
    let asked = tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) });
    world.endpoint.called().await;
    let newer = Vault::from_keys(KEY).unwrap().seal(&"ya29.newer".into());
    sqlx::query!("update youtube_connections set access_token = $1, token_version = 1", newer)
        .execute(world.db.pool())
        .await
        .unwrap();
    world.endpoint.open();
    assert_eq!(asked.await.unwrap().unwrap(), ("ya29.newer".to_owned(), 1));
}

#[tokio::test]
async fn our_own_fault_pauses_and_blames_no_connection() {
    let world = World::new(-1).await;
    world.endpoint.reply(401, json!({"error": "invalid_client", "error_description": "unknown"}));
    let Class::RetryAt(at) = world.fresh().await.unwrap_err().class() else { panic!() };
    assert!(at > world.db.clock().now() + TimeDelta::minutes(9));
    assert_eq!(world.row().await.status, Status::Active);
}

#[tokio::test]
async fn while_google_is_away_a_token_serves_to_its_end() {
    let world = World::new(5).await;
    assert_eq!(world.fresh().await.unwrap(), ("ya29.first".to_owned(), 0));
    assert_eq!(world.endpoint.calls(), 2, "asked, and asked again");
    world.db.advance(Duration::from_mins(6)).await;
    assert_eq!(world.fresh().await.unwrap_err().class(), Class::Retry);
    // An answer without a token is no answer.
    world.endpoint.reply(200, json!({"expires_in": 1}));
    assert_eq!(world.fresh().await.unwrap_err().class(), Class::Retry);
}

#[tokio::test]
async fn a_token_that_does_not_open_is_marked_and_never_touched() {
    let world = World::new(60).await;
    let before = world.row().await;
    let stranger = tokens(&world.db, &world.url, OTHER, true);
    let error = stranger.fresh(Which::youtube(world.id)).await.map(shown).unwrap_err();
    assert_eq!((error.class(), error), (Class::Reject, TokenError::Undecryptable(OpenError::UnknownKey)));
    let row = world.row().await;
    assert_eq!((row.status, row.error.as_deref()), (Status::Error, Some("token_undecryptable")));
    assert_eq!(row.access_token.unwrap().expose(), before.access_token.unwrap().expose());
    assert_eq!(world.endpoint.calls(), 0);
    // The right key heals it.
    assert_eq!(world.fresh().await.unwrap().0, "ya29.first");
    assert_eq!(world.row().await.status, Status::Active);
}

#[tokio::test]
async fn an_old_plain_token_is_sealed_when_it_is_first_read() {
    let world = World::new(60).await;
    world.set(Some("b'ya29.plain'"), Some("1//plain")).await;
    assert_eq!(world.fresh().await.unwrap(), ("ya29.plain".to_owned(), 0));
    let row = world.row().await;
    assert_eq!(open(row.access_token.as_ref()), "ya29.plain");
    assert_eq!(open(row.refresh_token.as_ref()), "1//plain");
    assert_eq!(row.version, 0);
}

#[tokio::test]
async fn a_plain_token_is_refused_where_none_is_allowed() {
    let world = World::new(60).await;
    world.set(Some("ya29.plain"), None).await;
    let strict = tokens(&world.db, &world.url, KEY, false);
    assert_eq!(strict.fresh(Which::youtube(world.id)).await.map(shown).unwrap_err(), TokenError::Plaintext);
    assert_eq!(world.row().await.access_token.unwrap().expose(), "ya29.plain");
}

#[tokio::test]
async fn without_any_token_the_owner_is_asked() {
    let world = World::new(60).await;
    world.set(None, None).await;
    assert_eq!(world.fresh().await.unwrap_err().class(), Class::Reauthorise);
    assert_eq!(
        world.tokens.fresh(Which::youtube(ConnectionId::new())).await.map(shown).unwrap_err(),
        TokenError::NotFound
    );
}

#[test]
fn short_lived_tokens_are_not_always_about_to_end() {
    assert_eq!(margin(600, Some(TimeDelta::hours(1))), TimeDelta::minutes(10));
    assert_eq!(margin(600, Some(TimeDelta::seconds(60))), TimeDelta::seconds(15));
    assert_eq!(margin(600, None), TimeDelta::minutes(10));
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_leaks_into_errors_or_the_most_talkative_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // All of it runs on this thread.
    let _here = tracing::subscriber::set_default(subscriber);
    let canaries = ["canary0access0aaaaaa", "canary1refresh1bbbbb", "canary2granted2ccccc"];
    let [access, refresh, fresh] = canaries;

    let world = World::new(-1).await;
    let mut shown = vec![format!("{:?}", world.tokens)];
    for (status, answer) in [
        (200, granted(fresh)),
        (200, json!({"access_token": [fresh]})),
        (400, json!({"error": "invalid_grant", "error_description": format!("refresh_token={refresh}")})),
        (401, json!({"error": "invalid_client", "error_description": format!("Bearer {access}")})),
        (500, json!({"access_token": fresh})),
    ] {
        world.set(Some(access), Some(refresh)).await;
        // Beyond a suspicion.
        world.db.advance(Duration::from_mins(2)).await;
        world.endpoint.reply(status, answer);
        let refused = world.tokens.renew(Which::youtube(world.id), world.row().await.version).await;
        shown.push(format!("{refused:?} {:?}", refused.as_ref().map_err(ToString::to_string)));
    }
    world.set(Some(&format!("gAAAAA{access}")), None).await;
    shown.push(format!("{:?}", world.tokens.fresh(Which::youtube(world.id)).await));

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("google token answered 401") && log.contains("does not open"), "the log is on");
    for text in [shown.join("\n"), log] {
        for canary in canaries {
            for piece in canary.as_bytes().windows(12) {
                let piece = str::from_utf8(piece).unwrap();
                let at = text.find(piece).map(|at| &text[at.saturating_sub(200)..(at + 40).min(text.len())]);
                assert_eq!(at, None, "{piece}");
            }
        }
    }
}
