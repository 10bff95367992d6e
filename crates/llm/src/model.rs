//! A model: one call at a time, in the way that its server understands.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_http::{Answer, Body, Class, Client, ClientError, Failure, Url};
use greenroom_model::Clock;
use greenroom_vault::Secret;
use serde_json::Value;

use crate::settings::{Provider, Settings};
use crate::{anthropic, openai, pace};

/// A model, with what was learned of its server; clones share that.
#[derive(Clone, Debug)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: Client,
    settings: Settings,
    url: Url,
    key: Option<Secret>,
    clock: Clock,
    /// How far down the ways of asking for a structure this server has pushed us.
    rung: AtomicU8,
    /// Before this instant it is not asked, as it has announced.
    resume_at: Mutex<Option<DateTime<Utc>>>,
}

/// What a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What it is to do, which is ours.
    pub system: &'a str,
    /// What it is to do it with, which is anybody's.
    pub user: &'a str,
    /// How it is to answer.
    pub schema: &'a Schema,
    /// How much it may write, in tokens.
    pub max_output_tokens: u32,
}

/// A structure of answers: a name for it, and a JSON schema of the strict kind.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Its name: letters and underscores.
    pub name: &'static str,
    /// Every property required, nothing beside, no defaults.
    pub schema: Value,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The document, or why there is none.
    pub outcome: Result<Value, Unusable>,
    /// What it read and wrote, which is paid for in both cases.
    pub usage: Usage,
    /// The model that answered, by its exact name.
    pub model: String,
}

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The model would not, or a filter kept it back.
    Refused,
    /// It was cut off at the limit.
    Truncated,
    /// It is no JSON.
    Malformed,
}

/// Tokens of one call, as the server counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Those it read that were in no cache.
    pub input: u32,
    /// Those it read from a cache.
    pub cached: u32,
    /// Those it read and put into a cache.
    pub cache_write: u32,
    /// Those it wrote, thought included.
    pub output: u32,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// A setting breaks its rule.
    #[error("llm.{0}")]
    Setting(String),
    /// The client could not be made.
    #[error(transparent)]
    Http(#[from] ClientError),
}

/// Returns whether a call that failed may have been answered all the same, and be paid for.
pub fn may_have_cost(failure: &Failure) -> bool {
    match failure.status() {
        None => matches!(failure.code(), Some("timeout" | "network")),
        Some(status) => (200..300).contains(&status),
    }
}

/// How a structure is asked for, from the best way down.
pub(crate) const SCHEMA: u8 = 0;
pub(crate) const OBJECT: u8 = 1;
pub(crate) const PLAIN: u8 = 2;

impl Model {
    /// Makes a model of the settings; nothing where they say that none is called.
    pub fn new(
        settings: Settings,
        key: Option<Secret>,
        http: &greenroom_http::Settings,
        clock: Clock,
    ) -> Result<Option<Self>, LlmError> {
        let own = match settings.provider {
            Provider::Off => return Ok(None),
            Provider::Openai => "https://api.openai.com/v1",
            Provider::Anthropic => "https://api.anthropic.com/v1",
        };
        if settings.model.is_empty() {
            return Err(LlmError::Setting("model: name the model that is to be called".to_owned()));
        }
        let base = if settings.base_url.is_empty() { own } else { settings.base_url.trim_end_matches('/') };
        let path = match settings.provider {
            Provider::Anthropic => anthropic::PATH,
            _ => openai::PATH,
        };
        let url = format!("{base}/{path}").parse::<Url>();
        let url = url.map_err(|error| LlmError::Setting(format!("base_url: {error}")))?;
        let mut http = http.clone();
        http.timeout_secs = settings.timeout_secs;
        let http = Client::new(&http, clock.clone())?;
        let (rung, resume_at) = (AtomicU8::new(SCHEMA), Mutex::new(None));
        Ok(Some(Self { inner: Arc::new(Inner { http, settings, url, key, clock, rung, resume_at }) }))
    }

    /// Returns whose protocol it speaks, under which its price is listed.
    pub fn provider(&self) -> Provider {
        self.inner.settings.provider
    }

    /// Returns its name, as the settings have it.
    pub fn name(&self) -> &str {
        &self.inner.settings.model
    }

    /// Asks once; a server that does not understand how is asked again in a simpler way.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        loop {
            self.pause().await?;
            let rung = self.inner.rung.load(Ordering::Relaxed);
            match self.ask_at(rung, ask).await {
                Err(failure) if failure.code() == Some(openai::NO_FORMAT) && rung < PLAIN => {
                    tracing::info!(
                        "The server of the model does not know this way of asking for a structure"
                    );
                    self.inner.rung.fetch_max(rung + 1, Ordering::Relaxed);
                }
                Err(failure) => {
                    if let Class::RetryAt(instant) = failure.class() {
                        self.resume_at(instant);
                    }
                    return Err(failure);
                }
                Ok(reply) => return Ok(reply),
            }
        }
    }

    async fn ask_at(&self, rung: u8, ask: &Ask<'_>) -> Result<Reply, Failure> {
        let Inner { http, settings, url, key, clock, .. } = &*self.inner;
        let is_anthropic = settings.provider == Provider::Anthropic;
        let (document, endpoint) = if is_anthropic {
            (anthropic::document(settings, ask), anthropic::ENDPOINT)
        } else {
            (openai::document(settings, rung, ask), openai::ENDPOINT)
        };
        let mut request = greenroom_http::Request::post(endpoint, url.clone()).json(&document);
        if is_anthropic {
            request = request.header("anthropic-version", anthropic::VERSION);
        }
        if let Some(key) = key {
            request = if is_anthropic { request.key("x-api-key", key) } else { request.bearer(key) };
        }
        let classify = if is_anthropic { anthropic::classify } else { openai::classify };
        let body = match http.send(request, classify).await? {
            Answer::Fresh(body) => body,
            Answer::NotModified => return Err(unexpected(endpoint)),
        };
        if let Some(instant) = pace::resume_at(body.headers(), clock.now()) {
            self.resume_at(instant);
        }
        if is_anthropic { anthropic::reply(&body) } else { openai::reply(&body, rung) }
    }

    /// Waits until the server wants to be asked again, or says when that is.
    async fn pause(&self) -> Result<(), Failure> {
        let Inner { settings, clock, resume_at, .. } = &*self.inner;
        let until = *resume_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = until else { return Ok(()) };
        let wait = (until - clock.now()).to_std().unwrap_or(Duration::ZERO);
        if wait > Duration::from_secs(settings.max_pause_secs) {
            let endpoint =
                if settings.provider == Provider::Anthropic { anthropic::ENDPOINT } else { openai::ENDPOINT };
            let message = "the server has announced that it is not to be asked before then";
            return Err(Failure::new(endpoint, Class::RetryAt(until), None, Some("paced"), message));
        }
        tokio::time::sleep(wait).await;
        *resume_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn resume_at(&self, instant: DateTime<Utc>) {
        let mut resume_at = self.inner.resume_at.lock().unwrap_or_else(PoisonError::into_inner);
        *resume_at = (*resume_at).max(Some(instant));
    }
}

fn unexpected(endpoint: greenroom_http::Endpoint) -> Failure {
    Failure::new(endpoint, Class::Reject, Some(304), None, "an answer that nobody has asked for")
}

/// Reads the document of an answer, where it may stand among other words.
pub(crate) fn document_in(text: &str) -> Result<Value, Unusable> {
    let whole = serde_json::from_str(text);
    whole
        .or_else(|_| {
            let (begin, end) = (text.find('{').unwrap_or(0), text.rfind('}').map_or(0, |at| at + 1));
            serde_json::from_str(text.get(begin..end).unwrap_or_default())
        })
        .map_err(|_| Unusable::Malformed)
}

/// Returns an answer's document, read leniently: what is not there is left at its default.
pub(crate) fn read<T: serde::de::DeserializeOwned>(body: &Body) -> Result<T, Failure> {
    body.json()
}
