//! A language model that reads lists of comments, as one would, and misbehaves when it is told to.
//!
//! It knows one task: items `{"i": id, "t": text}` in, labels of each out. What it reads in a text is what the reader of
//! comments reads, so that its answers make sense; what it counts is a token for four letters.

use greenroom_language::Reader;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::faults::Misbehaviour;
use crate::settings::Settings;

/// What a client needs to ask the language model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Llm {
    /// The key that both protocols want.
    pub api_key: String,
    /// A model that there is; any other name is answered as well.
    pub model: String,
}

impl Llm {
    pub(crate) fn new(settings: &Settings) -> Self {
        let hash = Sha256::digest(format!("llm {}", settings.seed));
        Self { api_key: format!("sk-sandbox-{}", hex::encode(&hash[..16])), model: "gpt-4o-mini".to_owned() }
    }
}

#[derive(Deserialize)]
struct Item {
    i: String,
    t: String,
}

/// What a model says, in no vendor's words yet.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) refused: bool,
    pub(crate) truncated: bool,
    pub(crate) input_tokens: usize,
    pub(crate) output_tokens: usize,
}

/// Answers a list of items.
pub(crate) fn answer(system: &str, user: &str, misbehaves: &[&Misbehaviour]) -> Said {
    let items: Vec<Item> = serde_json::from_str(user).unwrap_or_default();
    let input_tokens = (system.len() + user.len()).div_ceil(4);
    let is = |what: &Misbehaviour| misbehaves.contains(&what);
    let refused = misbehaves.iter().any(|one| match one {
        Misbehaviour::Refuse => true,
        Misbehaviour::RefuseIf { says } => items.iter().any(|item| item.t.contains(says.as_str())),
        _ => false,
    });
    if refused {
        return Said { text: String::new(), refused, truncated: false, input_tokens, output_tokens: 1 };
    }
    let mut reader = Reader::embedded().ok();
    let mut rows: Vec<Value> =
        items.iter().map(|item| labels(reader.as_mut(), item, is(&Misbehaviour::Obey))).collect();
    for one in misbehaves {
        match one {
            Misbehaviour::Drop { every } => {
                let mut place = 0;
                rows.retain(|_| {
                    place += 1;
                    place % (*every).max(1) != 0
                });
            }
            Misbehaviour::Repeat => {
                let other = rows.iter().cloned().map(|mut row| {
                    row["s"] = "negative".into();
                    row["c"] = json!(["spam"]);
                    row
                });
                rows = rows.iter().cloned().chain(other).collect();
            }
            Misbehaviour::Invent => {
                rows.insert(0, json!({"i": "nobody", "s": "negative", "c": ["spam"], "l": "en", "k": []}));
            }
            Misbehaviour::BreakSchema => {
                for row in rows.iter_mut().step_by(2) {
                    row["s"] = "ecstatic".into();
                }
            }
            _ => {}
        }
    }
    let mut text = json!({"r": rows}).to_string();
    let truncated = is(&Misbehaviour::Truncate);
    if truncated {
        let mut half = text.len() / 2;
        while !text.is_char_boundary(half) {
            half += 1;
        }
        text.truncate(half);
    }
    if is(&Misbehaviour::Babble) {
        "Sure! Here is what I think about these comments.".clone_into(&mut text);
    }
    let output_tokens = text.len().div_ceil(4);
    Said { text, refused: false, truncated, input_tokens, output_tokens }
}

fn labels(reader: Option<&mut Reader>, item: &Item, obeys: bool) -> Value {
    if obeys && item.t.to_lowercase().contains("ignore") {
        return json!({"i": item.i, "s": "positive", "c": ["collab"], "l": "en", "k": ["pwned"]});
    }
    let Some(reader) = reader else {
        return json!({"i": item.i, "s": "neutral", "c": [], "l": "und", "k": []});
    };
    let reading = reader.read(&item.t);
    json!({
        "i": item.i,
        "s": reading.sentiment,
        "c": reading.categories(),
        "l": reading.language,
        "k": reading.keywords,
    })
}
