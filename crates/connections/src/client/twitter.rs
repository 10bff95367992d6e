//! X, once Twitter: refresh tokens that serve once. Whoever loses an answer has lost the account.

use greenroom_http::{Class, Client, Endpoint, Refused, Request, Url, Verdict};
use greenroom_model::Platform;
use greenroom_vault::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::provider::{
    Account, Asked, Call, Code, Granted, OauthClient, Provider, classify, grant, identify, take_back,
};
use crate::settings::OauthSettings;

const TOKEN: Endpoint = Endpoint { platform: "twitter", name: "oauth2.token" };
const REVOKE: Endpoint = Endpoint { platform: "twitter", name: "oauth2.revoke" };
const ME: Endpoint = Endpoint { platform: "twitter", name: "users.me" };

/// The pool of its refreshes.
pub(crate) const POOL: &str = "oauth.twitter";

/// X as a provider.
#[derive(Debug)]
pub(crate) struct Twitter {
    authorize_url: Url,
    token_url: Url,
    revoke_url: Url,
    me_url: Url,
    client: OauthClient,
}

impl Twitter {
    pub(crate) fn new(settings: &OauthSettings, client: OauthClient) -> Self {
        Self {
            authorize_url: settings.twitter_authorize_url.clone(),
            token_url: settings.twitter_token_url.clone(),
            revoke_url: settings.twitter_revoke_url.clone(),
            me_url: settings.twitter_me_url.clone(),
            client,
        }
    }
}

impl Provider for Twitter {
    fn platform(&self) -> Platform {
        Platform::Twitter
    }

    fn scopes(&self) -> &'static [&'static str] {
        // Without the last one there is no refresh token.
        &["tweet.read", "users.read", "offline.access"]
    }

    fn authorize_url(&self, asked: &Asked<'_>) -> Url {
        let mut url = self.authorize_url.clone();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", asked.redirect_uri),
            ("scope", &self.scopes().join(" ")),
            ("state", asked.state.expose()),
            ("code_challenge", asked.challenge),
            ("code_challenge_method", "S256"),
        ]);
        url
    }

    fn redeem<'a>(&'a self, http: &'a Client, code: &'a Code<'a>) -> Call<'a, Granted> {
        let request =
            Request::post(TOKEN, self.token_url.clone()).basic(&self.client.id, &self.client.secret).form([
                ("grant_type", "authorization_code"),
                ("code", code.text.expose()),
                ("redirect_uri", code.redirect_uri),
                ("code_verifier", code.verifier.expose()),
            ]);
        Box::pin(grant(http, TOKEN, request, refusal))
    }

    fn account<'a>(&'a self, http: &'a Client, access_token: &'a Secret) -> Call<'a, Option<Account>> {
        #[derive(Deserialize)]
        struct Answer {
            data: User,
        }
        #[derive(Deserialize)]
        struct User {
            id: String,
            name: String,
            username: String,
        }
        Box::pin(async move {
            let request = Request::get(ME, self.me_url.clone()).bearer(access_token);
            let Answer { data } = identify(http, ME, request).await?;
            Ok(Some(Account {
                info: json!({"id": data.id, "name": data.name, "username": data.username}),
                id: data.id,
                name: Some(data.username),
            }))
        })
    }

    fn refresh<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, Granted> {
        // Not repeatable: the token has served when the answer is on its way.
        let request = Request::post(TOKEN, self.token_url.clone())
            .basic(&self.client.id, &self.client.secret)
            .form([("grant_type", "refresh_token"), ("refresh_token", token.expose())]);
        Box::pin(grant(http, TOKEN, request, refusal))
    }

    fn revoke<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, ()> {
        let request = Request::post(REVOKE, self.revoke_url.clone())
            .basic(&self.client.id, &self.client.secret)
            .form([("token", token.expose())])
            .repeatable();
        Box::pin(take_back(http, request))
    }
}

/// X calls a token or code that has served an invalid request, as it does a request that is.
fn refusal(refused: &Refused<'_>) -> Verdict {
    let verdict = classify(refused);
    match verdict.code.as_deref() {
        Some("invalid_request") => Verdict { class: Class::Reauthorise, ..verdict },
        _ => verdict,
    }
}
