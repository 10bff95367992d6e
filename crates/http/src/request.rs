//! What to ask: an endpoint's name for people, and the request for the wire.

use std::fmt;
use std::sync::atomic::AtomicU32;

use greenroom_vault::Secret;
use reqwest::Method;
use serde_json::Value;
use url::Url;

/// Names an endpoint in metrics, logs and failures; never carries an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose it is, such as `youtube`.
    pub platform: &'static str,
    /// Which one, in the platform's own words, such as `commentThreads.list`.
    pub name: &'static str,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.platform, self.name)
    }
}

/// One call to make; it has no `Debug`, since its URL, form and bearer may all be secret.
pub struct Request<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) bearer: Option<&'a Secret>,
    pub(crate) basic: Option<(&'a str, &'a Secret)>,
    pub(crate) header: Vec<(&'static str, &'a str)>,
    pub(crate) key: Option<(&'static str, &'a Secret)>,
    pub(crate) form: Option<Vec<(&'a str, &'a str)>>,
    pub(crate) json: Option<&'a Value>,
    pub(crate) if_none_match: Option<&'a str>,
    pub(crate) repeatable: bool,
    pub(crate) tries: Option<&'a AtomicU32>,
}

impl<'a> Request<'a> {
    /// Reads something, which may be done twice.
    pub fn get(endpoint: Endpoint, url: Url) -> Self {
        Self::new(endpoint, Method::GET, url, true)
    }

    /// Changes something; done once, unless [`Request::repeatable`] says that twice is the same.
    pub fn post(endpoint: Endpoint, url: Url) -> Self {
        Self::new(endpoint, Method::POST, url, false)
    }

    fn new(endpoint: Endpoint, method: Method, url: Url, repeatable: bool) -> Self {
        Self {
            endpoint,
            method,
            url,
            bearer: None,
            basic: None,
            header: Vec::new(),
            key: None,
            form: None,
            json: None,
            if_none_match: None,
            repeatable,
            tries: None,
        }
    }

    /// Adds parameters to the URL.
    #[must_use]
    pub fn query<K, V>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        self.url.query_pairs_mut().extend_pairs(pairs);
        self
    }

    /// Authenticates with `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(mut self, token: &'a Secret) -> Self {
        self.bearer = Some(token);
        self
    }

    /// Authenticates a client with `Authorization: Basic`.
    #[must_use]
    pub fn basic(mut self, name: &'a str, secret: &'a Secret) -> Self {
        self.basic = Some((name, secret));
        self
    }

    /// Sends the pairs as a form in the body.
    #[must_use]
    pub fn form(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.form = Some(pairs.into_iter().collect());
        self
    }

    /// Sends a document in the body.
    #[must_use]
    pub fn json(mut self, document: &'a Value) -> Self {
        self.json = Some(document);
        self
    }

    /// Sends a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'a str) -> Self {
        self.header.push((name, value));
        self
    }

    /// Authenticates with a key in a header of the service's own.
    #[must_use]
    pub fn key(mut self, header: &'static str, key: &'a Secret) -> Self {
        self.key = Some((header, key));
        self
    }

    /// Asks for an answer only if it differs from the one that carried this `ETag`.
    #[must_use]
    pub fn if_none_match(mut self, etag: Option<&'a str>) -> Self {
        self.if_none_match = etag;
        self
    }

    /// Counts every try that gets an answer: each costs its unit of quota, whatever the answer.
    #[must_use]
    pub fn counted_by(mut self, tries: &'a AtomicU32) -> Self {
        self.tries = Some(tries);
        self
    }

    /// Says that sending this twice does no harm, so that it may be tried again inside the call.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}
