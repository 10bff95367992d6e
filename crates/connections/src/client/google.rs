//! Google, for YouTube: refresh tokens that are not rotated, and come only with a consent that was asked for anew.

use greenroom_http::{Client, Endpoint, Request, Url};
use greenroom_model::Platform;
use greenroom_vault::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::provider::{
    Account, Asked, Call, Code, Granted, OauthClient, Provider, classify, grant, identify, take_back,
};
use crate::settings::OauthSettings;

const TOKEN: Endpoint = Endpoint { platform: "google", name: "token" };
const REVOKE: Endpoint = Endpoint { platform: "google", name: "revoke" };
const CHANNELS: Endpoint = Endpoint { platform: "youtube", name: "channels.list" };

/// The pool of its refreshes.
pub(crate) const POOL: &str = "oauth.google";

/// Google as the provider of YouTube's tokens.
#[derive(Debug)]
pub(crate) struct Google {
    authorize_url: Url,
    token_url: Url,
    revoke_url: Url,
    channels_url: Url,
    client: OauthClient,
}

impl Google {
    pub(crate) fn new(settings: &OauthSettings, client: OauthClient) -> Self {
        Self {
            authorize_url: settings.google_authorize_url.clone(),
            token_url: settings.google_token_url.clone(),
            revoke_url: settings.google_revoke_url.clone(),
            channels_url: settings.google_channels_url.clone(),
            client,
        }
    }
}

impl Provider for Google {
    fn platform(&self) -> Platform {
        Platform::Youtube
    }

    fn scopes(&self) -> &'static [&'static str] {
        &[
            "https://www.googleapis.com/auth/youtube.readonly",
            "https://www.googleapis.com/auth/youtube.force-ssl",
            "https://www.googleapis.com/auth/yt-analytics.readonly",
        ]
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
            // Without these two a second consent brings no refresh token.
            ("access_type", "offline"),
            ("prompt", "consent"),
            ("include_granted_scopes", "true"),
        ]);
        url
    }

    fn redeem<'a>(&'a self, http: &'a Client, code: &'a Code<'a>) -> Call<'a, Granted> {
        let request = Request::post(TOKEN, self.token_url.clone()).form([
            ("grant_type", "authorization_code"),
            ("code", code.text.expose()),
            ("redirect_uri", code.redirect_uri),
            ("code_verifier", code.verifier.expose()),
            ("client_id", &self.client.id),
            ("client_secret", self.client.secret.expose()),
        ]);
        Box::pin(grant(http, TOKEN, request, classify))
    }

    fn account<'a>(&'a self, http: &'a Client, access_token: &'a Secret) -> Call<'a, Option<Account>> {
        #[derive(Deserialize)]
        struct Channels {
            #[serde(default)]
            items: Vec<Channel>,
        }
        #[derive(Deserialize)]
        struct Channel {
            id: String,
            snippet: Snippet,
        }
        #[derive(Deserialize)]
        struct Snippet {
            title: String,
        }
        Box::pin(async move {
            let request = Request::get(CHANNELS, self.channels_url.clone())
                .query([("part", "id,snippet"), ("mine", "true")])
                .bearer(access_token);
            let channels: Channels = identify(http, CHANNELS, request).await?;
            Ok(channels.items.into_iter().next().map(|channel| Account {
                info: json!({"name": channel.snippet.title, "channel_id": channel.id}),
                id: channel.id,
                name: Some(channel.snippet.title),
            }))
        })
    }

    fn account_costs(&self) -> Option<(&'static str, u32)> {
        // channels.list, of the quota that syncs have.
        Some(("youtube", 1))
    }

    fn refresh<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, Granted> {
        let request = Request::post(TOKEN, self.token_url.clone())
            .form([
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose()),
                ("client_id", &self.client.id),
                ("client_secret", self.client.secret.expose()),
            ])
            // Google does not rotate refresh tokens: asking twice gives two access tokens.
            .repeatable();
        Box::pin(grant(http, TOKEN, request, classify))
    }

    fn revoke<'a>(&'a self, http: &'a Client, token: &'a Secret) -> Call<'a, ()> {
        let request =
            Request::post(REVOKE, self.revoke_url.clone()).form([("token", token.expose())]).repeatable();
        Box::pin(take_back(http, request))
    }
}
