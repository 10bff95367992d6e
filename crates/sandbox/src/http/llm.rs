//! The language model in OpenAI's and in Anthropic's words.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::vendor::Visit;
use crate::{
    endpoint::Endpoint,
    faults::Misbehaviour,
    llm::{Llm, answer},
    sandbox::Sandbox,
};

pub(super) async fn completions(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::ChatCompletions).await;
    let response = complete(&sandbox, &visit, &headers, &body);
    visit.end(response)
}

fn complete(sandbox: &Sandbox, visit: &Visit<'_>, headers: &HeaderMap, body: &[u8]) -> Response {
    let refuse = |status: u16, kind: &str, code: Option<&str>, message: &str| {
        let error = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), Json(error)).into_response()
    };
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let llm = Llm::new(&sandbox.inner.settings);
    if key.and_then(|key| key.strip_prefix("Bearer ")) != Some(&llm.api_key) {
        return refuse(401, "invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided.");
    }
    if let Some((status, reason, wait)) = visit.error() {
        return waiting(refuse(status, reason, Some(reason), "The request was not answered."), wait);
    }
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return refuse(
            400,
            "invalid_request_error",
            None,
            "We could not parse the JSON body of your request.",
        );
    };
    if asked["model"].as_str().is_none_or(str::is_empty) {
        return refuse(400, "invalid_request_error", None, "you must provide a model parameter");
    }
    if asked.get("temperature").is_some() {
        return refuse(
            400,
            "invalid_request_error",
            Some("unsupported_value"),
            "temperature is not supported.",
        );
    }
    let misbehaves = visit.misbehaves();
    if misbehaves.contains(&&Misbehaviour::NoSchema) && asked["response_format"]["type"] == "json_schema" {
        let message = "Invalid value for 'response_format': json_schema is not known here.";
        return refuse(400, "invalid_request_error", None, message);
    }
    let said = |role: &str| {
        let messages = asked["messages"].as_array().into_iter().flatten();
        let of_role = messages.filter(|message| message["role"] == role);
        of_role.filter_map(|message| message["content"].as_str()).collect::<String>()
    };
    let answer = answer(&said("system"), &said("user"), &misbehaves);
    let finish = if answer.truncated { "length" } else { "stop" };
    let message = if answer.refused {
        json!({"role": "assistant", "content": null, "refusal": "I cannot help with that."})
    } else {
        json!({"role": "assistant", "content": answer.text, "refusal": null})
    };
    let (read, written) = (answer.input_tokens, answer.output_tokens);
    let document = json!({
        "id": "chatcmpl-sandbox",
        "object": "chat.completion",
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
        "usage": {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    });
    let mut response = Json(document).into_response();
    if let Some(secs) = pace(&misbehaves) {
        set(&mut response, "x-ratelimit-remaining-requests", "0");
        set(&mut response, "x-ratelimit-reset-requests", &format!("{secs}s"));
    }
    response
}

pub(super) async fn messages(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Messages).await;
    let response = message(&sandbox, &visit, &headers, &body);
    visit.end(response)
}

fn message(sandbox: &Sandbox, visit: &Visit<'_>, headers: &HeaderMap, body: &[u8]) -> Response {
    let refuse = |status: u16, kind: &str, message: &str| {
        let mut error = json!({"type": kind, "message": message});
        if kind == "enforced_spend_limit_reached" {
            error = json!({"type": "rate_limit_error", "message": message, "details": {"error_code": kind}});
        }
        let error = json!({"type": "error", "error": error, "request_id": "req_sandbox"});
        (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), Json(error)).into_response()
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let llm = Llm::new(&sandbox.inner.settings);
    if text("x-api-key") != Some(&llm.api_key) {
        return refuse(401, "authentication_error", "invalid x-api-key");
    }
    if text("anthropic-version").is_none() {
        return refuse(400, "invalid_request_error", "anthropic-version: header is required");
    }
    if let Some((status, reason, wait)) = visit.error() {
        return waiting(refuse(status, reason, "The request was not answered."), wait);
    }
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return refuse(400, "invalid_request_error", "The body is not JSON.");
    };
    if asked["model"].as_str().is_none_or(str::is_empty) {
        return refuse(400, "invalid_request_error", "model: Field required");
    }
    if asked["max_tokens"].as_u64().is_none() {
        return refuse(400, "invalid_request_error", "max_tokens: Field required");
    }
    let misbehaves = visit.misbehaves();
    let user: String = asked["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_str())
        .collect();
    let answer = answer(asked["system"].as_str().unwrap_or_default(), &user, &misbehaves);
    let stop = match (answer.refused, answer.truncated) {
        (true, _) => "refusal",
        (_, true) => "max_tokens",
        _ => "end_turn",
    };
    let document = json!({
        "id": "msg_sandbox",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": stop,
        "usage": {
            "input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    });
    let mut response = Json(document).into_response();
    if let Some(secs) = pace(&misbehaves) {
        let reset = sandbox.inner.settings.clock.now() + TimeDelta::seconds(i64::try_from(secs).unwrap_or(0));
        set(&mut response, "anthropic-ratelimit-requests-remaining", "0");
        set(&mut response, "anthropic-ratelimit-requests-reset", &reset.to_rfc3339());
    }
    response
}

fn pace(misbehaves: &[&Misbehaviour]) -> Option<u64> {
    misbehaves.iter().find_map(|one| match one {
        Misbehaviour::Pace { secs } => Some(*secs),
        _ => None,
    })
}

fn waiting(mut response: Response, wait: Option<u64>) -> Response {
    if let Some(secs) = wait {
        set(&mut response, "retry-after", &secs.to_string());
    }
    response
}

fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
