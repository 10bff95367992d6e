//! What came back when all went well.

use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::failure::{Class, Failure};
use crate::request::Endpoint;

/// A call that succeeded.
#[derive(Debug)]
pub enum Answer {
    /// What was asked for.
    Fresh(Body),
    /// Nothing changed since the `ETag` that the request named.
    NotModified,
}

impl Answer {
    /// Returns the body of a call that named no `ETag`.
    pub fn into_body(self) -> Option<Body> {
        match self {
            Self::Fresh(body) => Some(body),
            Self::NotModified => None,
        }
    }
}

/// The body of an answer, whole and no larger than the setting allows.
pub struct Body {
    pub(crate) endpoint: Endpoint,
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Body {
    /// Reads the body as JSON.
    ///
    /// Where that fails the answer is taken for a passing fault, since a proxy's page or half an answer
    /// looks just so. Serde's message is left out: it may quote the value it stumbled on.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message =
                format!("the answer is not what was expected, from line {line}, column {column} on");
            Failure::new(self.endpoint, Class::Retry, Some(self.status), Some("unreadable_answer"), &message)
        })
    }

    /// Returns the `ETag` that the answer carried, to be sent with the next request.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Returns the headers, for services that tell limits there.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the bytes as they came, unpacked.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Body {
    /// Shows the size only: a body may hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.bytes.len())
    }
}
