//! Anthropic's messages.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use greenroom_http::{Body, Class, Endpoint, Failure, Refused, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{Ask, Reply, Unusable, Usage, document_in, read};
use crate::settings::Settings;

pub(crate) const PATH: &str = "messages";
pub(crate) const VERSION: &str = "2023-06-01";
pub(crate) const ENDPOINT: Endpoint = Endpoint { platform: "anthropic", name: "messages" };

/// No temperature: newer models refuse it. No text of anybody's in the schema: its grammar is kept on the server.
pub(crate) fn document(settings: &Settings, ask: &Ask<'_>) -> Value {
    json!({
        "model": settings.model,
        "max_tokens": ask.max_output_tokens,
        "system": ask.system,
        "messages": [{"role": "user", "content": ask.user}],
        "output_config": {"format": {"type": "json_schema", "schema": ask.schema.schema}},
    })
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    model: String,
    #[serde(default)]
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    r#type: String,
    text: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "Anthropic's names")]
struct Counted {
    input_tokens: u32,
    output_tokens: u32,
    cache_creation_input_tokens: Option<u32>,
    cache_read_input_tokens: Option<u32>,
}

pub(crate) fn reply(body: &Body) -> Result<Reply, Failure> {
    let message: Message = read(body)?;
    let usage = Usage {
        input: message.usage.input_tokens,
        cached: message.usage.cache_read_input_tokens.unwrap_or_default(),
        cache_write: message.usage.cache_creation_input_tokens.unwrap_or_default(),
        output: message.usage.output_tokens,
    };
    let outcome = match message.stop_reason.as_deref() {
        Some("refusal") => Err(Unusable::Refused),
        Some("max_tokens" | "model_context_window_exceeded") => Err(Unusable::Truncated),
        _ => {
            let blocks = message.content.iter().filter(|block| block.r#type == "text");
            let text: String = blocks.filter_map(|block| block.text.as_deref()).collect();
            document_in(&text)
        }
    };
    Ok(Reply { outcome, usage, model: message.model })
}

#[derive(Deserialize)]
struct Envelope {
    error: ApiError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiError {
    r#type: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    error_code: Option<String>,
}

const SPEND_LIMIT: &str = "enforced_spend_limit_reached";

/// Reads an error: a limit of money is over with the month, too fast and overloaded pass.
pub(crate) fn classify(refused: &Refused<'_>) -> Verdict {
    let error = serde_json::from_slice::<Envelope>(refused.body).map(|envelope| envelope.error);
    let error = error.unwrap_or_default();
    let code = error.details.and_then(|details| details.error_code).or(error.r#type);
    let class = match (refused.status, code.as_deref()) {
        (429, Some(SPEND_LIMIT)) => Class::RetryAt(next_month(refused.now)),
        (408 | 409 | 425 | 429 | 500..=599, _) => Class::Retry,
        _ => Class::Reject,
    };
    Verdict { class, code, message: error.message.filter(|message| !message.is_empty()) }
}

/// Returns the first instant of the next month.
fn next_month(now: DateTime<Utc>) -> DateTime<Utc> {
    let (year, month) = if now.month() == 12 { (now.year() + 1, 1) } else { (now.year(), now.month() + 1) };
    let first = NaiveDate::from_ymd_opt(year, month, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
    first.map_or(now, |instant| instant.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_with_its_last_day() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(next_month(at("2026-12-31T23:59:59Z")), at("2027-01-01T00:00:00Z"));
        assert_eq!(next_month(at("2026-02-01T00:00:00Z")), at("2026-03-01T00:00:00Z"));
    }
}
