//! Google's token endpoint.

use chrono::TimeDelta;
use greenroom_http::{Class, Client, Endpoint, Failure, Refused, Request, Url, Verdict};
use greenroom_vault::Secret;
use serde::Deserialize;

const TOKEN: Endpoint = Endpoint { platform: "google", name: "token" };

/// How long to leave the endpoint alone when it does not know us: only an operator can change that.
const CONFIGURATION_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// Who we are to Google, and where it gives out tokens.
#[derive(Debug, Clone)]
pub struct Google {
    /// The token endpoint.
    pub token_url: Url,
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: Secret,
}

/// What a refresh gives.
#[derive(Debug, Deserialize)]
pub(crate) struct Granted {
    pub(crate) access_token: Secret,
    /// Google sends one only when it replaces the old one.
    pub(crate) refresh_token: Option<Secret>,
    /// In seconds.
    pub(crate) expires_in: Option<u32>,
}

impl Google {
    /// Trades a refresh token for an access token.
    pub(crate) async fn refresh(&self, http: &Client, refresh_token: &Secret) -> Result<Granted, Failure> {
        let request = Request::post(TOKEN, self.token_url.clone())
            .form([
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token.expose()),
                ("client_id", &self.client_id),
                ("client_secret", self.client_secret.expose()),
            ])
            // Google does not rotate refresh tokens: asking twice gives two access tokens.
            .repeatable();
        match http.send(request, classify).await?.into_body() {
            Some(body) => body.json(),
            None => {
                Err(Failure::new(TOKEN, Class::Retry, Some(304), None, "not modified, though nobody asked"))
            }
        }
    }
}

/// Describes an answer that did not come in time.
pub(crate) fn late(limit: std::time::Duration) -> Failure {
    Failure::new(TOKEN, Class::Retry, None, None, &format!("no answer within {} s", limit.as_secs()))
}

/// Reads the endpoint's errors: whose fault it is decides who has to act.
fn classify(refused: &Refused<'_>) -> Verdict {
    #[derive(Deserialize)]
    struct OAuthError {
        #[serde(rename = "error")]
        code: String,
        #[serde(rename = "error_description")]
        description: Option<String>,
        #[serde(rename = "error_subtype")]
        subtype: Option<String>,
    }
    let Ok(error) = serde_json::from_slice::<OAuthError>(refused.body) else {
        // What is no OAuth error came from something in between.
        return Verdict { class: Class::Retry, code: None, message: None };
    };
    let class = match (error.code.as_str(), refused.status) {
        ("invalid_grant", _) => Class::Reauthorise,
        (_, 408 | 429 | 500..) => Class::Retry,
        // The client's id, its secret or its rights are wrong: no connection is at fault.
        _ => Class::RetryAt(refused.now + CONFIGURATION_PAUSE),
    };
    let description = error.description.into_iter().chain(error.subtype);
    let message = description.reduce(|all, more| format!("{all} ({more})"));
    Verdict { class, code: Some(error.code), message }
}

#[cfg(test)]
mod tests {
    use greenroom_http::HeaderMap;
    use greenroom_model::Clock;

    use super::*;

    fn verdict(status: u16, body: &str) -> Verdict {
        let now = Clock::system().now();
        classify(&Refused { status, headers: &HeaderMap::new(), body: body.as_bytes(), now })
    }

    #[test]
    fn whose_fault_it_is_decides() {
        let gone = r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#;
        assert_eq!(verdict(400, gone).class, Class::Reauthorise);
        let session =
            r#"{"error":"invalid_grant","error_description":"reauth","error_subtype":"invalid_rapt"}"#;
        assert_eq!(verdict(400, session).message.as_deref(), Some("reauth (invalid_rapt)"));
        for ours in ["invalid_client", "unauthorized_client", "org_internal", "unsupported_grant_type"] {
            let verdict = verdict(401, &format!(r#"{{"error":"{ours}"}}"#));
            assert!(matches!(verdict.class, Class::RetryAt(_)), "{ours}");
            assert_eq!(verdict.code.as_deref(), Some(ours));
        }
        for (status, body) in
            [(429, r#"{"error":"rate"}"#), (503, r#"{"error":"x"}"#), (403, "<html>"), (500, "")]
        {
            assert_eq!(verdict(status, body).class, Class::Retry, "{status} {body}");
        }
    }
}
