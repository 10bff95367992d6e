//! OpenAI's chat completions, and whatever speaks like them.

use greenroom_http::{Body, Class, Endpoint, Failure, Refused, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{Ask, OBJECT, Reply, SCHEMA, Unusable, Usage, document_in, read};
use crate::settings::Settings;

pub(crate) const PATH: &str = "chat/completions";
pub(crate) const ENDPOINT: Endpoint = Endpoint { platform: "openai", name: "chat.completions" };
/// What a refusal is called that is about the way of asking for a structure.
pub(crate) const NO_FORMAT: &str = "response_format";

/// No temperature: models that think refuse it.
pub(crate) fn document(settings: &Settings, rung: u8, ask: &Ask<'_>) -> Value {
    let system = if rung == SCHEMA {
        ask.system.to_owned()
    } else {
        format!(
            "{}\n\nAnswer with one JSON document of this schema and nothing else:\n{}",
            ask.system, ask.schema.schema
        )
    };
    let mut document = json!({
        "model": settings.model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": ask.user}],
    });
    document[settings.max_tokens_field.as_str()] = ask.max_output_tokens.into();
    match rung {
        SCHEMA => {
            document["response_format"] = json!({
                "type": "json_schema",
                "json_schema": {"name": ask.schema.name, "strict": true, "schema": ask.schema.schema},
            });
        }
        OBJECT => document["response_format"] = json!({"type": "json_object"}),
        _ => {}
    }
    document
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: String,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<String>,
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counted {
    prompt_tokens: u32,
    completion_tokens: u32,
    prompt_tokens_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u32>,
    cache_write_tokens: Option<u32>,
}

pub(crate) fn reply(body: &Body, _rung: u8) -> Result<Reply, Failure> {
    let completion: Completion = read(body)?;
    let details = completion.usage.prompt_tokens_details.unwrap_or_default();
    let (cached, cache_write) =
        (details.cached_tokens.unwrap_or_default(), details.cache_write_tokens.unwrap_or_default());
    let usage = Usage {
        // What was in a cache is counted among what was read.
        input: completion.usage.prompt_tokens.saturating_sub(cached).saturating_sub(cache_write),
        cached,
        cache_write,
        output: completion.usage.completion_tokens,
    };
    let outcome = match completion.choices.into_iter().next() {
        None => Err(Unusable::Malformed),
        Some(Choice { finish_reason, message }) => {
            let refused = message.refusal.is_some_and(|refusal| !refusal.is_empty());
            match finish_reason.as_deref() {
                _ if refused => Err(Unusable::Refused),
                Some("content_filter") => Err(Unusable::Refused),
                // Even what looks whole is not, once it was cut.
                Some("length") => Err(Unusable::Truncated),
                _ => document_in(message.content.as_deref().unwrap_or_default()),
            }
        }
    };
    Ok(Reply { outcome, usage, model: completion.model })
}

#[derive(Deserialize)]
struct Envelope {
    error: ApiError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiError {
    message: Option<String>,
    r#type: Option<String>,
    // Some servers write a number here.
    code: Option<Value>,
}

/// Reads an error: out of credit stays so, too fast passes.
pub(crate) fn classify(refused: &Refused<'_>) -> Verdict {
    let error = serde_json::from_slice::<Envelope>(refused.body).map(|envelope| envelope.error);
    let error = error.unwrap_or_default();
    let code = error.code.as_ref().and_then(Value::as_str).map(str::to_owned).or(error.r#type);
    let message = error.message.filter(|message| !message.is_empty());
    let spent = ["insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"];
    let says = |what: &str| message.as_deref().is_some_and(|message| message.contains(what));
    let class = match refused.status {
        429 if code.as_deref().is_some_and(|code| spent.contains(&code)) => Class::Reject,
        408 | 409 | 425 | 429 | 500..=599 => Class::Retry,
        // The key is the operators': no owner can give another one.
        _ => Class::Reject,
    };
    let no_format = refused.status == 400 && (says("response_format") || says("json_schema"));
    Verdict { class, code: if no_format { Some(NO_FORMAT.to_owned()) } else { code }, message }
}
