//! Language models that answer in a structure: OpenAI's chat completions, whatever speaks like them, and Anthropic's messages.
//!
//! A [`Model`] is asked with instructions, a text and a JSON schema, and gives a [`Reply`]: what it answered or why that is
//! of no use, and in both cases what it read and wrote, since both are paid for. A call without an answer is a [`Failure`],
//! classed once, here: what passes, what passes at a known time, and what stays so.
//!
//! Servers that do not know schemas are asked in simpler ways, and that is remembered. Limits that an answer announces are
//! kept to before the next call. The model has no tools, and what it is asked never stands in a log.
//!
//! Not here: what the answers mean, whom they are charged to, and conversations.

mod anthropic;
mod model;
mod openai;
mod pace;
mod settings;
#[cfg(test)]
mod tests;

pub use greenroom_http::Failure;
pub use model::{Ask, LlmError, Model, Reply, Schema, Unusable, Usage, may_have_cost};
pub use settings::{MaxTokensField, Provider, Settings};
