//! Resend's API as far as a client that sends needs it: messages are taken once a key, and kept with those of the mail server.

use std::collections::HashMap;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::vendor::Visit;
use crate::{endpoint::Endpoint, sandbox::Sandbox, settings::Settings, smtp::Received};

/// What a client needs to send by Resend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// The key.
    pub api_key: String,
}

impl Resend {
    pub(crate) fn new(settings: &Settings) -> Self {
        let hash = Sha256::digest(format!("resend {}", settings.seed));
        Self { api_key: format!("re_sandbox_{}", hex::encode(&hash[..16])) }
    }
}

/// What was taken under each key: the hash of its body, and the id that was answered.
pub(crate) type Keys = HashMap<String, (Vec<u8>, String)>;

pub(super) async fn domains(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    if let Some(refusal) = stranger(&sandbox, &headers) {
        return refusal;
    }
    let domain = json!({"id": "d91cd9bd-1176-453e-8fc1-35364d380206", "name": "greenroom.localhost", "status": "verified"});
    Json(json!({"object": "list", "data": [domain]})).into_response()
}

pub(super) async fn send(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Resend).await;
    let response = take(&sandbox, &visit, &headers, &body);
    visit.end(response)
}

fn take(sandbox: &Sandbox, visit: &Visit<'_>, headers: &HeaderMap, body: &[u8]) -> Response {
    if let Some(refusal) = stranger(sandbox, headers) {
        return refusal;
    }
    if let Some((status, name, _)) = visit.error() {
        return refuse(status, name, "The message was not taken.");
    }
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return refuse(422, "validation_error", "The body is not JSON.");
    };
    for field in ["from", "to", "subject"] {
        if asked.get(field).is_none() {
            return refuse(422, "missing_required_field", &format!("Missing `{field}` field."));
        }
    }
    let list = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        value => value.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(),
    };
    let address = |text: &str| {
        let inside = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches('>'));
        inside.to_owned()
    };
    let to = list(&asked["to"]);
    if to.is_empty() || to.iter().any(|to| !address(to).contains('@')) {
        return refuse(422, "validation_error", "Invalid `to` field.");
    }
    let hash = Sha256::digest(body).to_vec();
    let id = format!("{}-re", hex::encode(&hash[..8]));
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    if let Some(key) = key {
        let mut keys = sandbox.resend_keys();
        if let Some((known, id)) = keys.get(key) {
            return if *known == hash {
                Json(json!({"id": id})).into_response()
            } else {
                let message = "This idempotency key was used with another request body.";
                refuse(409, "invalid_idempotent_request", message)
            };
        }
        keys.insert(key.to_owned(), (hash, id.clone()));
    }
    let head = asked["headers"].as_object().into_iter().flatten();
    let head = head.map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap_or_default()));
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    sandbox.keep_mail(Received {
        from: address(&text("from")),
        to: to.iter().map(|to| address(to)).collect(),
        data: format!("Subject: {}\r\n{}\r\n{}", text("subject"), head.collect::<String>(), text("text")),
    });
    Json(json!({"id": id})).into_response()
}

fn stranger(sandbox: &Sandbox, headers: &HeaderMap) -> Option<Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        None => Some(refuse(401, "missing_api_key", "Missing API Key")),
        Some(key) if key != Resend::new(&sandbox.inner.settings).api_key => {
            Some(refuse(403, "invalid_api_key", "API key is invalid"))
        }
        Some(_) => None,
    }
}

fn refuse(status: u16, name: &str, message: &str) -> Response {
    let error = json!({"statusCode": status, "name": name, "message": message});
    (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), Json(error)).into_response()
}
