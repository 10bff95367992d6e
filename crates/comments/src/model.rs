//! Comments read by a language model: what it is asked, and what of its answer is believed.
//!
//! Texts are written by strangers, some of them for models. So each call has ids of its own, which nobody can name from
//! within a text; texts stand in a JSON array, whose quotes no text can close; the model has no tools; and what it answers
//! are words of closed lists, or words of the text. A known comment goes along: who misreads that is not believed at all.
//! How urgent a comment is, is computed here from the labels.

mod asking;
mod prompt;

use std::sync::Arc;

use greenroom_credits::ModelPrices;
use greenroom_llm::{Model, Schema};

pub(crate) use asking::For;

use crate::store::ranked::By;

/// Comments of one call.
pub(crate) const BATCH: i64 = 25;

/// A language model, with what it costs.
#[derive(Clone, Debug)]
pub(crate) struct ModelReader {
    model: Model,
    prices: ModelPrices,
    schema: Arc<Schema>,
    pub(crate) by: By,
}

impl ModelReader {
    pub(crate) fn new(model: Model, prices: ModelPrices) -> Self {
        let provider = format!("{}/{}", model.provider().as_str(), model.name());
        let by = By { provider: provider.into(), version: prompt::VERSION };
        Self { model, prices, schema: Arc::new(prompt::schema()), by }
    }
}
