//! The client against a small server on loopback.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body as AxumBody, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use greenroom_vault::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::*;
use crate::failure::Verdict;

const THREADS: Endpoint = Endpoint { platform: "youtube", name: "commentThreads.list" };

/// What the server has seen, and what it is still going to say.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    seen: Vec<Seen>,
    replies: VecDeque<Response<AxumBody>>,
}

struct Seen {
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

impl Script {
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap().seen)
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<AxumBody>) -> Response<AxumBody> {
    let response = Response::builder().status(status);
    headers.iter().fold(response, |r, (name, value)| r.header(*name, *value)).body(body.into()).unwrap()
}

/// Serves the replies in order; after the last one it answers 500.
async fn serve(replies: impl IntoIterator<Item = Response<AxumBody>>) -> (Url, Script) {
    let script = Script::default();
    script.0.lock().unwrap().replies = replies.into_iter().collect();
    let handler = async |State(script): State<Script>, uri: Uri, headers: HeaderMap, body: Bytes| {
        let mut script = script.0.lock().unwrap();
        script.seen.push(Seen { uri, headers, body: String::from_utf8(body.into()).unwrap() });
        script.replies.pop_front().unwrap_or_else(|| reply(500, &[], ""))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v3/threads", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().fallback(handler).with_state(script.clone());
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, script)
}

fn settings() -> Settings {
    serde_json::from_value(json!({
        "connect_timeout_secs": 1, "timeout_secs": 1, "max_tries": 3, "retry_delay_ms": 1,
        "max_pause_secs": 2, "idle_connections": 4, "idle_timeout_secs": 30, "max_body_bytes": 1000,
    }))
    .unwrap()
}

fn client() -> Client {
    Client::new(&settings(), Clock::system()).unwrap()
}

async fn get(url: &Url) -> Result<Answer, Failure> {
    client().send(Request::get(THREADS, url.clone()), Verdict::by_status).await
}

fn body(answer: Answer) -> Body {
    answer.into_body().unwrap()
}

#[tokio::test]
async fn sends_what_was_asked_and_reads_the_answer() {
    let (url, script) = serve([reply(200, &[("etag", "\"e1\"")], r#"{"answer":42}"#)]).await;
    let token = Secret::from("ya29.x");
    let request =
        Request::post(THREADS, url).query([("part", "id,snippet")]).bearer(&token).form([("a", "b c")]);
    let body = body(client().send(request, Verdict::by_status).await.unwrap());
    assert_eq!(body.json::<Value>().unwrap(), json!({"answer": 42}));
    assert_eq!(body.etag(), Some("\"e1\""));
    let seen = &script.seen()[0];
    assert_eq!(seen.uri.query(), Some("part=id%2Csnippet"));
    assert_eq!(seen.headers["authorization"], "Bearer ya29.x");
    assert!(seen.headers["user-agent"].to_str().unwrap().contains("gzip"));
    assert!(seen.headers["accept-encoding"].to_str().unwrap().contains("gzip"));
    assert_eq!(seen.body, "a=b+c");
}

#[tokio::test]
async fn unpacks_gzip() {
    let packed = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 74, 204, 43, 46, 79, 45, 82, 178, 50, 49, 170, 5, 0, 245,
        101, 217, 204, 13, 0, 0, 0,
    ];
    let (url, _) = serve([reply(200, &[("content-encoding", "gzip")], Bytes::from_owner(packed))]).await;
    assert_eq!(body(get(&url).await.unwrap()).bytes(), br#"{"answer":42}"#);
}

#[tokio::test]
async fn what_is_passing_is_tried_again_and_every_try_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (url, script) = serve([reply(503, &[], ""), reply(429, &[], ""), reply(200, &[], "ok")]).await;
    assert_eq!(body(get(&url).await.unwrap()).bytes(), b"ok");
    assert_eq!(script.seen().len(), 3);
    let counts = handle.render();
    for code in [503, 429, 200] {
        let line = format!(
            "greenroom_platform_requests_total{{platform=\"youtube\",endpoint=\"commentThreads.list\",code=\"{code}\"}} 1"
        );
        assert!(counts.contains(&line), "{counts}");
    }
}

#[tokio::test]
async fn after_the_last_try_the_job_has_to_retry() {
    let (url, script) = serve([]).await;
    let failure = get(&url).await.unwrap_err();
    assert_eq!((failure.class(), failure.status()), (Class::Retry, Some(500)));
    assert_eq!(failure.to_string(), "youtube commentThreads.list: 500 Internal Server Error");
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test]
async fn a_change_is_not_sent_twice_unless_that_is_harmless() {
    let (url, script) = serve([]).await;
    let client = client();
    client.send(Request::post(THREADS, url.clone()), Verdict::by_status).await.unwrap_err();
    assert_eq!(script.seen().len(), 1);
    client.send(Request::post(THREADS, url).repeatable(), Verdict::by_status).await.unwrap_err();
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test]
async fn a_short_pause_is_kept_inside_the_call() {
    let (url, script) = serve([reply(429, &[("retry-after", "1")], ""), reply(200, &[], "ok")]).await;
    let started = Instant::now();
    get(&url).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn a_long_pause_is_the_job_s_to_keep() {
    let clock = Clock::system();
    let date = (clock.now() + TimeDelta::hours(2)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (header, secs) in [("3600", 3_600), (date.as_str(), 7_200)] {
        let (url, script) = serve([reply(503, &[("retry-after", header)], "")]).await;
        let Class::RetryAt(at) = get(&url).await.unwrap_err().class() else { panic!("{header}") };
        assert!(
            (at - clock.now() - TimeDelta::seconds(secs)).abs() < TimeDelta::seconds(5),
            "{header}: {at}"
        );
        assert_eq!(script.seen().len(), 1);
    }
}

#[tokio::test]
async fn the_platform_decides_what_its_errors_mean() {
    fn classify(refused: &Refused<'_>) -> Verdict {
        let body: Value = serde_json::from_slice(refused.body).unwrap();
        let class = match body["reason"].as_str() {
            Some("quota") => Class::RetryAt(refused.now + TimeDelta::hours(8)),
            Some("rate") => Class::Retry,
            Some("auth") => Class::Reauthorise,
            _ => Class::Reject,
        };
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        Verdict { class, code: text("reason"), message: text("message") }
    }
    let long = "x".repeat(500);
    let client = client();
    for (reason, tries) in [("quota", 1), ("rate", 3), ("auth", 1), ("gone", 1)] {
        let error = json!({"reason": reason, "message": format!("of ya29.canary {long}")}).to_string();
        let (url, script) = serve([(); 3].map(|()| reply(403, &[("retry-after", "0")], error.clone()))).await;
        let failure = client.send(Request::get(THREADS, url), classify).await.unwrap_err();
        assert_eq!(script.seen().len(), tries, "{reason}");
        assert_eq!(failure.code(), Some(reason));
        assert!(failure.message().starts_with("of [redacted] xxx"), "{failure}");
        assert_eq!(failure.message().chars().count(), 200);
        assert_eq!(matches!(failure.class(), Class::RetryAt(_)), reason == "quota");
        assert_eq!(failure.class() == Class::Reauthorise, reason == "auth");
        assert_eq!(failure.class() == Class::Reject, reason == "gone");
    }
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again() {
    let (url, script) = serve([reply(304, &[], ""), reply(304, &[], "")]).await;
    let client = client();
    let request = Request::get(THREADS, url.clone()).if_none_match(Some("\"e1\""));
    assert!(matches!(client.send(request, Verdict::by_status).await.unwrap(), Answer::NotModified));
    assert_eq!(script.seen()[0].headers["if-none-match"], "\"e1\"");
    // To a request that named no ETag it is no answer.
    assert_eq!(get(&url).await.unwrap_err().class(), Class::Reject);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (url, script) = serve([reply(302, &[("location", "/elsewhere")], "")]).await;
    assert_eq!(get(&url).await.unwrap_err().status(), Some(302));
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_has_a_size_it_may_not_exceed() {
    let (url, _) = serve([reply(200, &[], vec![b'x'; 1_000]), reply(200, &[], vec![b'x'; 1_001])]).await;
    assert_eq!(body(get(&url).await.unwrap()).bytes().len(), 1_000);
    let failure = get(&url).await.unwrap_err();
    assert_eq!((failure.class(), failure.code()), (Class::Reject, Some("answer_too_large")));
    // An error is an error however long it is.
    let (url, _) = serve([reply(404, &[], vec![b'x'; 200_000])]).await;
    assert_eq!(get(&url).await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn what_cannot_be_read_is_passing_and_is_not_quoted() {
    let (url, _) = serve([reply(200, &[], r#"{"id": "canary-of-a-token"}"#)]).await;
    let failure = body(get(&url).await.unwrap()).json::<Vec<u32>>().unwrap_err();
    assert_eq!((failure.class(), failure.code()), (Class::Retry, Some("unreadable_answer")));
    let failure = body(Answer::Fresh(Body {
        endpoint: THREADS,
        status: 200,
        etag: None,
        headers: HeaderMap::new(),
        bytes: br#""canary""#.into(),
    }))
    .json::<u32>()
    .unwrap_err();
    assert!(!failure.to_string().contains("canary"), "{failure}");
}

/// Serves what no proper server would: the same bytes to everyone, then the end.
async fn serve_raw(bytes: &'static [u8], hold: Duration) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _request = stream.read(&mut [0; 4_096]).await.unwrap();
                stream.write_all(bytes).await.unwrap();
                tokio::time::sleep(hold).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn a_broken_network_is_passing() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}/", nobody.local_addr().unwrap()).parse().unwrap();
    drop(nobody);
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let cut = serve_raw(half, Duration::ZERO).await;
    let slow = serve_raw(half, Duration::from_mins(1)).await;
    for (url, code) in [(refused, "connect"), (cut, "network"), (slow, "timeout")] {
        let failure = get(&url).await.unwrap_err();
        assert_eq!(
            (failure.class(), failure.status(), failure.code()),
            (Class::Retry, None, Some(code)),
            "{failure}"
        );
        let authority = url.authority();
        assert!(!failure.to_string().contains(authority), "{failure}");
    }
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Believes a platform that repeats everything it was sent.
fn trusting(refused: &Refused<'_>) -> Verdict {
    let message = String::from_utf8(refused.body.to_vec()).ok();
    Verdict { message: message.clone(), code: message, ..Verdict::by_status(refused) }
}

#[tokio::test]
async fn nothing_leaks_into_failures_or_the_most_talkative_log() {
    let log = Log::default();
    let writer = log.clone();
    // The process's own subscriber, since `reqwest` and `hyper` log through `log` from other threads as well.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let canaries =
        ["canary0bearer0aaaaaa", "canary1query1bbbbbbb", "canary2form2cccccccc", "canary3body3dddddddd"];
    let [bearer, query, form, echoed] = canaries;
    let token = Secret::from(bearer);
    let echo = format!(r#"{{"error":"access_token={echoed} Bearer {bearer} refresh_token={form}"}}"#);

    let mut urls = vec![
        serve_raw(b"HTTP/1.1 2", Duration::ZERO).await,
        serve_raw(b"", Duration::from_secs(9)).await,
        "http://127.0.0.1:1/".parse().unwrap(),
    ];
    for status in [200, 400, 401, 403, 429, 500] {
        urls.push(serve([reply(status, &[], echo.clone())]).await.0);
    }
    let mut shown = Vec::new();
    for url in urls {
        let request = Request::post(THREADS, url)
            .query([("access_token", query)])
            .bearer(&token)
            .form([("refresh_token", form)]);
        shown.push(match client().send(request, trusting).await {
            Ok(answer) => {
                let answer_shown = format!("{answer:?}");
                format!("{answer_shown} {:?}", body(answer).json::<u8>())
            }
            Err(failure) => format!("{failure} {failure:?}"),
        });
    }

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("commentThreads.list answered 401") && log.contains("TRACE"), "the log is on");
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
