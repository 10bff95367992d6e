//! `POST /token` and `POST /revoke`: codes and refresh tokens in, access tokens out.
//!
//! As Google's, it does not rotate refresh tokens, and gives one only to a program that asked to act offline.

use std::collections::HashMap;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::youtube::Params;
use crate::{
    consent::{Codes, Terms},
    settings::Settings,
    world::Dice,
};

/// Reads comments; includes everything that reading wants.
pub(crate) const FORCE_SSL: &str = "https://www.googleapis.com/auth/youtube.force-ssl";
/// Reads everything but comments.
pub(crate) const READONLY: &str = "https://www.googleapis.com/auth/youtube.readonly";
const ANALYTICS: &str = "https://www.googleapis.com/auth/yt-analytics.readonly";

/// What a client needs to act for the sandbox's channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Google {
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
    /// A refresh token of the first channel, with every scope.
    pub refresh_token: String,
    /// One whose user unticked comments.
    pub readonly_refresh_token: String,
    /// One that its user has revoked.
    pub revoked_refresh_token: String,
    /// The first channel.
    pub channel_id: String,
    /// One of its videos whose comments are disabled; absent in a world of one video.
    pub comments_disabled_video: Option<String>,
    /// Every channel, the first one too.
    pub channels: Vec<Account>,
}

/// A channel and the refresh token of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The channel.
    pub channel_id: String,
    /// A refresh token with every scope.
    pub refresh_token: String,
}

/// Who calls: a channel's owner, with what he allowed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) channel: u16,
    scopes: Vec<&'static str>,
}

impl Caller {
    pub(crate) fn may(&self, scopes: &[&str]) -> bool {
        self.scopes.iter().any(|scope| scopes.contains(scope))
    }
}

#[derive(Debug)]
struct Grant {
    channel: u16,
    scopes: Vec<&'static str>,
    revoked: bool,
}

#[derive(Debug)]
struct Access {
    refresh_token: String,
    scopes: Vec<&'static str>,
    expires_at: DateTime<Utc>,
}

/// Every token that was given out.
#[derive(Debug)]
pub(crate) struct Grants {
    seed: u64,
    lifetime: TimeDelta,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    by_refresh_token: HashMap<String, Grant>,
    by_access_token: HashMap<String, Access>,
    pub(crate) codes: Codes,
    channels: u16,
    issued: u64,
}

/// What the token endpoint answers.
#[derive(Debug, Serialize)]
pub(crate) struct Issued {
    access_token: String,
    expires_in: i64,
    scope: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// What it answers instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: u16,
    error: String,
    description: String,
}

impl Refused {
    fn new(status: u16, error: &str, description: impl Into<String>) -> Self {
        Self { status, error: error.to_owned(), description: description.into() }
    }

    /// An error that a test scripted by status and name only.
    pub(crate) fn scripted(status: u16, error: &str) -> Self {
        let description = match error {
            "invalid_grant" => "Token has been expired or revoked.",
            "invalid_client" => "The OAuth client was not found.",
            _ => "The request cannot be completed.",
        };
        Self::new(status, error, description)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(json!({"error": self.error, "error_description": self.description}))).into_response()
    }
}

impl IntoResponse for Issued {
    fn into_response(self) -> Response {
        let no_store = HeaderValue::from_static("no-cache, no-store, max-age=0, must-revalidate");
        ([(header::CACHE_CONTROL, no_store)], Json(self)).into_response()
    }
}

impl Grants {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seed = settings.seed;
        let mut by_refresh_token = HashMap::new();
        let all = vec![READONLY, FORCE_SSL, ANALYTICS];
        for channel in 0..settings.channels {
            let grant = Grant { channel, scopes: all.clone(), revoked: false };
            by_refresh_token.insert(refresh_token(seed, &format!("channel {channel}")), grant);
        }
        let readonly = Grant { channel: 0, scopes: vec![READONLY], revoked: false };
        by_refresh_token.insert(refresh_token(seed, "readonly"), readonly);
        let revoked = Grant { channel: 0, scopes: all, revoked: true };
        by_refresh_token.insert(refresh_token(seed, "revoked"), revoked);
        let number = made_up(seed, "client", 3);
        Self {
            seed,
            lifetime: TimeDelta::seconds(i64::from(settings.access_token_secs)),
            client_id: format!(
                "408120{}.apps.googleusercontent.com",
                number.to_lowercase().replace('_', "-")
            ),
            client_secret: format!("GOCSPX-{}", made_up(seed, "secret", 4)),
            by_refresh_token,
            by_access_token: HashMap::new(),
            codes: Codes::default(),
            channels: settings.channels,
            issued: 0,
        }
    }

    /// Returns the refresh token of a channel's owner.
    pub(crate) fn of_channel(&self, channel: u16) -> String {
        refresh_token(self.seed, &format!("channel {channel}"))
    }

    /// Returns the refresh token without the scope for comments.
    pub(crate) fn readonly(&self) -> String {
        refresh_token(self.seed, "readonly")
    }

    /// Returns the refresh token that is revoked from the start.
    pub(crate) fn revoked(&self) -> String {
        refresh_token(self.seed, "revoked")
    }

    /// Returns what the consent is about.
    pub(crate) fn terms(&self) -> Terms<'static> {
        Terms {
            vendor: "Google",
            client_id: self.client_id.clone(),
            scopes: &[READONLY, FORCE_SSL, ANALYTICS],
            separator: ' ',
            accounts: (1..=self.channels).map(|channel| format!("Channel {channel}")).collect(),
            suffix: "",
            wants_challenge: false,
        }
    }

    /// Answers `POST /token`.
    pub(crate) fn token(&mut self, request: &Params, now: DateTime<Utc>) -> Result<Issued, Refused> {
        let wanted = |name: &str| {
            let missing =
                || Refused::new(400, "invalid_request", format!("Missing required parameter: {name}"));
            request.one(name).ok_or_else(missing)
        };
        let grant_type = wanted("grant_type")?;
        if !["refresh_token", "authorization_code"].contains(&grant_type) {
            return Err(Refused::new(
                400,
                "unsupported_grant_type",
                format!("Invalid grant_type: {grant_type}"),
            ));
        }
        if wanted("client_id")? != self.client_id {
            return Err(Refused::new(401, "invalid_client", "The OAuth client was not found."));
        }
        if request.one("client_secret") != Some(&self.client_secret) {
            return Err(Refused::new(401, "invalid_client", "The provided client secret is invalid."));
        }
        if grant_type == "authorization_code" {
            return self.redeem(request, now);
        }
        let refresh_token = wanted("refresh_token")?;
        let grant = self
            .by_refresh_token
            .get(refresh_token)
            .ok_or_else(|| Refused::new(400, "invalid_grant", "Bad Request"))?;
        if grant.revoked {
            return Err(Refused::new(400, "invalid_grant", "Token has been expired or revoked."));
        }
        let scopes = match request.one("scope") {
            None => grant.scopes.clone(),
            Some(wanted) => wanted
                .split_whitespace()
                .map(|wanted| grant.scopes.iter().copied().find(|&scope| scope == wanted))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| Refused::new(400, "invalid_scope", "Some requested scopes were invalid."))?,
        };
        let refresh_token = refresh_token.to_owned();
        Ok(self.issue(&refresh_token, &scopes, now))
    }

    /// Trades a code for a grant of its own.
    fn redeem(&mut self, request: &Params, now: DateTime<Utc>) -> Result<Issued, Refused> {
        let allowed =
            self.codes.redeem(request, now).map_err(|why| Refused::new(400, "invalid_grant", why))?;
        let token = refresh_token(self.seed, &format!("consent {}", self.by_refresh_token.len()));
        let grant = Grant { channel: allowed.account, scopes: allowed.scopes.clone(), revoked: false };
        self.by_refresh_token.insert(token.clone(), grant);
        let issued = self.issue(&token, &allowed.scopes, now);
        Ok(Issued { refresh_token: allowed.offline.then_some(token), ..issued })
    }

    fn issue(&mut self, refresh_token: &str, scopes: &[&'static str], now: DateTime<Utc>) -> Issued {
        self.issued += 1;
        let access_token = format!("ya29.a0{}", made_up(self.seed, &format!("access {}", self.issued), 20));
        self.by_access_token.retain(|_, access| access.expires_at > now);
        self.by_access_token.insert(
            access_token.clone(),
            Access {
                refresh_token: refresh_token.to_owned(),
                scopes: scopes.to_vec(),
                expires_at: now + self.lifetime,
            },
        );
        let (expires_in, scope) = (self.lifetime.num_seconds(), scopes.join(" "));
        Issued { access_token, expires_in, scope, token_type: "Bearer", refresh_token: None }
    }

    /// Tells who holds an access token, if it still opens anything.
    pub(crate) fn caller(&self, access_token: &str, now: DateTime<Utc>) -> Option<Caller> {
        let access = self.by_access_token.get(access_token).filter(|access| access.expires_at > now)?;
        let grant = self.by_refresh_token.get(&access.refresh_token).filter(|grant| !grant.revoked)?;
        Some(Caller { channel: grant.channel, scopes: access.scopes.clone() })
    }

    /// Answers `POST /revoke`: either token ends the whole grant.
    pub(crate) fn revoke(&mut self, token: &str) -> Result<(), Refused> {
        let refresh_token = self.by_access_token.get(token).map_or(token, |access| &access.refresh_token);
        match self.by_refresh_token.get_mut(refresh_token) {
            Some(grant) if !grant.revoked => {
                grant.revoked = true;
                Ok(())
            }
            _ => Err(Refused::new(400, "invalid_token", "Token expired or revoked")),
        }
    }

    /// Lets every access token expire at once.
    pub(crate) fn expire_all(&mut self) {
        self.by_access_token.clear();
    }
}

fn refresh_token(seed: u64, of: &str) -> String {
    format!("1//0{}", made_up(seed, of, 12))
}

/// Makes up a text that looks random; it guards nothing but a toy.
pub(crate) fn made_up(seed: u64, purpose: &str, words: usize) -> String {
    let place: Vec<u64> = purpose.bytes().map(u64::from).collect();
    let mut dice = Dice::at(seed, &place);
    let bytes: Vec<u8> = (0..words).flat_map(|_| dice.any().to_be_bytes()).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}
