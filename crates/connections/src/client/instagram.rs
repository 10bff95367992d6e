//! Instagram, with Instagram Login: no refresh token, but a long-lived token that renews itself while it lasts.
//!
//! Its tokens travel in the query of URLs, which are therefore never logged, shown or stored.

use chrono::TimeDelta;
use greenroom_http::{Class, Client, Endpoint, Failure, Refused, Request, Url, Verdict};
use greenroom_model::Platform;
use greenroom_vault::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::provider::{
    Account, Asked, Call, Code, Granted, OauthClient, Provider, RenewedBy, classify, grant,
};
use crate::settings::OauthSettings;

const TOKEN: Endpoint = Endpoint { platform: "instagram", name: "oauth.access_token" };
const EXCHANGE: Endpoint = Endpoint { platform: "instagram", name: "access_token" };
const REFRESH: Endpoint = Endpoint { platform: "instagram", name: "refresh_access_token" };
const ME: Endpoint = Endpoint { platform: "instagram", name: "me" };

/// The pool of its refreshes.
pub(crate) const POOL: &str = "oauth.instagram";

/// How long before its end a token is renewed: a month of retries, before only its owner can help.
const LEAD: TimeDelta = TimeDelta::days(30);

/// Instagram as a provider.
#[derive(Debug)]
pub(crate) struct Instagram {
    authorize_url: Url,
    token_url: Url,
    graph_url: Url,
    client: OauthClient,
}

impl Instagram {
    pub(crate) fn new(settings: &OauthSettings, client: OauthClient) -> Self {
        Self {
            authorize_url: settings.instagram_authorize_url.clone(),
            token_url: settings.instagram_token_url.clone(),
            graph_url: settings.instagram_graph_url.clone(),
            client,
        }
    }

    fn graph(&self, path: &str) -> Url {
        let mut url = self.graph_url.clone();
        url.set_path(path);
        url
    }

    /// Trades the code for a token of an hour.
    async fn short_lived(&self, http: &Client, code: &Code<'_>) -> Result<ShortLived, Failure> {
        // Some browsers bring the fragment that Instagram puts behind the code.
        let plain = code.text.expose();
        let plain = plain.strip_suffix("#_").unwrap_or(plain);
        let request = Request::post(TOKEN, self.token_url.clone()).form([
            ("grant_type", "authorization_code"),
            ("code", plain),
            ("redirect_uri", code.redirect_uri),
            ("client_id", &self.client.id),
            ("client_secret", self.client.secret.expose()),
        ]);
        match http.send(request, refusal).await?.into_body() {
            Some(body) => body.json(),
            None => {
                Err(Failure::new(TOKEN, Class::Retry, Some(304), None, "not modified, though nobody asked"))
            }
        }
    }
}

/// A token of an hour, and what it opens.
#[derive(Deserialize)]
struct ShortLived {
    access_token: Secret,
    /// A list, or text separated by commas.
    #[serde(default, deserialize_with = "permissions")]
    permissions: Option<String>,
}

fn permissions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Text(text) => text.replace(',', " "),
        Either::List(list) => list.join(" "),
    }))
}

impl Provider for Instagram {
    fn platform(&self) -> Platform {
        Platform::Instagram
    }

    fn scopes(&self) -> &'static [&'static str] {
        &[
            "instagram_business_basic",
            "instagram_business_manage_comments",
            "instagram_business_manage_insights",
        ]
    }

    fn authorize_url(&self, asked: &Asked<'_>) -> Url {
        let mut url = self.authorize_url.clone();
        // It knows no PKCE; the client's secret alone redeems the code.
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", asked.redirect_uri),
            ("scope", &self.scopes().join(",")),
            ("state", asked.state.expose()),
        ]);
        url
    }

    fn redeem<'a>(&'a self, http: &'a Client, code: &'a Code<'a>) -> Call<'a, Granted> {
        Box::pin(async move {
            let short = self.short_lived(http, code).await?;
            let request = Request::get(EXCHANGE, self.graph("access_token")).query([
                ("grant_type", "ig_exchange_token"),
                ("client_secret", self.client.secret.expose()),
                ("access_token", short.access_token.expose()),
            ]);
            let granted = grant(http, EXCHANGE, request, refusal).await?;
            Ok(Granted { scope: short.permissions, ..granted })
        })
    }

    fn account<'a>(&'a self, http: &'a Client, access_token: &'a Secret) -> Call<'a, Option<Account>> {
        #[derive(Deserialize)]
        struct Me {
            user_id: String,
            username: String,
            account_type: Option<String>,
        }
        Box::pin(async move {
            let request = Request::get(ME, self.graph("v26.0/me")).query([
                ("fields", "user_id,username,account_type"),
                ("access_token", access_token.expose()),
            ]);
            let Some(body) = http.send(request, refusal).await?.into_body() else { return Ok(None) };
            let me: Me = body.json()?;
            Ok(Some(Account {
                info: json!({"name": me.username, "instagram_user_id": me.user_id, "account_type": me.account_type}),
                id: me.user_id,
                name: Some(me.username),
            }))
        })
    }

    fn refresh<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, Granted> {
        // The old token stays valid: a lost answer is simply asked for again.
        let request = Request::get(REFRESH, self.graph("refresh_access_token"))
            .query([("grant_type", "ig_refresh_token"), ("access_token", token.expose())]);
        Box::pin(grant(http, REFRESH, request, refusal))
    }

    fn revoke<'a>(&'a self, _: &'a Client, _: &'a Secret) -> Call<'a, ()> {
        // It has no endpoint for it: the owner takes the permission back in Instagram's own settings.
        Box::pin(async { Ok(()) })
    }

    fn renewed_by(&self) -> RenewedBy {
        RenewedBy::AccessToken
    }

    fn lead(&self, _: TimeDelta, lifetime: TimeDelta) -> TimeDelta {
        LEAD.min(lifetime / 2)
    }
}

/// Reads errors in the form of Graph, and those of the consent's endpoint, which have another.
fn refusal(refused: &Refused<'_>) -> Verdict {
    #[derive(Deserialize)]
    struct Graph {
        error: GraphError,
    }
    #[derive(Deserialize)]
    struct GraphError {
        message: Option<String>,
        code: i64,
        #[serde(default)]
        is_transient: bool,
    }
    #[derive(Deserialize)]
    struct Consent {
        error_type: String,
        error_message: Option<String>,
    }
    if let Ok(Graph { error }) = serde_json::from_slice::<Graph>(refused.body) {
        let class = match error.code {
            // The token has ended, or its owner took it back.
            190 => Class::Reauthorise,
            // Limits of the app, the user and the account; and faults of theirs.
            1 | 2 | 4 | 17 | 32 | 613 => Class::Retry,
            _ if error.is_transient || refused.status >= 500 => Class::Retry,
            // The app, its secret or its rights.
            101 | 10 | 3 | 200..=299 => Class::RetryAt(refused.now + TimeDelta::minutes(10)),
            _ => Class::Reject,
        };
        return Verdict { class, code: Some(error.code.to_string()), message: error.message };
    }
    if let Ok(error) = serde_json::from_slice::<Consent>(refused.body) {
        let is_code = error.error_message.as_deref().is_some_and(|text| text.contains("code"));
        let class =
            if is_code { Class::Reauthorise } else { Class::RetryAt(refused.now + TimeDelta::minutes(10)) };
        return Verdict { class, code: Some(error.error_type), message: error.error_message };
    }
    classify(refused)
}

#[cfg(test)]
mod tests {
    use greenroom_http::HeaderMap;
    use greenroom_model::Clock;

    use super::*;

    fn verdict(status: u16, body: &str) -> Class {
        let now = Clock::system().now();
        refusal(&Refused { status, headers: &HeaderMap::new(), body: body.as_bytes(), now }).class
    }

    #[test]
    fn whose_fault_it_is_decides() {
        let ended = r#"{"error":{"message":"Session has expired","type":"OAuthException","code":190}}"#;
        assert_eq!(verdict(400, ended), Class::Reauthorise);
        let busy = r#"{"error":{"message":"Application request limit reached","code":4}}"#;
        assert_eq!(verdict(403, busy), Class::Retry);
        let ours = r#"{"error":{"message":"Error validating client secret.","code":101}}"#;
        assert!(matches!(verdict(400, ours), Class::RetryAt(_)));
        let used = r#"{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}"#;
        assert_eq!(verdict(400, used), Class::Reauthorise);
        assert_eq!(verdict(502, "<html>"), Class::Retry);
    }
}
