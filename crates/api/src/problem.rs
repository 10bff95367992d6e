//! Refusals as problem documents (RFC 9457): a code for programs, and what to do for people.
//!
//! What went wrong inside is written to the log and nowhere else.

use std::error::Error;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use greenroom_campaigns::standing::StandingError;
use greenroom_comments::CommentsError;
use greenroom_comments::inbox::views::ViewError;
use greenroom_comments::inbox::vips::VipError;
use greenroom_connections::{ConnectError, ConsentError};
use greenroom_credits::CreditsError;
use greenroom_queue::{EnqueueError, QueueError};
use serde_json::{Map, Value, json};
use tracing::{error, warn};

/// A kind of refusal: the same status, code and title each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal $title:literal;)*) => {$(
        pub(crate) const $name: Kind = Kind { status: StatusCode::$status, code: $code, title: $title };
    )*};
}

kinds! {
    BAD_QUERY = BAD_REQUEST "bad_query" "The query is wrong";
    BAD_BODY = BAD_REQUEST "bad_body" "The body is wrong";
    UNAUTHENTICATED = UNAUTHORIZED "unauthenticated" "A service token is needed";
    UNVERIFIED = UNAUTHORIZED "unverified" "Not signed by the provider";
    INSUFFICIENT_CREDITS = PAYMENT_REQUIRED "insufficient_credits" "Not enough credits";
    FORBIDDEN = FORBIDDEN "forbidden" "The service token may not do this";
    NOT_FOUND = NOT_FOUND "not_found" "Not found";
    BAD_METHOD = METHOD_NOT_ALLOWED "method_not_allowed" "Not with this method";
    DISCONNECTED = CONFLICT "connection_disconnected" "The account is disconnected";
    BROKEN = CONFLICT "connection_error" "The connection does not serve";
    ALREADY_CONNECTED = CONFLICT "already_connected" "The account is connected elsewhere";
    BAD_CONSENT = BAD_REQUEST "bad_consent" "The consent does not serve";
    INCOMPLETE_CONSENT = UNPROCESSABLE_ENTITY "incomplete_consent" "The consent leaves out what is needed";
    NOT_CONFIGURED = SERVICE_UNAVAILABLE "platform_not_configured" "The platform cannot be connected here";
    PROVIDER_AWAY = BAD_GATEWAY "provider_unavailable" "The platform did not answer as it should";
    KEY_REUSED = CONFLICT "idempotency_key_reuse" "The key names something else";
    CHANGED = PRECONDITION_FAILED "changed" "It has changed meanwhile";
    NAME_TAKEN = CONFLICT "name_taken" "The name is taken";
    WRONG_STATE = CONFLICT "wrong_state" "Not in the job's state";
    WRONG_STANDING = CONFLICT "wrong_standing" "Not where this person stands";
    KEY_HELD = CONFLICT "key_held" "The same work is already open";
    TOO_LARGE = PAYLOAD_TOO_LARGE "body_too_large" "The body is too large";
    NOT_JSON = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body is not JSON";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "Something went wrong here";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable" "Not available at the moment";
    TIMED_OUT = SERVICE_UNAVAILABLE "timed_out" "The request took too long";
    PRICE_UNKNOWN = SERVICE_UNAVAILABLE "price_unknown" "The work has no price";
}

/// A refusal, as the caller reads it.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Returns its code.
    pub(crate) const fn code(&self) -> &'static str {
        self.kind.code
    }

    /// Returns its title and what to do.
    pub(crate) fn words(&self) -> (&'static str, &str) {
        (self.kind.title, &self.detail)
    }

    /// Returns its status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// Makes a refusal; the detail says what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), more: Map::new(), headers: Vec::new() }
    }

    /// Adds a member that programs can read.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Says that trying again soon may help.
    pub(crate) fn try_again(kind: Kind, detail: &str) -> Self {
        Self::new(kind, detail).header(header::RETRY_AFTER, "1")
    }

    /// Hides an error that is ours, and logs it.
    pub(crate) fn internal(error: &dyn Error) -> Self {
        error!(%error, "A request failed");
        Self::new(INTERNAL, "the error was logged under the request's id: tell the operators that id")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("type".to_owned(), format!("urn:greenroom:problem:{}", self.kind.code).into());
        body.insert("title".to_owned(), self.kind.title.into());
        body.insert("status".to_owned(), self.kind.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        body.insert("code".to_owned(), self.kind.code.into());
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.kind.status, kind, Value::Object(body).to_string()).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if !is_passing(&error) {
            return Self::internal(&error);
        }
        warn!(%error, "The database did not serve a request");
        Self::try_again(UNAVAILABLE, "the database is busy or away: try again in a moment")
    }
}

/// Tells whether the same statement may succeed in a moment.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => true,
        // Serialization and deadlock; resources; cancelled, shut down or starting; a lock not had in time.
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| {
            ["40", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "55P03"
        }),
        _ => false,
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let text = error.to_string();
        match error {
            QueueError::NotFound(_) => Self::new(NOT_FOUND, text),
            QueueError::WrongState { status, .. } => Self::new(WRONG_STATE, text).with("job_status", status),
            QueueError::KeyHeld { holder, .. } => Self::new(KEY_HELD, text).with("holder", json!(holder)),
            QueueError::SearchTooLong(_) => Self::new(BAD_QUERY, text),
            QueueError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<greenroom_youtube::Error> for Problem {
    fn from(error: greenroom_youtube::Error) -> Self {
        match error {
            greenroom_youtube::Error::Database(error)
            | greenroom_youtube::Error::Enqueue(EnqueueError::Database(error)) => error.into(),
            greenroom_youtube::Error::Enqueue(EnqueueError::KeyInFlux { .. }) => Self::try_again(
                UNAVAILABLE,
                "other jobs of this connection came and went meanwhile: try again in a moment",
            ),
            other => Self::internal(&other),
        }
    }
}

impl From<ConsentError> for Problem {
    fn from(error: ConsentError) -> Self {
        let text = error.to_string();
        match error {
            ConsentError::State
            | ConsentError::NeedsLocation(_)
            | ConsentError::RedirectUri
            | ConsentError::Code(_) => Self::new(BAD_CONSENT, text),
            ConsentError::MissingScopes(_)
            | ConsentError::NoAccount(_)
            | ConsentError::Connect(ConnectError::NoRefreshToken) => Self::new(INCOMPLETE_CONSENT, text),
            ConsentError::NotConfigured(_) => Self::new(NOT_CONFIGURED, text),
            ConsentError::Connect(ConnectError::AlreadyConnected) => Self::new(ALREADY_CONNECTED, text),
            ConsentError::Provider(failure) => {
                warn!(%failure, "A provider did not give what a consent promised");
                Self::try_again(
                    PROVIDER_AWAY,
                    "the platform did not answer as it should: begin the consent again",
                )
            }
            ConsentError::Database(error) | ConsentError::Connect(ConnectError::Database(error)) => {
                error.into()
            }
            other @ ConsentError::Enqueue(_) => Self::internal(&other),
        }
    }
}

impl From<CommentsError> for Problem {
    fn from(error: CommentsError) -> Self {
        match error {
            CommentsError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<greenroom_mail::MailError> for Problem {
    fn from(error: greenroom_mail::MailError) -> Self {
        match error {
            greenroom_mail::MailError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<StandingError> for Problem {
    fn from(error: StandingError) -> Self {
        let text = error.to_string();
        match error {
            StandingError::NoUser(_) => Self::new(NOT_FOUND, text),
            StandingError::Conflict(_) => Self::new(WRONG_STANDING, text),
            StandingError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        let text = error.to_string();
        match error {
            ViewError::Name => Self::new(BAD_BODY, text),
            ViewError::NameTaken => Self::new(NAME_TAKEN, text),
            ViewError::TooMany => Self::new(WRONG_STATE, text),
            ViewError::Database(error) => error.into(),
        }
    }
}

impl From<VipError> for Problem {
    fn from(error: VipError) -> Self {
        let text = error.to_string();
        match error {
            VipError::Platform(_) | VipError::Author => Self::new(BAD_QUERY, text),
            VipError::TooMany => Self::new(WRONG_STATE, text),
            VipError::Database(error) => error.into(),
        }
    }
}

impl From<CreditsError> for Problem {
    fn from(error: CreditsError) -> Self {
        match error {
            CreditsError::Insufficient(short) => Self::new(INSUFFICIENT_CREDITS, short.to_string())
                // Exact decimals: a float would not be.
                .with("needed", short.needed.to_string())
                .with("available", short.available.to_string())
                .with("next_reset_at", json!(short.next_reset_at)),
            CreditsError::PriceUnknown { .. } | CreditsError::ModelPriceUnknown { .. } => {
                error!(%error, "Work without a price was asked for");
                Self::new(PRICE_UNKNOWN, "no price is set for this work: tell the operators")
            }
            CreditsError::NoSuchEvent(_) | CreditsError::UserNotFound(_) => {
                Self::new(NOT_FOUND, error.to_string())
            }
            CreditsError::NothingToRefund(_) => Self::new(WRONG_STATE, error.to_string()),
            CreditsError::KeyReuse { .. } | CreditsError::GrantKeyReuse(_) => {
                Self::new(KEY_REUSED, error.to_string())
            }
            CreditsError::Amount => Self::new(BAD_BODY, error.to_string()),
            CreditsError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
