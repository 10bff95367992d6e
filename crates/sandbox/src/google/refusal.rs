//! YouTube's error bodies, word for word where they are known.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// A call that is answered with an error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: u16,
    /// The value of `error` in the body.
    error: Value,
    www_authenticate: Option<&'static str>,
    retry_after_secs: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: u16, domain: &'static str, reason: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let error = json!({
            "code": status,
            "message": message,
            "errors": [{"message": message, "domain": domain, "reason": reason}]
        });
        Self { status, error, www_authenticate: None, retry_after_secs: None }
    }

    /// Tells where the fault lies, and what kind of place that is.
    fn at(mut self, location: &str, kind: &str) -> Self {
        self.error["errors"][0]["location"] = location.into();
        self.error["errors"][0]["locationType"] = kind.into();
        self
    }

    fn at_parameter(self, name: &str) -> Self {
        self.at(name, "parameter")
    }

    /// Adds the canonical code that newer errors carry beside the reason.
    fn code(mut self, code: &str) -> Self {
        self.error["status"] = code.into();
        self
    }

    fn details(mut self, details: Value) -> Self {
        self.error["details"] = details;
        self
    }

    fn challenge(self, challenge: &'static str) -> Self {
        Self { www_authenticate: Some(challenge), ..self }
    }

    /// The access token is unknown, expired or revoked.
    pub(crate) fn invalid_credentials() -> Self {
        let mut refusal = Self::new(401, "global", "authError", "Invalid Credentials")
            .at("Authorization", "header")
            .code("UNAUTHENTICATED")
            .challenge(r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#);
        // Only here does the envelope say more than the error within it.
        refusal.error["message"] =
            "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                                    login cookie or other valid authentication credential. See \
                                    https://developers.google.com/identity/sign-in/web/devconsole-project."
                .into();
        refusal
    }

    /// There is no access token at all.
    pub(crate) fn unregistered() -> Self {
        let message = "Method doesn't allow unregistered callers (callers without established identity). Please \
                       use API Key or other form of API consumer identity to call this API.";
        Self::new(403, "global", "forbidden", message).code("PERMISSION_DENIED")
    }

    /// The access token does not have the scope that the method wants.
    pub(crate) fn insufficient_scope(method: &str) -> Self {
        let message = "Request had insufficient authentication scopes.";
        Self::new(403, "global", "insufficientPermissions", message)
            .code("PERMISSION_DENIED")
            .details(json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                "domain": "googleapis.com",
                "metadata": {"service": "youtube.googleapis.com", "method": method}
            }]))
            .challenge(r#"Bearer realm="https://accounts.google.com/", error="insufficient_scope""#)
    }

    pub(crate) fn quota_exceeded() -> Self {
        Self::new(
            403,
            "youtube.quota",
            "quotaExceeded",
            r#"The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">quota</a>."#,
        )
    }

    pub(crate) fn missing_part() -> Self {
        Self::new(400, "youtube.parameter", "missingRequiredParameter", "'part'").at("parameters.", "other")
    }

    pub(crate) fn unknown_part(part: &str) -> Self {
        Self::new(400, "youtube.part", "unknownPart", format!("'{part}'")).at_parameter("part")
    }

    pub(crate) fn no_filter(expected: &str) -> Self {
        let message = format!("No filter selected. Expected one of: {expected}");
        Self::new(400, "youtube.parameter", "missingRequiredParameter", message).at("parameters.", "other")
    }

    pub(crate) fn incompatible(given: &str) -> Self {
        let message = format!("Incompatible parameters specified in the request: {given}");
        Self::new(400, "youtube.parameter", "incompatibleParameters", message).at("parameters.", "other")
    }

    pub(crate) fn too_many_ids() -> Self {
        let message = "The request specifies an invalid filter parameter.";
        Self::new(400, "youtube.parameter", "invalidFilters", message).at_parameter("id")
    }

    pub(crate) fn invalid_parameter(name: &str, message: impl Into<String>) -> Self {
        Self::new(400, "youtube.parameter", "invalidParameter", message).at_parameter(name)
    }

    pub(crate) fn unknown_parameter(name: &str) -> Self {
        let message = format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' \
             could not be found in request message."
        );
        Self::new(400, "global", "badRequest", message).code("INVALID_ARGUMENT")
    }

    pub(crate) fn invalid_page_token() -> Self {
        let message = "The request specifies an invalid page token.";
        Self::new(400, "youtube.parameter", "invalidPageToken", message).at_parameter("pageToken")
    }

    pub(crate) fn comments_disabled() -> Self {
        let message = r#"The video identified by the <code><a href="/youtube/v3/docs/commentThreads/list#videoId">videoId</a></code> parameter has disabled comments."#;
        Self::new(403, "youtube.commentThread", "commentsDisabled", message).at_parameter("videoId")
    }

    pub(crate) fn threads_forbidden() -> Self {
        let message = "One or more of the comment threads cannot be retrieved due to insufficient permissions. The \
                       request might not be properly authorized.";
        Self::new(403, "youtube.commentThread", "forbidden", message)
    }

    pub(crate) fn not_found(domain: &'static str, reason: &str, parameter: &str) -> Self {
        let message = format!(
            "The resource identified with the request's <code>{parameter}</code> parameter cannot be found."
        );
        Self::new(404, domain, reason, message).at_parameter(parameter)
    }

    /// An error that a test scripted by status and reason only.
    pub(crate) fn scripted(status: u16, reason: &str, retry_after_secs: Option<u64>) -> Self {
        let refusal = match reason {
            "authError" => Self::invalid_credentials(),
            "quotaExceeded" => Self::quota_exceeded(),
            "commentsDisabled" => Self::comments_disabled(),
            "invalidPageToken" => Self::invalid_page_token(),
            "insufficientPermissions" => Self::insufficient_scope("youtube.api.v3"),
            "rateLimitExceeded" | "userRateLimitExceeded" => {
                Self::new(status, "usageLimits", reason, "Rate Limit Exceeded")
            }
            "RATE_LIMIT_EXCEEDED" => Self::per_minute(),
            "youtubeSignupRequired" => {
                Self::new(status, "youtube.header", reason, "Unauthorized").at("Authorization", "header")
            }
            "accessNotConfigured" => Self::new(
                status,
                "usageLimits",
                reason,
                "YouTube Data API v3 has not been used in this project before or it is disabled.",
            ),
            "backendError" => Self::new(status, "global", reason, "Backend Error"),
            "internalError" => Self::new(status, "global", reason, "Internal error encountered."),
            "processingFailure" => {
                let message = "The API server failed to successfully process the request. While this can be a \
                               transient error, it usually indicates that the request's input is invalid.";
                Self::new(status, "youtube.commentThread", reason, message)
            }
            _ => Self::new(status, "global", reason, "The request cannot be completed."),
        };
        let mut refusal = Self { status, retry_after_secs, ..refusal };
        refusal.error["code"] = status.into();
        refusal
    }

    fn per_minute() -> Self {
        let message = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service \
                       'youtube.googleapis.com' for consumer 'project_number:1'.";
        Self::new(429, "global", "rateLimitExceeded", message).code("RESOURCE_EXHAUSTED").details(json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {"quota_limit": "defaultPerMinutePerProject", "quota_limit_value": "60"}
        }]))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(json!({"error": self.error}).to_string()));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        if let Some(challenge) = self.www_authenticate {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
