//! `/_sandbox`: faults, changes, counts. Not part of any vendor's API.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    faults::Rule,
    sandbox::Sandbox,
    smtp::Received,
    stats::Stats,
    world::{Change, Totals},
};

/// One or many, so that a script may be sent at once.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Rules {
    Many(Vec<Rule>),
    One(Rule),
}

pub(super) async fn inject(State(sandbox): State<Sandbox>, Json(rules): Json<Rules>) -> StatusCode {
    match rules {
        Rules::One(rule) => sandbox.inject(rule),
        Rules::Many(rules) => rules.into_iter().for_each(|rule| sandbox.inject(rule)),
    }
    StatusCode::NO_CONTENT
}

pub(super) async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.clear_faults();
    StatusCode::NO_CONTENT
}

pub(super) async fn change(State(sandbox): State<Sandbox>, Json(change): Json<Change>) -> Response {
    match sandbox.change(&change) {
        Ok(changed) => Json(changed).into_response(),
        Err(unknown) => (StatusCode::NOT_FOUND, Json(json!({"error": unknown.to_string()}))).into_response(),
    }
}

pub(super) async fn stats(State(sandbox): State<Sandbox>) -> Json<Stats> {
    Json(sandbox.stats())
}

pub(super) async fn mails(State(sandbox): State<Sandbox>) -> Json<Vec<Received>> {
    Json(sandbox.mails())
}

pub(super) async fn totals(State(sandbox): State<Sandbox>) -> Json<Vec<Totals>> {
    Json(sandbox.totals())
}
