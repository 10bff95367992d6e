//! Providers: who gives out tokens, and in what way.
//!
//! A provider is one file of [`crate::client`] with its endpoints, its scopes and its quirks. Everything else (states,
//! leases, sealing, when to refresh and whose fault a failure is) is the same for all and stands elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;
use greenroom_boot::{BootError, ExposeSecret as _, secrets};
use greenroom_http::{Class, Classify, Client, Endpoint, Failure, Refused, Request, Url, Verdict};
use greenroom_model::Platform;
use greenroom_vault::Secret;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{google::Google, instagram::Instagram, twitter::Twitter};
use crate::settings::OauthSettings;

/// How long to leave an endpoint alone when it does not know us: only an operator can change that.
const CONFIGURATION_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// Who we are to a provider.
#[derive(Clone, Debug)]
pub struct OauthClient {
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: Secret,
}

/// What a token endpoint gives.
#[derive(Debug, Deserialize)]
pub(crate) struct Granted {
    pub(crate) access_token: Secret,
    /// Some send one only when it replaces the old one.
    pub(crate) refresh_token: Option<Secret>,
    /// In seconds.
    pub(crate) expires_in: Option<u32>,
    /// What was granted, separated by spaces; nothing means what was asked for.
    pub(crate) scope: Option<String>,
}

/// What a consent asks for.
pub(crate) struct Asked<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: &'a Secret,
    /// The S256 challenge of the verifier.
    pub(crate) challenge: &'a str,
}

/// What comes back from a consent, and what it is redeemed with.
pub(crate) struct Code<'a> {
    pub(crate) text: &'a Secret,
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: &'a Secret,
}

/// Whose tokens they are, as the platform says.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The platform's id.
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// What else is known; nothing secret.
    pub(crate) info: Value,
}

/// By what a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenewedBy {
    /// A refresh token of its own.
    RefreshToken,
    /// The access token itself, while it lasts.
    AccessToken,
}

/// A call to a provider.
pub(crate) type Call<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// Gives out tokens of one platform.
pub(crate) trait Provider: fmt::Debug + Send + Sync {
    /// Returns the platform whose accounts it opens.
    fn platform(&self) -> Platform;

    /// Returns the scopes without which a connection would be a half one.
    fn scopes(&self) -> &'static [&'static str];

    /// Returns where a browser is sent for a consent.
    fn authorize_url(&self, asked: &Asked<'_>) -> Url;

    /// Trades a code for tokens.
    fn redeem<'a>(&'a self, http: &'a Client, code: &'a Code<'a>) -> Call<'a, Granted>;

    /// Asks whose tokens they are; nothing where the person has no account of the kind.
    fn account<'a>(&'a self, http: &'a Client, access_token: &'a Secret) -> Call<'a, Option<Account>>;

    /// Returns the pool that this asking draws on, and how many units of it.
    fn account_costs(&self) -> Option<(&'static str, u32)> {
        None
    }

    /// Fetches new tokens for the token that renews them.
    fn refresh<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, Granted>;

    /// Takes tokens back, where the provider has a way; one that is gone already is as good.
    fn revoke<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, ()>;

    /// Returns by what its tokens are renewed.
    fn renewed_by(&self) -> RenewedBy {
        RenewedBy::RefreshToken
    }

    /// Returns how long before its end a token is refreshed ahead of need. At most a quarter of its life, or
    /// short-lived tokens would always be about to end.
    fn lead(&self, margin: TimeDelta, lifetime: TimeDelta) -> TimeDelta {
        margin.min(lifetime / 4)
    }
}

/// The providers that this house is a client of.
#[derive(Clone, Debug, Default)]
pub struct Providers(Arc<BTreeMap<Platform, Arc<dyn Provider>>>);

impl Providers {
    /// Reads who we are from the environment (`GOOGLE_CLIENT_ID`, `GOOGLE_CLIENT_SECRET` and so on); a provider
    /// without both is left out.
    pub fn from_environment(settings: &OauthSettings) -> Result<Self, BootError> {
        let mut clients = Vec::new();
        for name in ["google", "instagram", "twitter"] {
            let variable = |part: &str| secrets::optional(&format!("{}_CLIENT_{part}", name.to_uppercase()));
            if let (Some(id), Some(secret)) = (variable("ID")?, variable("SECRET")?) {
                let (id, secret) = (id.expose_secret().to_owned(), Secret::from(secret.expose_secret()));
                clients.push((name, OauthClient { id, secret }));
            }
        }
        Ok(Self::of(settings, clients))
    }

    /// Makes the providers of these clients: `google`, `instagram` and `twitter`.
    pub fn of<'a>(
        settings: &OauthSettings,
        clients: impl IntoIterator<Item = (&'a str, OauthClient)>,
    ) -> Self {
        let mut providers: BTreeMap<Platform, Arc<dyn Provider>> = BTreeMap::new();
        for (name, client) in clients {
            let provider: Arc<dyn Provider> = match name {
                "google" => Arc::new(Google::new(settings, client)),
                "instagram" => Arc::new(Instagram::new(settings, client)),
                "twitter" => Arc::new(Twitter::new(settings, client)),
                _ => continue,
            };
            providers.insert(provider.platform(), provider);
        }
        Self(Arc::new(providers))
    }

    /// Lists the platforms that can be connected.
    pub fn platforms(&self) -> impl Iterator<Item = Platform> {
        self.0.keys().copied()
    }

    pub(crate) fn get(&self, platform: Platform) -> Option<&Arc<dyn Provider>> {
        self.0.get(&platform)
    }
}

/// Asks a token endpoint.
pub(crate) async fn grant(
    http: &Client,
    endpoint: Endpoint,
    request: Request<'_>,
    classify: Classify,
) -> Result<Granted, Failure> {
    match http.send(request, classify).await?.into_body() {
        Some(body) => body.json(),
        None => Err(unasked(endpoint)),
    }
}

/// Asks a platform's API something about whose tokens they are.
pub(crate) async fn identify<T: serde::de::DeserializeOwned>(
    http: &Client,
    endpoint: Endpoint,
    request: Request<'_>,
) -> Result<T, Failure> {
    match http.send(request, Verdict::by_status).await?.into_body() {
        Some(body) => body.json(),
        None => Err(unasked(endpoint)),
    }
}

/// Takes a token back as RFC 7009 has it.
pub(crate) async fn take_back(http: &Client, request: Request<'_>) -> Result<(), Failure> {
    match http.send(request, classify).await {
        Ok(_) => Ok(()),
        // It has ended already.
        Err(failure) if matches!(failure.code(), Some("invalid_token" | "invalid_grant")) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn unasked(endpoint: Endpoint) -> Failure {
    Failure::new(endpoint, Class::Retry, Some(304), None, "not modified, though nobody asked")
}

/// Describes an answer that did not come in time.
pub(crate) fn late(limit: Duration) -> Failure {
    let endpoint = Endpoint { platform: "oauth", name: "token" };
    Failure::new(endpoint, Class::Retry, None, None, &format!("no answer within {} s", limit.as_secs()))
}

/// Reads a token endpoint's errors as RFC 6749 has them: whose fault it is decides who has to act.
pub(crate) fn classify(refused: &Refused<'_>) -> Verdict {
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
