//! Consent: the page on which a person lets a program act for an account, and the codes that come of it.
//!
//! The page is a plain form, so a browser can be driven through it and a script can post it: what the program
//! asked for goes back as hidden fields, beside `account` (a place in the list, the first unless said), `granted`
//! (once a scope, all unless said) and `decision` (`allow` or `deny`).

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::google::youtube::Params;

/// How long a code waits to be redeemed.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// What a vendor's consent is about.
pub(crate) struct Terms<'a> {
    /// The vendor, as people know it.
    pub(crate) vendor: &'a str,
    /// The program that may ask.
    pub(crate) client_id: String,
    /// What it may ask for.
    pub(crate) scopes: &'a [&'static str],
    /// What stands between scopes.
    pub(crate) separator: char,
    /// The accounts, as people know them.
    pub(crate) accounts: Vec<String>,
    /// What the vendor puts behind the address it sends the browser back to.
    pub(crate) suffix: &'a str,
    /// Whether the program must bring a challenge.
    pub(crate) wants_challenge: bool,
}

/// What a person allowed, until the code is redeemed.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub(crate) account: u16,
    pub(crate) scopes: Vec<&'static str>,
    /// Whether the program asked to act while the person is away.
    pub(crate) offline: bool,
    redirect_uri: String,
    challenge: Option<String>,
    expires_at: DateTime<Utc>,
}

/// The codes of a vendor that nobody has redeemed.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    issued: u64,
    open: HashMap<String, Allowed>,
}

impl Codes {
    /// Redeems a code: once, in time, for the address it was sent to, by who knows the verifier.
    pub(crate) fn redeem(&mut self, form: &Params, now: DateTime<Utc>) -> Result<Allowed, &'static str> {
        // Whoever brings a code has used it, whatever else is wrong.
        let allowed =
            form.one("code").and_then(|code| self.open.remove(code)).ok_or("Malformed auth code.")?;
        if allowed.expires_at <= now {
            return Err("The code has expired.");
        }
        if form.one("redirect_uri") != Some(&allowed.redirect_uri) {
            return Err("The redirect_uri is not the one of the consent.");
        }
        let brought =
            form.one("code_verifier").map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
        if allowed.challenge.is_some() && brought != allowed.challenge {
            return Err("Invalid code verifier.");
        }
        Ok(allowed)
    }
}

/// Shows the page.
pub(crate) fn page(terms: &Terms<'_>, asked: &Params) -> Response {
    let (_, scopes) = match check(terms, asked) {
        Ok(checked) => checked,
        Err(error) => return refused(terms.vendor, error),
    };
    let mut form = String::new();
    for (name, value) in asked.pairs() {
        let _ = write!(form, r#"<input type="hidden" name="{}" value="{}">"#, escaped(name), escaped(value));
    }
    form.push_str("<fieldset><legend>The account</legend>");
    for (place, account) in terms.accounts.iter().enumerate() {
        let checked = if place == 0 { " checked" } else { "" };
        let _ = write!(
            form,
            r#"<label><input type="radio" name="account" value="{place}"{checked}> {}</label>"#,
            escaped(account)
        );
    }
    form.push_str("</fieldset><fieldset><legend>What the program may do</legend>");
    for scope in scopes {
        let scope = escaped(scope);
        let _ = write!(
            form,
            r#"<label><input type="checkbox" name="granted" value="{scope}" checked> {scope}</label>"#
        );
    }
    let body = format!(
        r#"<p>A program wants to act for one of these accounts.</p><form method="post">{form}</fieldset>
<p><button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button></p></form>"#
    );
    document(terms.vendor, &body).into_response()
}

/// A page that says whose it would be.
fn document(vendor: &str, body: &str) -> Html<String> {
    let vendor = escaped(vendor);
    Html(format!(
        r#"<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{vendor} (sandbox)</title><style>:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui;max-width:34rem;margin:3rem auto;padding:0 1rem}}h1{{font-size:1.4rem}}
fieldset{{border:1px solid #8886;border-radius:.5rem;margin:0 0 1rem;padding:.5rem 1rem}}label{{display:block;padding:.25rem 0;overflow-wrap:anywhere}}
button{{font:inherit;padding:.4rem 1.2rem}}</style>
<h1>{vendor}, played by the sandbox</h1>{body}</html>"#
    ))
}

/// Sends the browser back with what the person decided.
pub(crate) fn decide(terms: &Terms<'_>, codes: &mut Codes, asked: &Params, now: DateTime<Utc>) -> Response {
    let (mut back, wanted) = match check(terms, asked) {
        Ok(checked) => checked,
        Err(error) => return refused(terms.vendor, error),
    };
    if asked.one("decision") == Some("deny") {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", "The user denied the request.");
    } else {
        let ticked: Vec<&str> =
            asked.pairs().filter(|(name, _)| *name == "granted").map(|(_, value)| value).collect();
        let scopes: Vec<&'static str> =
            wanted.into_iter().filter(|scope| ticked.is_empty() || ticked.contains(scope)).collect();
        let account = asked.one("account").and_then(|account| account.parse().ok()).unwrap_or(0);
        if usize::from(account) >= terms.accounts.len() {
            return refused(terms.vendor, "there is no such account");
        }
        codes.issued += 1;
        let digest = Sha256::digest(format!("{} {} {}", terms.client_id, codes.issued, now));
        let code = format!("4/0A{}", URL_SAFE_NO_PAD.encode(digest));
        back.query_pairs_mut().append_pair("code", &code).append_pair("scope", &scopes.join(" "));
        let allowed = Allowed {
            account,
            scopes,
            offline: asked.one("access_type") == Some("offline"),
            redirect_uri: asked.one("redirect_uri").unwrap_or_default().to_owned(),
            challenge: asked.one("code_challenge").map(str::to_owned),
            expires_at: now + LIFETIME,
        };
        codes.open.insert(code, allowed);
    }
    if let Some(state) = asked.one("state") {
        back.query_pairs_mut().append_pair("state", state);
    }
    let address = format!("{back}{}", terms.suffix);
    (StatusCode::FOUND, [(header::LOCATION, address)]).into_response()
}

/// Reads what the program asked for; where it is wrong the vendor shows a page and sends nobody anywhere.
fn check(terms: &Terms<'_>, asked: &Params) -> Result<(url::Url, Vec<&'static str>), &'static str> {
    if asked.one("client_id") != Some(&terms.client_id) {
        return Err("invalid_client: the program is not known");
    }
    if asked.one("response_type") != Some("code") {
        return Err("unsupported_response_type: only codes are given");
    }
    let has_challenge =
        asked.one("code_challenge").is_some() && asked.one("code_challenge_method") == Some("S256");
    if terms.wants_challenge && !has_challenge {
        return Err("invalid_request: code_challenge and code_challenge_method=S256 are wanted");
    }
    let back = asked.one("redirect_uri").and_then(|uri| url::Url::parse(uri).ok());
    let back = back.ok_or("redirect_uri_mismatch: it is missing, or no address")?;
    let wanted = asked.one("scope").ok_or("invalid_scope: nothing is asked for")?;
    let scopes = wanted.split(terms.separator).filter(|scope| !scope.is_empty());
    let scopes: Option<Vec<&'static str>> =
        scopes.map(|wanted| terms.scopes.iter().copied().find(|scope| *scope == wanted)).collect();
    Ok((back, scopes.ok_or("invalid_scope: not all of it is known")?))
}

fn refused(vendor: &str, error: &str) -> Response {
    let body =
        format!("<p>{}</p><p>Nobody is sent anywhere: the program has asked wrongly.</p>", escaped(error));
    (StatusCode::BAD_REQUEST, document(vendor, &body)).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
