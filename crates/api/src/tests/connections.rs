//! Connections over HTTP: consents in a browser and from a front end, lists, and the end.

use reqwest::redirect;
use serde_json::json;

use super::*;

/// What a browser has after the start of a consent: its cookie, and the provider's page.
struct Browser {
    http: reqwest::Client,
    cookie: String,
    page: reqwest::Url,
    state: String,
}

impl World {
    async fn authorize(&self, tenant: &Tenant, platform: &str, more: Value) -> Answer {
        let mut body = json!({"user_id": tenant.user});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = self.request(Method::POST, &format!("/v1/oauth/{platform}/authorize"));
        Answer::read(request.bearer_auth(&tenant.token).json(&body).send().await.unwrap()).await
    }

    /// Opens a consent in a browser, up to the provider's page.
    async fn open(&self, tenant: &Tenant, platform: &str) -> Browser {
        let asked = self.authorize(tenant, platform, json!({})).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        let http = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        let began = http.get(asked.body["authorize_url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(began.status(), 303);
        assert_eq!(began.headers()["cache-control"], "no-store");
        let cookie = began.headers()["set-cookie"].to_str().unwrap();
        for wanted in ["__Host-consent-", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.contains(wanted), "{cookie}");
        }
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let page = began.headers()["location"].to_str().unwrap().parse().unwrap();
        Browser { http, cookie, page, state: asked.body["state"].as_str().unwrap().to_owned() }
    }
}

impl Browser {
    /// Decides on the provider's page; returns where that sends it.
    async fn decide(&self, decision: &str) -> String {
        let mut form: Vec<(String, String)> = self.page.query_pairs().into_owned().collect();
        form.push(("decision".to_owned(), decision.to_owned()));
        let mut page = self.page.clone();
        page.set_query(None);
        let decided = self.http.post(page).form(&form).send().await.unwrap();
        decided.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn come_back(&self, address: &str, cookie: &str) -> (u16, String) {
        let came = self.http.get(address).header("cookie", cookie).send().await.unwrap();
        (came.status().as_u16(), came.text().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_an_account_in_a_browser() {
    let world = World::new().await;
    let browser = world.open(&world.ours, "instagram").await;
    let back = browser.decide("allow").await;
    // Another browser has not begun it.
    let (status, text) = browser.come_back(&back, "__Host-consent-other=1").await;
    assert_eq!(status, 400);
    assert!(text.contains("begin again"), "{text}");
    let (status, text) = browser.come_back(&back, &browser.cookie).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("creator.1 is connected"), "{text}");
    // It serves once.
    assert_eq!(browser.come_back(&back, &browser.cookie).await.0, 400);

    let listed = world.get("/v1/connections", &world.ours.token).await;
    let platforms: Vec<&str> = listed.body["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["platform"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["youtube", "instagram"]);
    let id = listed.body["connections"][1]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/connections/{id}");
    assert_eq!(world.get(&path, &world.ours.token).await.body["status"], "active");
    assert_eq!(world.get(&path, &world.theirs.token).await.problem(), (404, "not_found"));
    let theirs = world.get("/v1/connections", &world.theirs.token).await;
    assert_eq!(theirs.body["connections"].as_array().unwrap().len(), 1);

    let trail: Vec<String> =
        sqlx::query_scalar("select action from audit_logs where user_id = $1 and organization_id = $2")
            .bind(world.ours.user.0)
            .bind(world.ours.organization.0)
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(trail, ["connection.connected"]);
    // Neither state nor code nor token was logged.
    let log = log();
    assert!(!log.contains(&browser.state) && !log.contains("IGQ"), "the log tells a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_end_completes_what_came_back_to_it() {
    let world = World::new().await;
    let redirect = json!({"redirect_uri": "https://front.test/back"});
    let asked = world.authorize(&world.ours, "instagram", redirect).await;
    let page: reqwest::Url = asked.body["authorize_url"].as_str().unwrap().parse().unwrap();
    let state = asked.body["state"].as_str().unwrap().to_owned();
    let http = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
    let browser = Browser { http, cookie: String::new(), page, state: state.clone() };
    let back: reqwest::Url = browser.decide("allow").await.parse().unwrap();
    assert_eq!(back.host_str(), Some("front.test"));
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let complete = async |tenant: &Tenant, user: UserId| {
        let body = json!({"user_id": user, "state": state, "code": code});
        let request = world.request(Method::POST, "/v1/oauth/instagram/complete").bearer_auth(&tenant.token);
        Answer::read(request.json(&body).send().await.unwrap()).await
    };
    assert_eq!(complete(&world.theirs, world.theirs.user).await.problem(), (400, "bad_consent"));
    assert_eq!(complete(&world.theirs, world.ours.user).await.problem(), (400, "bad_consent"));
    let done = complete(&world.ours, world.ours.user).await;
    assert_eq!((done.status, &done.body["platform"]), (201, &"instagram".into()), "{done:?}");
    assert_eq!(complete(&world.ours, world.ours.user).await.problem(), (400, "bad_consent"));

    let elsewhere = json!({"redirect_uri": "https://evil.test/back"});
    let refused = world.authorize(&world.ours, "instagram", elsewhere).await;
    assert_eq!(refused.problem(), (400, "bad_consent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_said() {
    let world = World::new().await;
    let theirs = json!({"user_id": world.theirs.user});
    assert_eq!(world.authorize(&world.ours, "youtube", theirs).await.problem(), (404, "not_found"));
    let nowhere = json!({"location_id": uuid::Uuid::now_v7()});
    assert_eq!(world.authorize(&world.ours, "youtube", nowhere).await.problem(), (404, "not_found"));
    assert_eq!(world.authorize(&world.ours, "myspace", json!({})).await.problem(), (404, "not_found"));
    let tiktok = world.authorize(&world.ours, "tiktok", json!({})).await;
    assert_eq!(tiktok.problem(), (503, "platform_not_configured"));
    let nobody = world.post("/v1/oauth/youtube/authorize", &world.ours.token).await;
    assert_eq!(nobody.problem(), (400, "bad_body"));
    let unread = token(world.pool(), Some(world.ours.organization), &["job.read"]).await;
    assert_eq!(world.post("/v1/oauth/youtube/authorize", &unread).await.problem(), (403, "forbidden"));

    let browser = world.open(&world.ours, "youtube").await;
    let back = browser.decide("deny").await;
    let (status, text) = browser.come_back(&back, &browser.cookie).await;
    assert_eq!(status, 400);
    assert!(text.contains("refused"), "{text}");
    let made_up = world.get("/oauth/youtube/start?state=made-up", "").await;
    assert_eq!(made_up.problem(), (400, "bad_consent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_connected_elsewhere_is_refused_without_a_name() {
    let world = World::new().await;
    for (tenant, status) in [(&world.ours, 200), (&world.theirs, 409)] {
        let browser = world.open(tenant, "youtube").await;
        let back = browser.decide("allow").await;
        let (answered, text) = browser.come_back(&back, &browser.cookie).await;
        assert_eq!(answered, status, "{text}");
        assert!(!text.contains("ours"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_ends_a_connection() {
    let world = World::new().await;
    let path = format!("/v1/connections/{}", world.ours.connection);
    let end = async |token: &str| {
        Answer::read(world.request(Method::DELETE, &path).bearer_auth(token).send().await.unwrap()).await
    };
    assert_eq!(end(&world.theirs.token).await.problem(), (404, "not_found"));
    for _ in 0..2 {
        let ended = end(&world.ours.token).await;
        assert_eq!((ended.status, &ended.body["status"]), (200, &"disconnected".into()), "{ended:?}");
    }
    assert_eq!(world.sync(&world.ours).await.problem(), (409, "connection_disconnected"));
    let trail: i64 =
        sqlx::query_scalar("select count(*) from audit_logs where action = 'connection.disconnected'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(trail, 1);
    let jobs = "select count(*) from background_jobs where job_type = 'connections.revoke'";
    let jobs: i64 = sqlx::query_scalar(jobs).fetch_one(world.pool()).await.unwrap();
    assert_eq!(jobs, 1);
}
