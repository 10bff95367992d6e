//! Consents through the sandbox's pages, as a browser and a front end would go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_http::Url;
use greenroom_queue::Queue;
use greenroom_queue::testing::{by_status, drain};
use greenroom_sandbox::{Endpoint, Fault, Rule, Running, Sandbox};
use greenroom_testkit::Database;
use greenroom_vault::Bind;
use serde_json::json;

use super::*;
use crate::jobs::{Connections, jobs};
use crate::listing::{self, Summary};
use crate::provider::OauthClient;
use crate::tokens::Tokens;
use crate::tokens::tests::KEY;
use crate::{TokenError, list};

pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) sandbox: Running,
    consents: Consents,
    pub(crate) user: UserId,
}

fn client(id: &str, secret: &str) -> OauthClient {
    OauthClient { id: id.to_owned(), secret: secret.into() }
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = Database::new().await;
        let settings = greenroom_sandbox::Settings { channels: 2, clock: db.clock(), ..Default::default() };
        let sandbox = Sandbox::start(settings).await.unwrap();
        let user = person(&db, "a@example.test").await;
        let mut config: toml::Table = include_str!("../../../../config/default.toml").parse().unwrap();
        let mut oauth = config.remove("oauth").unwrap();
        for (key, value) in OauthSettings::at(&sandbox.base_url) {
            oauth[key.strip_prefix("oauth.").unwrap()] = value.into();
        }
        let oauth: OauthSettings = oauth.try_into().unwrap();
        let ready = sandbox.ready();
        let providers = Providers::of(
            &oauth,
            [
                ("google", client(&ready.google.client_id, &ready.google.client_secret)),
                ("instagram", client(&ready.instagram.client_id, &ready.instagram.client_secret)),
                ("twitter", client(&ready.twitter.client_id, &ready.twitter.client_secret)),
            ],
        );
        let http = json!({
            "connect_timeout_secs": 1, "timeout_secs": 5, "max_tries": 2, "retry_delay_ms": 1,
            "max_pause_secs": 1, "idle_connections": 4, "idle_timeout_secs": 30, "max_body_bytes": 100_000,
        });
        let http = Client::new(&serde_json::from_value(http).unwrap(), db.clock()).unwrap();
        let consents = Consents {
            pool: db.pool().clone(),
            vault: Vault::from_keys(KEY).unwrap().binding(Bind::On),
            http,
            providers,
            oauth: Arc::new(oauth),
            tokens: Settings {
                refresh_margin_secs: 600,
                allow_plaintext: true,
                bind: Bind::On,
                reencrypt_pause_ms: 0,
                purge_after_days: 7,
            },
            clock: db.clock(),
        };
        Self { db, sandbox, consents, user }
    }

    fn of(&self, platform: Platform) -> NewConsent {
        NewConsent { user: self.user, platform, location: None, redirect_uri: None }
    }

    async fn begin(&self, new: &NewConsent) -> Result<Begun, ConsentError> {
        self.consents.begin(&mut self.db.pool().acquire().await.unwrap(), new).await
    }

    /// Lets a person decide on the page; returns what comes back.
    async fn decide(&self, begun: &Begun, decision: &[(&str, &str)]) -> HashMap<String, String> {
        let browser = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let page = browser.get(begun.authorize_url.expose()).send().await.unwrap();
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap());
        let url = Url::parse(begun.authorize_url.expose()).unwrap();
        let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        form.extend(decision.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut address = url.clone();
        address.set_query(None);
        let back = browser.post(address.as_str()).form(&form).send().await.unwrap();
        let location = back.headers()["location"].to_str().unwrap();
        Url::parse(location).unwrap().query_pairs().into_owned().collect()
    }

    async fn redeem(
        &self,
        platform: Platform,
        back: &HashMap<String, String>,
    ) -> Result<Given, ConsentError> {
        let (state, code) = (Secret::from(back["state"].as_str()), Secret::from(back["code"].as_str()));
        self.consents.redeem(platform, &state, &code).await
    }

    async fn store(&self, given: Given) -> Result<Connected, ConsentError> {
        let mut tx = self.db.pool().begin().await.unwrap();
        let connected = self.consents.connect(&mut tx, given).await?;
        tx.commit().await.unwrap();
        Ok(connected)
    }

    /// Goes all the way.
    async fn connect(&self, new: NewConsent, decision: &[(&str, &str)]) -> Result<Connected, ConsentError> {
        let begun = self.begin(&new).await?;
        let back = self.decide(&begun, decision).await;
        self.store(self.redeem(new.platform, &back).await?).await
    }

    async fn summary(&self, which: Which) -> Summary {
        listing::find(&mut self.db.pool().acquire().await.unwrap(), which.id).await.unwrap().unwrap()
    }

    async fn location(&self) -> LocationId {
        let id = LocationId::new();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "insert into organizations (id, name, slug, type) values ('{0}', 'An agency', 'a{0}', 'agency');
             insert into locations (id, organization_id, name) values ('{0}', '{0}', 'A place')",
            id.0
        )))
        .execute(self.db.pool())
        .await
        .unwrap();
        id
    }

    fn tokens(&self) -> Tokens {
        let of = &self.consents;
        Tokens::new(
            of.pool.clone(),
            of.vault.clone(),
            of.http.clone(),
            of.providers.clone(),
            of.tokens.clone(),
            of.clock.clone(),
        )
    }

    pub(crate) async fn drain(&self) {
        let connections = Arc::new(Connections {
            pool: self.db.pool().clone(),
            vault: self.consents.vault.clone(),
            tokens: self.tokens(),
            settings: self.consents.tokens.clone(),
        });
        drain(&Queue::new(self.db.pool().clone()), &jobs(Some(&connections))).await.unwrap();
    }

    pub(crate) async fn enqueue(&self, job: &impl greenroom_queue::Job) {
        let queue = Queue::new(self.db.pool().clone());
        queue.enqueue(job).await.unwrap();
        self.drain().await;
    }

    async fn disconnect(&self, connected: &Connected) -> bool {
        let mut tx = self.db.pool().begin().await.unwrap();
        let ended = disconnect(&mut tx, connected.which, connected.platform).await.unwrap();
        tx.commit().await.unwrap();
        ended.is_some()
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.pool()).await.unwrap()
    }
}

async fn person(db: &Database, email: &str) -> UserId {
    let user = UserId::new();
    sqlx::query!("insert into users (id, email) values ($1, $2)", user.0, email)
        .execute(db.pool())
        .await
        .unwrap();
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_connected_and_healed_by_its_owner() {
    let world = World::new().await;
    let pool = "insert into greenroom.pools (name, budget, window_cron) values ('youtube', 2, '0 0 * * *')";
    sqlx::raw_sql(pool).execute(world.db.pool()).await.unwrap();
    let first = world.connect(world.of(Platform::Youtube), &[("account", "1")]).await.unwrap();
    assert!(first.is_new);
    // Asking whose tokens these are cost a unit of the quota.
    assert_eq!(world.number("select granted from greenroom.pools").await, 1);
    let token = world.tokens().fresh(first.which).await.unwrap();
    assert!(token.secret.expose().starts_with("ya29."));
    let summary = world.summary(first.which).await;
    assert_eq!((summary.status.as_str(), summary.user_id), ("active", Some(world.user)));
    assert_eq!(summary.name, first.name);
    // Nothing of the consent can be used again.
    assert_eq!(
        world.number("select count(*) from oauth_state_tokens where used and code_verifier is null").await,
        1
    );

    sqlx::raw_sql(
        "update youtube_connections set connection_status = 'error', connection_error = 'reauth_required'",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    let again = world.connect(world.of(Platform::Youtube), &[("account", "1")]).await.unwrap();
    assert_eq!((again.which, again.is_new), (first.which, false));
    assert_eq!(world.summary(first.which).await.status, "active");

    let stranger =
        NewConsent { user: person(&world.db, "b@example.test").await, ..world.of(Platform::Youtube) };
    let refused = world.connect(stranger, &[("account", "1")]).await.unwrap_err();
    assert!(matches!(refused, ConsentError::Connect(crate::ConnectError::AlreadyConnected)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instagram_account_lives_for_years_of_sixty_days() {
    let world = World::new().await;
    let location = world.location().await;
    let new = NewConsent { location: Some(location), ..world.of(Platform::Instagram) };
    let connected = world.connect(new, &[("account", "1")]).await.unwrap();
    assert_eq!(connected.name.as_deref(), Some("creator.2"));
    assert_eq!(
        world.number("select count(*) from platform_connections
                       where platform = 'instagram' and connection_status = 'connected' and access_token is null").await,
        1
    );
    let mut token = world.tokens().fresh(connected.which).await.unwrap();
    for round in 0..12_i64 {
        // It is refreshed between thirty days before its end and three days earlier.
        world.db.advance(Duration::from_hours(26 * 24)).await;
        world.enqueue(&crate::jobs::sweep_refreshes::SweepRefreshes {}).await;
        assert_eq!(world.tokens().fresh(connected.which).await.unwrap().version, round, "too early");
        world.db.advance(Duration::from_hours(5 * 24)).await;
        world.enqueue(&crate::jobs::sweep_refreshes::SweepRefreshes {}).await;
        let next = world.tokens().fresh(connected.which).await.unwrap();
        assert_eq!(next.version, round + 1);
        assert_ne!(next.secret.expose(), token.secret.expose());
        token = next;
    }
    // Nobody was there for sixty days: the provider is not even asked.
    let calls = world.sandbox.stats().calls(Endpoint::InstagramRefresh);
    world.db.advance(Duration::from_hours(61 * 24)).await;
    world.enqueue(&crate::jobs::sweep_refreshes::SweepRefreshes {}).await;
    assert_eq!(world.sandbox.stats().calls(Endpoint::InstagramRefresh), calls);
    let summary = world.summary(connected.which).await;
    assert_eq!((summary.status.as_str(), summary.error.as_deref()), ("error", Some("reauth_required")));
    // Its owner comes back.
    let again = world.connect(world.of(Platform::Instagram), &[("account", "1")]).await.unwrap();
    assert_eq!((again.which, world.summary(again.which).await.status.as_str()), (connected.which, "active"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_rotates_is_connected_for_a_location() {
    let world = World::new().await;
    let without = world.begin(&world.of(Platform::Twitter)).await.unwrap_err();
    assert!(matches!(without, ConsentError::NeedsLocation(_)), "{without}");
    let new = NewConsent { location: Some(world.location().await), ..world.of(Platform::Twitter) };
    let connected = world.connect(new.clone(), &[]).await.unwrap();
    assert!(connected.is_new);
    for _ in 0..20 {
        world.db.advance(Duration::from_hours(2)).await;
        // Two processes at once: the token serves once.
        let (one, other) = (world.tokens(), world.tokens());
        let (one, other) = tokio::join!(one.fresh(connected.which), other.fresh(connected.which));
        assert_eq!(one.unwrap().version, other.unwrap().version);
    }
    assert_eq!(world.sandbox.reused_on_twitter(), 0);
    assert_eq!(world.sandbox.stats().calls(Endpoint::TwitterToken), 21);
    let again = world.connect(new, &[]).await.unwrap();
    assert_eq!((again.which, again.is_new), (connected.which, false));
    // After a month without use it is refreshed all the same.
    world.db.advance(Duration::from_hours(31 * 24)).await;
    world.enqueue(&crate::jobs::sweep_refreshes::SweepRefreshes {}).await;
    assert_eq!(world.sandbox.stats().calls(Endpoint::TwitterToken), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_callbacks_one_is_taken() {
    let world = Arc::new(World::new().await);
    let begun = world.begin(&world.of(Platform::Youtube)).await.unwrap();
    let back = Arc::new(world.decide(&begun, &[]).await);
    let all = (0..50).map(|_| {
        let (world, back) = (Arc::clone(&world), Arc::clone(&back));
        tokio::spawn(async move { world.redeem(Platform::Youtube, &back).await })
    });
    let all = futures::future::join_all(all).await;
    let (taken, refused): (Vec<_>, Vec<_>) = all.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (1, 49));
    assert!(refused.iter().all(|refused| matches!(refused, Err(ConsentError::State))));
    assert_eq!(world.sandbox.stats().calls(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_state_is_not_told() {
    let world = World::new().await;
    let begun = world.begin(&world.of(Platform::Youtube)).await.unwrap();
    let back = world.decide(&begun, &[]).await;
    let with = |name: &str, value: &str| {
        let mut back = back.clone();
        back.insert(name.to_owned(), value.to_owned());
        back
    };
    let made_up = world.redeem(Platform::Youtube, &with("state", "made up")).await.unwrap_err();
    let elsewhere = world.redeem(Platform::Instagram, &back).await.unwrap_err();
    world.db.advance(Duration::from_secs(601)).await;
    let late = world.redeem(Platform::Youtube, &back).await.unwrap_err();
    for error in [made_up, elsewhere, late] {
        assert_eq!(error.to_string(), ConsentError::State.to_string());
    }

    // A code is for who asked for it: another's verifier does not redeem it.
    let (mine, theirs) = (
        world.begin(&world.of(Platform::Youtube)).await.unwrap(),
        world.begin(&world.of(Platform::Youtube)).await.unwrap(),
    );
    let (mine, theirs) = (world.decide(&mine, &[]).await, world.decide(&theirs, &[]).await);
    let mut mixed = mine.clone();
    mixed.insert("code".to_owned(), theirs["code"].clone());
    let refused = world.redeem(Platform::Youtube, &mixed).await.unwrap_err();
    assert!(matches!(refused, ConsentError::Code(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_consent_makes_no_connection() {
    let world = World::new().await;
    let readonly = "https://www.googleapis.com/auth/youtube.readonly";
    let refused = world.connect(world.of(Platform::Youtube), &[("granted", readonly)]).await.unwrap_err();
    assert!(refused.to_string().contains("youtube.force-ssl"), "{refused}");
    let refused = world
        .connect(world.of(Platform::Instagram), &[("granted", "instagram_business_basic")])
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("instagram_business_manage_comments"), "{refused}");
    assert_eq!(world.number("select count(*) from youtube_connections").await, 0);

    let begun = world.begin(&world.of(Platform::Youtube)).await.unwrap();
    let back = world.decide(&begun, &[("decision", "deny")]).await;
    assert_eq!(back["error"], "access_denied");
    world.consents.refuse(Platform::Youtube, &back["state"].as_str().into()).await.unwrap();
    assert_eq!(world.number("select count(*) from oauth_state_tokens where not used").await, 0);

    let elsewhere =
        NewConsent { redirect_uri: Some("https://evil.test/".to_owned()), ..world.of(Platform::Youtube) };
    assert!(matches!(world.begin(&elsewhere).await.unwrap_err(), ConsentError::RedirectUri));
    let tiktok = NewConsent { location: Some(world.location().await), ..world.of(Platform::Tiktok) };
    assert!(matches!(world.begin(&tiktok).await.unwrap_err(), ConsentError::NotConfigured(Platform::Tiktok)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_forgotten_by_us_and_by_the_provider() {
    let world = World::new().await;
    let connected = world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    let token = world.tokens().fresh(connected.which).await.unwrap();
    assert!(world.disconnect(&connected).await);
    assert!(!world.disconnect(&connected).await, "it had ended");
    assert_eq!(world.tokens().fresh(connected.which).await.unwrap_err(), TokenError::Disconnected);
    assert_eq!(
        world.number("select count(*) from youtube_connections where access_token is not null or refresh_token is not null").await,
        0
    );
    world.drain().await;
    assert_eq!(world.number("select count(*) from greenroom.token_revocations").await, 0);
    assert_eq!(world.sandbox.stats().answers(Endpoint::Revoke, 200), 1);
    let url = format!("{}/youtube/v3/channels?part=id&mine=true", world.sandbox.base_url);
    let browser = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(browser.get(url).bearer_auth(token.secret.expose()).send().await.unwrap().status(), 401);

    // Whoever comes back within a week finds everything; then it goes.
    let again = world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    assert_eq!(again.which, connected.which);
    world.db.advance(Duration::from_hours(8 * 24)).await;
    world.enqueue(&crate::jobs::purge::Purge {}).await;
    assert_eq!(world.number("select count(*) from youtube_connections").await, 1);
    assert!(world.disconnect(&again).await);
    world.db.advance(Duration::from_hours(6 * 24)).await;
    world.enqueue(&crate::jobs::purge::Purge {}).await;
    assert_eq!(world.number("select count(*) from youtube_connections").await, 1);
    world.db.advance(Duration::from_hours(2 * 24)).await;
    world.enqueue(&crate::jobs::purge::Purge {}).await;
    assert_eq!(world.number("select count(*) from youtube_connections").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_allows_any_more_is_not_kept() {
    let world = World::new().await;
    world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    world.connect(world.of(Platform::Instagram), &[]).await.unwrap();
    let gone = "update youtube_connections
                   set connection_status = 'error', connection_error = 'reauth_required', updated_at = greenroom.now()";
    sqlx::raw_sql(gone).execute(world.db.pool()).await.unwrap();
    for (days, left) in [(29, 1), (2, 0)] {
        world.db.advance(Duration::from_hours(24 * days)).await;
        world.enqueue(&crate::jobs::purge::Purge {}).await;
        assert_eq!(world.number("select count(*) from youtube_connections").await, left, "{days}");
    }
    assert_eq!(world.number("select count(*) from instagram_connections").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_revoke_holds_nobody_up() {
    let world = World::new().await;
    let connected = world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    let down = Fault::Error { status: 503, reason: "backend_error".to_owned(), retry_after_secs: None };
    world.sandbox.inject(Rule::next(Endpoint::Revoke, down).times(100));
    assert!(world.disconnect(&connected).await);
    for _ in 0..3 {
        world.drain().await;
        world.db.advance(Duration::from_hours(1)).await;
    }
    assert_eq!(by_status(world.db.pool()).await.unwrap()["completed"], 1);
    assert_eq!(world.number("select count(*) from greenroom.token_revocations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_does_not_bring_a_connection_back() {
    let world = World::new().await;
    let connected = world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    world.db.advance(Duration::from_hours(1)).await;
    world.sandbox.inject(Rule::next(Endpoint::Token, Fault::Delay { millis: 500 }));
    let tokens = world.tokens();
    let which = connected.which;
    let refresh = tokio::spawn(async move { tokens.fresh(which).await.map(|token| token.version) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.disconnect(&connected).await);
    assert!(refresh.await.unwrap().is_err());
    let summary = world.summary(which).await;
    assert_eq!(summary.status, "disconnected");
    assert_eq!(
        world.number("select count(*) from youtube_connections where access_token is not null").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_is_somebodys_own() {
    let world = World::new().await;
    let location = world.location().await;
    let twitter = NewConsent { location: Some(location), ..world.of(Platform::Twitter) };
    world.connect(twitter, &[]).await.unwrap();
    world.connect(world.of(Platform::Youtube), &[]).await.unwrap();
    world
        .connect(NewConsent { location: Some(location), ..world.of(Platform::Instagram) }, &[])
        .await
        .unwrap();
    let mut conn = world.db.pool().acquire().await.unwrap();
    assert_eq!(list(&mut conn, &crate::Wanted::default(), None, 50).await.unwrap().len(), 3);
    let agency = Some(greenroom_model::OrganizationId(location.0));
    let wanted = crate::Wanted { organization: agency, ..Default::default() };
    let of_agency = list(&mut conn, &wanted, None, 50).await.unwrap();
    assert_eq!(of_agency.iter().map(|one| one.platform.as_str()).collect::<Vec<_>>(), ["twitter"]);
    sqlx::query!("update users set organization_id = $1", location.0).execute(&mut *conn).await.unwrap();
    assert_eq!(list(&mut conn, &wanted, None, 50).await.unwrap().len(), 3);
}
