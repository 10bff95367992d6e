//! `[llm]`.

use std::num::NonZeroU64;

use serde::Deserialize;

/// Which model, and where it answers. Its key is `LLM_API_KEY`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whose protocol the server speaks.
    pub provider: Provider,
    /// Where it answers; empty is the provider's own address.
    pub base_url: String,
    /// The model's name, as the server knows it.
    pub model: String,
    /// Under which name the server is told how much may be written (OpenAI's protocol).
    pub max_tokens_field: MaxTokensField,
    /// How long a call may take, in seconds.
    pub timeout_secs: NonZeroU64,
    /// The longest pause between two calls that a job waits for, in seconds; for a longer one it comes back.
    pub max_pause_secs: u64,
}

/// Whose protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// No model is called.
    Off,
    /// OpenAI's chat completions.
    Openai,
    /// Anthropic's messages.
    Anthropic,
}

impl Provider {
    /// Returns the name, under which prices are listed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// How a server of OpenAI's protocol is told how much may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// As OpenAI wants it.
    MaxCompletionTokens,
    /// As it was before, and as many others still do.
    MaxTokens,
}

impl MaxTokensField {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxTokens => "max_tokens",
        }
    }
}
