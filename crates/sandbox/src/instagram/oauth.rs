//! Instagram Login: a code for an hour's token, that for one of sixty days, and that for the next.
//!
//! There are no refresh tokens. A token renews itself once it is a day old and while it lasts; the old one stays valid.

use std::collections::HashMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::consent::{Codes, Terms};
use crate::google::{oauth::made_up, youtube::Params};
use crate::settings::Settings;

const SCOPES: [&str; 3] =
    ["instagram_business_basic", "instagram_business_manage_comments", "instagram_business_manage_insights"];
const SHORT: TimeDelta = TimeDelta::hours(1);
const LONG: TimeDelta = TimeDelta::seconds(5_183_944);
const YOUNG: TimeDelta = TimeDelta::hours(24);

/// What a client needs to act for the sandbox's professional accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instagram {
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
    /// The first account.
    pub user_id: String,
    /// A long-lived token of it.
    pub access_token: String,
}

#[derive(Clone, Debug)]
struct Token {
    account: u16,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    revoked: bool,
}

/// An error in the form of Graph.
#[derive(Debug)]
pub(crate) struct Refused {
    status: u16,
    body: Value,
}

impl Refused {
    pub(crate) fn graph(status: u16, code: i64, message: &str) -> Self {
        let body = json!({"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A0"}});
        Self { status, body }
    }

    fn ended() -> Self {
        Self::graph(400, 190, "Error validating access token: the session has expired or was invalidated.")
    }

    /// The consent's endpoint has a form of its own.
    fn consent(message: &str) -> Self {
        let body = json!({"error_type": "OAuthException", "code": 400, "error_message": message});
        Self { status: 400, body }
    }

    /// An error that a test scripted by status and code only.
    pub(crate) fn scripted(status: u16, code: &str) -> Self {
        Self::graph(status, code.parse().unwrap_or(2), "The request cannot be completed.")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(self.body)).into_response()
    }
}

/// Every token that was given out.
#[derive(Debug)]
pub(crate) struct Tokens {
    seed: u64,
    accounts: u16,
    client_id: String,
    client_secret: String,
    pub(crate) codes: Codes,
    by_token: HashMap<String, Token>,
    issued: u64,
}

impl Tokens {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seed = settings.seed;
        let mut tokens = Self {
            seed,
            accounts: settings.channels,
            client_id: format!("99{}", seed.wrapping_mul(7_919) % 10_000_000_000_000),
            client_secret: made_up(seed, "instagram secret", 3),
            codes: Codes::default(),
            by_token: HashMap::new(),
            issued: 0,
        };
        // As if the first account had connected two days ago.
        let now = settings.clock.now();
        let token = tokens.name();
        let (issued_at, expires_at) = (now - TimeDelta::days(2), now + LONG);
        tokens.by_token.insert(token, Token { account: 0, issued_at, expires_at, revoked: false });
        tokens
    }

    /// Returns what a client needs.
    pub(crate) fn ready(&self) -> Instagram {
        Instagram {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            user_id: user_id(0),
            access_token: name(self.seed, 1),
        }
    }

    /// Returns what the consent is about.
    pub(crate) fn terms(&self) -> Terms<'static> {
        Terms {
            vendor: "Instagram",
            client_id: self.client_id.clone(),
            scopes: &SCOPES,
            separator: ',',
            accounts: (0..self.accounts).map(username).collect(),
            suffix: "#_",
            wants_challenge: false,
        }
    }

    /// Answers `POST /oauth/access_token`.
    pub(crate) fn redeem(&mut self, form: &Params, now: DateTime<Utc>) -> Result<Value, Refused> {
        self.must_be_client(form)?;
        let allowed = self.codes.redeem(form, now).map_err(Refused::consent)?;
        let token = self.issue(allowed.account, now, SHORT);
        let user_id: i64 = user_id(allowed.account).parse().unwrap_or(0);
        Ok(json!({"access_token": token, "user_id": user_id, "permissions": allowed.scopes}))
    }

    /// Answers `GET /access_token`: an hour's token for one of sixty days.
    pub(crate) fn exchange(&mut self, query: &Params, now: DateTime<Utc>) -> Result<Value, Refused> {
        if query.one("grant_type") != Some("ig_exchange_token") {
            return Err(Refused::graph(400, 100, "Invalid grant_type"));
        }
        if query.one("client_secret") != Some(&self.client_secret) {
            return Err(Refused::graph(400, 101, "Error validating client secret."));
        }
        let account = self.holder(query, now)?.account;
        Ok(granted(&self.issue(account, now, LONG)))
    }

    /// Answers `GET /refresh_access_token`.
    pub(crate) fn refresh(&mut self, query: &Params, now: DateTime<Utc>) -> Result<Value, Refused> {
        if query.one("grant_type") != Some("ig_refresh_token") {
            return Err(Refused::graph(400, 100, "Invalid grant_type"));
        }
        let token = self.holder(query, now)?;
        if now - token.issued_at < YOUNG {
            return Err(Refused::graph(400, 100, "The access token is not yet 24 hours old."));
        }
        Ok(granted(&self.issue(token.account, now, LONG)))
    }

    /// Answers `GET /me`.
    pub(crate) fn me(&self, query: &Params, now: DateTime<Utc>) -> Result<Value, Refused> {
        let account = self.holder(query, now)?.account;
        Ok(json!({
            "user_id": user_id(account), "id": user_id(account), "username": username(account),
            "account_type": "BUSINESS",
        }))
    }

    /// Lets an account's owner take back what he allowed.
    pub(crate) fn revoke(&mut self, account: u16) {
        self.by_token
            .values_mut()
            .filter(|token| token.account == account)
            .for_each(|token| token.revoked = true);
    }

    fn holder(&self, query: &Params, now: DateTime<Utc>) -> Result<Token, Refused> {
        let token = query.one("access_token").and_then(|token| self.by_token.get(token));
        let token = token.filter(|token| !token.revoked && token.expires_at > now);
        token.cloned().ok_or_else(Refused::ended)
    }

    fn must_be_client(&self, form: &Params) -> Result<(), Refused> {
        if form.one("client_id") != Some(&self.client_id)
            || form.one("client_secret") != Some(&self.client_secret)
        {
            return Err(Refused::consent("Invalid client_id or client_secret"));
        }
        if form.one("grant_type") != Some("authorization_code") {
            return Err(Refused::consent("Invalid grant_type"));
        }
        Ok(())
    }

    fn issue(&mut self, account: u16, now: DateTime<Utc>, lifetime: TimeDelta) -> String {
        let token = self.name();
        let new = Token { account, issued_at: now, expires_at: now + lifetime, revoked: false };
        self.by_token.insert(token.clone(), new);
        token
    }

    fn name(&mut self) -> String {
        self.issued += 1;
        name(self.seed, self.issued)
    }
}

fn name(seed: u64, number: u64) -> String {
    format!("IGQWR{}", made_up(seed, &format!("instagram {number}"), 16))
}

fn granted(token: &str) -> Value {
    json!({
        "access_token": token, "token_type": "bearer", "expires_in": LONG.num_seconds(),
        "permissions": SCOPES.join(","),
    })
}

fn user_id(account: u16) -> String {
    format!("178414{:011}", u64::from(account) + 1)
}

fn username(account: u16) -> String {
    format!("creator.{}", account + 1)
}
