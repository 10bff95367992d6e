//! Sends a request, tries again what is passing, and says what came of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use chrono::TimeDelta;
use greenroom_model::Clock;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Response, StatusCode, redirect};
use tracing::{Instrument as _, field};

use crate::answer::{Answer, Body};
use crate::failure::{Class, Classify, Failure, Refused};
use crate::proxy;
use crate::request::{Endpoint, Request};
use crate::retry_after::retry_after;
use crate::scrub::scrub;
use crate::settings::Settings;

#[cfg(test)]
mod tests;

/// How much of an error's body is read.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// Calls the outside world; clones share one pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
    clock: Clock,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made: {0}; check the proxy variables and the system's CA certificates")]
pub struct ClientError(String);

impl Client {
    /// Makes a client; the clock dates what a service asks to wait for.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder()
            // Google sends gzip only to clients whose name says so as well.
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION"), " (gzip)"))
            .gzip(true)
            .connect_timeout(settings.connect_timeout())
            .timeout(settings.timeout())
            .pool_max_idle_per_host(settings.idle_connections)
            .pool_idle_timeout(settings.idle_timeout())
            .tcp_keepalive(Duration::from_secs(30))
            // No API we call redirects; following one could carry a token to a stranger.
            .redirect(redirect::Policy::none());
        let http = proxy::apply(builder).and_then(reqwest::ClientBuilder::build);
        let http = http.map_err(|error| ClientError(describe(error)))?;
        Ok(Self { http, settings: settings.clone(), clock })
    }

    /// Makes the call, and makes it again while it fails for a passing reason.
    ///
    /// It takes at most `max_tries` times `timeout_secs`, and between two tries at most `max_pause_secs`. A
    /// service that asks for a longer pause gets it from the job: [`Class::RetryAt`].
    pub async fn send(&self, request: Request<'_>, classify: Classify) -> Result<Answer, Failure> {
        let again = if request.repeatable { self.settings.max_tries.get() - 1 } else { 0 };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.settings.retry_delay())
            .with_max_delay(self.settings.max_pause())
            .with_max_times(again as usize)
            .with_jitter();
        (|| self.attempt(&request, classify))
            .retry(pauses)
            .when(|failure: &Failure| failure.class() == Class::Retry)
            .adjust(|failure: &Failure, pause| pause.map(|pause| failure.pause.unwrap_or(pause)))
            .await
    }

    /// Makes the call once, counts it and notes it.
    async fn attempt(&self, request: &Request<'_>, classify: Classify) -> Result<Answer, Failure> {
        let endpoint = request.endpoint;
        let started = Instant::now();
        let span = tracing::info_span!(
            "call",
            platform = endpoint.platform,
            endpoint = endpoint.name,
            method = %request.method,
            status = field::Empty,
            error = field::Empty,
        );
        let result = self.exchange(request, classify).instrument(span.clone()).await;
        let code = match &result {
            Ok(Answer::Fresh(body)) => body.status.to_string(),
            Ok(Answer::NotModified) => "304".to_owned(),
            Err(failure) => match (failure.status(), failure.code()) {
                (Some(status), _) => status.to_string(),
                (None, code) => code.unwrap_or("error").to_owned(),
            },
        };
        span.record("status", &code);
        if let Err(failure) = &result {
            span.record("error", field::display(failure));
        }
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            platform = endpoint.platform,
            endpoint = endpoint.name,
            code,
            elapsed_ms,
            "{endpoint} answered {code}"
        );
        metrics::counter!(
            "greenroom_platform_requests_total",
            "platform" => endpoint.platform, "endpoint" => endpoint.name, "code" => code
        )
        .increment(1);
        result
    }

    async fn exchange(&self, request: &Request<'_>, classify: Classify) -> Result<Answer, Failure> {
        let endpoint = request.endpoint;
        let response = self.build(request).send().await.map_err(|error| broken(endpoint, error))?;
        if let Some(tries) = request.tries {
            tries.fetch_add(1, Ordering::Relaxed);
        }
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && request.if_none_match.is_some() {
            return Ok(Answer::NotModified);
        }
        if status.is_success() {
            return self.read(endpoint, response).await.map(Answer::Fresh);
        }
        let headers = response.headers().clone();
        // An error whose body breaks off is still that error.
        let (Ok(body) | Err((body, _))) = take(response, MAX_REFUSAL_BYTES).await;
        Err(self.refusal(endpoint, status, &headers, &body, classify))
    }

    fn build(&self, request: &Request<'_>) -> reqwest::RequestBuilder {
        let mut call = self.http.request(request.method.clone(), request.url.clone());
        if let Some(token) = request.bearer {
            call = call.bearer_auth(token.expose());
        }
        if let Some((name, secret)) = request.basic {
            call = call.basic_auth(name, Some(secret.expose()));
        }
        for (name, value) in &request.header {
            call = call.header(*name, *value);
        }
        if let Some((name, key)) = request.key {
            call = match HeaderValue::from_str(key.expose()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    call.header(name, value)
                }
                // What is no header is no key: the service says so.
                Err(_) => call,
            };
        }
        if let Some(document) = request.json {
            call = call.header(CONTENT_TYPE, "application/json").body(document.to_string());
        }
        if let Some(form) = &request.form {
            call = call.form(form);
        }
        if let Some(etag) = request.if_none_match {
            call = call.header(IF_NONE_MATCH, etag);
        }
        call
    }

    async fn read(&self, endpoint: Endpoint, response: Response) -> Result<Body, Failure> {
        let status = response.status().as_u16();
        let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let headers = response.headers().clone();
        let limit = self.settings.max_body_bytes.get();
        match take(response, limit).await {
            Ok(bytes) => Ok(Body { endpoint, status, etag, headers, bytes }),
            Err((_, Some(error))) => Err(broken(endpoint, error)),
            Err((_, None)) => {
                let message = format!("the answer is larger than http.max_body_bytes ({limit})");
                Err(Failure::new(endpoint, Class::Reject, Some(status), Some("answer_too_large"), &message))
            }
        }
    }

    fn refusal(
        &self,
        endpoint: Endpoint,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        classify: Classify,
    ) -> Failure {
        let now = self.clock.now();
        let verdict = classify(&Refused { status: status.as_u16(), headers, body, now });
        let asked = retry_after(headers, now).filter(|_| verdict.class == Class::Retry);
        let (class, pause) = match asked {
            Some(wait) if wait > self.settings.max_pause() => {
                let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1));
                (Class::RetryAt(now + wait), None)
            }
            pause => (verdict.class, pause),
        };
        let message = verdict.message.as_deref().or(status.canonical_reason()).unwrap_or("no reason given");
        let code = verdict.code.as_deref();
        let mut failure = Failure::new(endpoint, class, Some(status.as_u16()), code, message);
        failure.pause = pause;
        failure
    }
}

/// Reads a body up to a limit; what was read so far, and why no more, where it does not fit or breaks off.
async fn take(mut response: Response, limit: usize) -> Result<Vec<u8>, (Vec<u8>, Option<reqwest::Error>)> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= limit => bytes.extend_from_slice(&chunk),
            Ok(Some(chunk)) => {
                bytes.extend_from_slice(&chunk[..limit - bytes.len()]);
                return Err((bytes, None));
            }
            Ok(None) => return Ok(bytes),
            Err(error) => return Err((bytes, Some(error))),
        }
    }
}

/// Turns what happened below HTTP into a failure; all of it is passing, but for a request that cannot be.
fn broken(endpoint: Endpoint, error: reqwest::Error) -> Failure {
    let (class, code) = match () {
        () if error.is_builder() => (Class::Reject, "request"),
        () if error.is_timeout() => (Class::Retry, "timeout"),
        () if error.is_connect() => (Class::Retry, "connect"),
        () => (Class::Retry, "network"),
    };
    Failure::new(endpoint, class, None, Some(code), &describe(error))
}

/// Writes an error with its causes, without the URL and what it may carry.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    scrub(&text)
}
