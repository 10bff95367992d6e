//! Who comes in, and how those who do not are told.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn every_route_of_v1_wants_a_token_its_scope_and_the_right_tenant() {
    let world = World::new().await;
    let job = world.job_of(&world.ours).await;
    let bare = token(world.pool(), Some(world.ours.organization), &[]).await;
    for (method, path, scope) in [
        (Method::POST, sync_path(world.ours.connection), "connection.sync"),
        (Method::GET, "/v1/jobs".to_owned(), "job.read"),
        (Method::GET, format!("/v1/jobs/{job}"), "job.read"),
        (Method::POST, format!("/v1/jobs/{job}/cancel"), "job.cancel"),
        (Method::POST, format!("/v1/jobs/{job}/retry"), "connection.sync"),
    ] {
        let answer = Answer::read(world.request(method.clone(), &path).send().await.unwrap()).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{path}");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="greenroom""#);

        let with = async |token: &str| {
            Answer::read(world.request(method.clone(), &path).bearer_auth(token).send().await.unwrap()).await
        };
        let answer = with("gr_nobody").await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{path}");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="greenroom", error="invalid_token""#);

        let answer = with(&bare).await;
        assert_eq!(answer.problem(), (403, "forbidden"), "{path}");
        assert_eq!(answer.body["action"], scope);
        assert!(answer.header("www-authenticate").ends_with(&format!("scope=\"{scope}\"")));

        let answer = with(&world.theirs.token).await;
        if path == "/v1/jobs" {
            assert_eq!(answer.body, json!({"jobs": [], "next": null}));
        } else {
            assert_eq!(answer.problem(), (404, "not_found"), "{path}");
        }
    }
    assert_eq!(world.jobs().await, 1, "nobody wrote anything");
}

#[tokio::test]
async fn a_strangers_thing_and_a_phantom_look_the_same() {
    let world = World::new().await;
    let (theirs, phantom) = (world.job_of(&world.theirs).await, JobId::new());
    let [stranger, nobody] =
        [theirs, phantom].map(async |id| world.get(&format!("/v1/jobs/{id}"), &world.ours.token).await);
    let (stranger, nobody) = (stranger.await, nobody.await);
    let text = |answer: &Answer, id: JobId| answer.body.to_string().replace(&id.to_string(), "ID");
    assert_eq!(text(&stranger, theirs), text(&nobody, phantom));
    assert_eq!(
        nobody.body,
        json!({
            "type": "urn:greenroom:problem:not_found",
            "title": "Not found",
            "status": 404,
            "detail": format!("there is no job {phantom}"),
            "code": "not_found",
        })
    );
}

#[tokio::test]
async fn revoked_expired_doubled_and_foreign_credentials_are_refused() {
    let world = World::new().await;
    let good = world.ours.token.clone();
    let lower = format!("bearer  {good}");
    let send = async |values: &[&str]| {
        let request = world.request(Method::GET, "/v1/jobs");
        let request = values.iter().fold(request, |request, value| request.header("authorization", *value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(&[&lower]).await, 200, "the scheme's case is free");
    let bearer = format!("Bearer {good}");
    for values in [&[&bearer[..], &bearer][..], &["Bearer "], &["Bearer"], &[&good], &["Basic Zm9vOmJhcg=="]]
    {
        assert_eq!(send(values).await, 401, "{}", values.len());
    }
    access::revoke(&mut world.pool().acquire().await.unwrap(), &good[3..15]).await.unwrap();
    assert_eq!(send(&[&bearer]).await, 401);
    assert_eq!(world.get("/v1/jobs", &world.theirs.token).await.status, 200);
    world.db.advance(Duration::from_hours(24 * 91)).await;
    assert_eq!(world.get("/v1/jobs", &world.theirs.token).await.status, 401);
}

#[tokio::test]
async fn wrong_paths_methods_ids_and_queries_are_problems_too() {
    let world = World::new().await;
    let token = &world.ours.token;
    assert_eq!(world.get("/v2/jobs", token).await.problem(), (404, "not_found"));
    assert_eq!(world.get("/", token).await.problem(), (404, "not_found"));
    let answer = world.post("/v1/jobs", token).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed"));
    assert_eq!(answer.header("allow"), "GET,HEAD");
    for id in ["1", "not-a-uuid", "%ff", "018f3a5e-0000-7000-8000-00000000000g"] {
        assert_eq!(world.get(&format!("/v1/jobs/{id}"), token).await.problem(), (404, "not_found"), "{id}");
    }
    for query in [
        "state=failed",
        "status=lost",
        "status=failed&status=failed",
        "limit=0",
        "limit=201",
        "limit=70000",
        "limit=-1",
        "after=1",
        "queue=%00",
        "kind=a%00b",
    ] {
        assert_eq!(
            world.get(&format!("/v1/jobs?{query}"), token).await.problem(),
            (400, "bad_query"),
            "{query}"
        );
    }
    let answer = world.get("/v1/jobs?state=failed", token).await;
    assert!(answer.body["detail"].as_str().unwrap().contains("unknown field `state`"), "{answer:?}");
}

#[tokio::test]
async fn bodies_are_small_json_without_unknown_fields() {
    let world = World::new().await;
    let send = async |kind: &str, body: String| {
        let request = world.request(Method::POST, &sync_path(world.ours.connection));
        let request = request.bearer_auth(&world.ours.token).header("content-type", kind).body(body);
        Answer::read(request.send().await.unwrap()).await
    };
    let answer = send("application/json", "x".repeat(256 * 1024 + 1)).await;
    assert_eq!(
        answer.body,
        json!({
            "type": "urn:greenroom:problem:body_too_large",
            "title": "The body is too large",
            "status": 413,
            "detail": "send at most 262144 bytes",
            "code": "body_too_large",
            "limit_bytes": 262_144,
        })
    );
    assert_eq!(send("application/json", "x".repeat(2_000_000)).await.problem(), (413, "body_too_large"));
    assert_eq!(send("text/plain", "{}".to_owned()).await.problem(), (415, "unsupported_media_type"));
    for body in ["{", "[1]", "null", r#"{"full":true}"#, &"[".repeat(100_000)] {
        assert_eq!(send("application/json", body.to_owned()).await.problem(), (400, "bad_body"));
    }
    assert_eq!(world.jobs().await, 0);
    assert_eq!(send("Application/JSON; charset=utf-8", "{}".to_owned()).await.status, 202);
}

#[tokio::test]
async fn a_request_has_an_id_and_the_log_has_no_secret() {
    let world = World::new().await;
    let send = async |token: &str, id: &str| {
        let request = world.request(Method::GET, "/v1/jobs?queue=planted-in-the-query");
        let request = request.bearer_auth(token).header("x-request-id", id);
        Answer::read(request.send().await.unwrap()).await.header("x-request-id").to_owned()
    };
    assert_eq!(send(&world.ours.token, "from-the-caller.1").await, "from-the-caller.1");
    for unfit in ["two words", "", &"x".repeat(65), &world.theirs.token] {
        let id = send(&world.ours.token, unfit).await;
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
    }
    send("gr_a_refused_token", "refused").await;

    let text = log();
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("greenroom_api")).collect();
    let line = ours.iter().find(|line| line.contains("from-the-caller.1") && line.contains("Answered"));
    let line = line.unwrap_or_else(|| panic!("{ours:#?}"));
    for part in ["route=\"/v1/jobs\"", "status=200", &format!("token.id=\"{}\"", &world.ours.token[3..15])] {
        assert!(line.contains(part), "{part} in {line}");
    }
    for secret in [&world.ours.token[16..], &world.theirs.token[16..], "refused_token", "planted"] {
        // The client of this test logs what it sends; the server must not.
        let told =
            text.lines().filter(|line| !line.contains("reqwest") && !line.contains("hyper_util::client"));
        assert!(!told.into_iter().any(|line| line.contains(secret)), "{secret}");
    }
}

#[tokio::test]
async fn a_request_hands_its_trace_to_what_it_enqueues() {
    let world = World::new().await;
    let stored = async |given: Option<&str>, tenant: &Tenant| {
        let request = world.request(Method::POST, &sync_path(tenant.connection)).bearer_auth(&tenant.token);
        let request = given.into_iter().fold(request, |request, trace| request.header("traceparent", trace));
        let answer = Answer::read(request.send().await.unwrap()).await;
        let id: uuid::Uuid = answer.body["id"].as_str().unwrap().parse().unwrap();
        let trace: String = sqlx::query_scalar("select trace from background_jobs where id = $1")
            .bind(id)
            .fetch_one(world.pool())
            .await
            .unwrap();
        trace.parse::<greenroom_queue::TraceParent>().unwrap().trace_id().to_string()
    };
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    assert_eq!(stored(Some(&format!("00-{trace}-{span}-01")), &world.ours).await, trace);
    let text = log();
    assert!(
        text.lines().any(|line| line.contains("Answered") && line.contains(&format!("trace.id={trace}")))
    );
    // What cannot be read is replaced, and does not reach the row or the log.
    let made = stored(Some("planted-trace"), &world.theirs).await;
    assert!(made.len() == 32 && made != trace, "{made}");
    assert!(!log().lines().any(|line| line.contains("greenroom_api") && line.contains("planted-trace")));
}

#[tokio::test]
async fn our_own_failures_tell_nothing_of_the_inside() {
    let world = World::new().await;
    sqlx::query("alter table background_jobs rename to gone").execute(world.pool()).await.unwrap();
    let answer = world.get("/v1/jobs", &world.ours.token).await;
    assert_eq!(
        answer.body,
        json!({
            "type": "urn:greenroom:problem:internal",
            "title": "Something went wrong here",
            "status": 500,
            "detail": "the error was logged under the request's id: tell the operators that id",
            "code": "internal",
        })
    );
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_undone() {
    let world = World::with(Settings { request_timeout_ms: 300.try_into().unwrap(), ..settings() }).await;
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query("lock table background_jobs in access exclusive mode").execute(&mut *tx).await.unwrap();
    let answer = world.sync(&world.ours).await;
    assert_eq!(answer.problem(), (503, "timed_out"));
    assert_eq!(answer.header("retry-after"), "1");
    tx.rollback().await.unwrap();
    assert_eq!(world.sync(&world.ours).await.status, 202);
    assert_eq!(world.jobs().await, 1);
}

#[tokio::test]
async fn who_sends_headers_too_slowly_or_too_many_is_cut_off() {
    let world = World::with(Settings { header_timeout_ms: 200.try_into().unwrap(), ..settings() }).await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));

    let answer = world.request(Method::GET, "/healthz").header("x-large", "x".repeat(200_000)).send().await;
    assert!(answer.map_or(true, |answer| answer.status() == 431));
    assert_eq!(world.get("/healthz", "").await.status, 200);
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_until_there_is_room() {
    let world = World::with(Settings { max_connections: 1.try_into().unwrap(), ..settings() }).await;
    let only = TcpStream::connect(world.address).await.unwrap();
    let second = tokio::spawn(world.request(Method::GET, "/healthz").send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished());
    drop(only);
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_panic_is_answered_like_any_failure_of_ours() {
    let world = World::new().await;
    let api = api(&world.queue, world.shutdown.requested.clone(), settings(), world.address, &world.sandbox);
    let router = axum::Router::new()
        .route("/", axum::routing::get(async || -> () { panic!("on purpose") }))
        .layer(axum::middleware::from_fn_with_state(api, crate::watch::watch));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let answer = Answer::read(world.http.get(url).send().await.unwrap()).await;
    assert_eq!(answer.problem(), (500, "internal"));
    server.abort();
}
