//! X's OAuth 2.0: refresh tokens that serve once.
//!
//! One that is brought a second time was stolen from somebody, or lost by us: nobody can tell which, and so the whole
//! family that came of one consent ends.

use std::collections::HashMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::consent::{Codes, Terms};
use crate::google::{oauth::made_up, youtube::Params};
use crate::settings::Settings;

const SCOPES: [&str; 4] = ["tweet.read", "users.read", "offline.access", "tweet.write"];
const LIFETIME: TimeDelta = TimeDelta::seconds(7_200);

/// What a client needs to act for the sandbox's accounts on X.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twitter {
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
}

#[derive(Debug)]
struct Family {
    account: u16,
    scopes: Vec<&'static str>,
    ended: bool,
}

/// An error as X tells it.
#[derive(Debug)]
pub(crate) struct Refused(u16, String, String);

impl Refused {
    fn new(status: u16, error: &str, description: &str) -> Self {
        Self(status, error.to_owned(), description.to_owned())
    }

    /// An error that a test scripted by status and name only.
    pub(crate) fn scripted(status: u16, error: &str) -> Self {
        Self::new(status, error, "The request cannot be completed.")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(json!({"error": self.1, "error_description": self.2}))).into_response()
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
    families: Vec<Family>,
    /// The family of a refresh token, and whether it still serves.
    refresh: HashMap<String, (usize, bool)>,
    access: HashMap<String, (usize, DateTime<Utc>)>,
    issued: u64,
    /// Refresh tokens that were brought a second time.
    pub(crate) reused: u64,
}

impl Tokens {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seed = settings.seed;
        Self {
            seed,
            accounts: settings.channels,
            client_id: made_up(seed, "x client", 3),
            client_secret: made_up(seed, "x secret", 6),
            codes: Codes::default(),
            families: Vec::new(),
            refresh: HashMap::new(),
            access: HashMap::new(),
            issued: 0,
            reused: 0,
        }
    }

    /// Returns what a client needs.
    pub(crate) fn ready(&self) -> Twitter {
        Twitter { client_id: self.client_id.clone(), client_secret: self.client_secret.clone() }
    }

    /// Returns what the consent is about.
    pub(crate) fn terms(&self) -> Terms<'static> {
        Terms {
            vendor: "X",
            client_id: self.client_id.clone(),
            scopes: &SCOPES,
            separator: ' ',
            accounts: (0..self.accounts).map(|account| format!("@creator{}", account + 1)).collect(),
            suffix: "",
            wants_challenge: true,
        }
    }

    /// Tells whether `Authorization: Basic` names the program.
    pub(crate) fn knows(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let expected = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        match authorization.and_then(|value| value.strip_prefix("Basic ")) {
            Some(given) if given == expected => Ok(()),
            _ => Err(Refused::new(401, "unauthorized_client", "Missing valid authorization header")),
        }
    }

    /// Answers `POST /2/oauth2/token`.
    pub(crate) fn token(&mut self, form: &Params, now: DateTime<Utc>) -> Result<Value, Refused> {
        let invalid = |what| Refused::new(400, "invalid_request", what);
        let family = match form.one("grant_type") {
            Some("authorization_code") => {
                let allowed = self.codes.redeem(form, now).map_err(invalid)?;
                self.families.push(Family { account: allowed.account, scopes: allowed.scopes, ended: false });
                self.families.len() - 1
            }
            Some("refresh_token") => {
                let token = form.one("refresh_token").unwrap_or_default();
                let unknown = || invalid("Value passed for the token was invalid.");
                let (family, serves) = self.refresh.get_mut(token).ok_or_else(unknown)?;
                let family = *family;
                if !std::mem::replace(serves, false) {
                    self.reused += 1;
                    self.families[family].ended = true;
                }
                if self.families[family].ended {
                    return Err(unknown());
                }
                family
            }
            _ => {
                return Err(Refused::new(
                    400,
                    "unsupported_grant_type",
                    "Value passed for the grant_type is invalid.",
                ));
            }
        };
        self.issued += 1;
        let scopes = self.families[family].scopes.join(" ");
        let access = self.make("at", now);
        self.access.insert(access.clone(), (family, now + LIFETIME));
        let mut answer = json!({
            "token_type": "bearer", "expires_in": LIFETIME.num_seconds(), "access_token": access, "scope": scopes,
        });
        if self.families[family].scopes.contains(&"offline.access") {
            let refresh = self.make("rt", now);
            self.refresh.insert(refresh.clone(), (family, true));
            answer["refresh_token"] = json!(refresh);
        }
        Ok(answer)
    }

    /// Makes a token as X makes them: letters, the time and the sort, all in base64.
    fn make(&self, sort: &str, now: DateTime<Utc>) -> String {
        let letters = made_up(self.seed, &format!("x {sort} {}", self.issued), 5);
        let sign = if sort == "at" { "1:at:1" } else { "0:rt:1" };
        URL_SAFE_NO_PAD.encode(format!("{}:{}:1:{sign}", &letters[..45], now.timestamp_millis()))
    }

    /// Answers `POST /2/oauth2/revoke`: either token ends the family.
    pub(crate) fn revoke(&mut self, form: &Params) -> Value {
        let token = form.one("token").unwrap_or_default();
        let family = self.refresh.get(token).map(|(family, _)| *family);
        if let Some(family) = family.or_else(|| self.access.get(token).map(|(family, _)| *family)) {
            self.families[family].ended = true;
        }
        json!({"revoked": true})
    }

    /// Answers `GET /2/users/me`.
    pub(crate) fn me(&self, token: Option<&str>, now: DateTime<Utc>) -> Option<Value> {
        let (family, expires_at) = self.access.get(token?)?;
        let family = &self.families[*family];
        (!family.ended && *expires_at > now).then(|| {
            let number = family.account + 1;
            json!({"data": {
                "id": format!("22445{number:05}"), "name": format!("Creator {number}"),
                "username": format!("creator{number}"),
            }})
        })
    }
}
