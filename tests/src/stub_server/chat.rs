//! A chat completion request, as far as the stub looks at it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<ChatMessage>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    pub(super) stream_options: StreamOptions,
    pub(super) n: Option<u32>,
    pub(super) seed: Option<u64>,
    pub(super) max_tokens: Option<u32>,
    pub(super) temperature: Option<f64>,
    pub(super) response_format: Option<Value>,
    #[serde(default)]
    pub(super) logprobs: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatMessage {
    pub(super) role: String,
    pub(super) content: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
    #[serde(default)]
    pub(super) continuous_usage_stats: bool,
}

impl ChatRequest {
    const CHOICES_MAX: u32 = 128;

    /// The sha256 of roles and contents, each followed by a zero byte.
    pub(super) fn prompt_sha256(&self) -> String {
        let mut digest = Sha256::new();
        for message in &self.messages {
            for text in [&message.role, &message.content] {
                digest.update(text);
                digest.update([0]);
            }
        }
        let mut text = String::with_capacity(64);
        for byte in digest.finalize() {
            let written = write!(text, "{byte:02x}");
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }

    /// How many answers are asked for.
    pub(super) fn choices(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// Why it is refused, in vLLM's words.
    pub(super) fn fault(&self) -> Option<String> {
        match self.choices() {
            0 => Some("n must be at least 1, got 0.".to_owned()),
            1 => None,
            n if self.temperature == Some(0.0) => {
                Some(format!("n must be 1 when using greedy sampling, got {n}."))
            }
            n if n > Self::CHOICES_MAX => {
                let max = Self::CHOICES_MAX;
                Some(format!("n must be at most {max}, got {n}."))
            }
            _ => None,
        }
    }

    /// A token for every word.
    pub(super) fn prompt_tokens(&self) -> u32 {
        let contents = self.messages.iter().map(|message| &message.content);
        let words: usize = contents.map(|text| text.split_whitespace().count()).sum();
        u32::try_from(words).unwrap_or(u32::MAX)
    }

    /// The JSON Schema that is asked for.
    pub(super) fn json_schema(&self) -> Option<&Value> {
        let format = self.response_format.as_ref()?;
        format.pointer("/json_schema/schema")
    }

    /// What the user said last.
    pub(super) fn last_user_message(&self) -> &str {
        let mut users = self
            .messages
            .iter()
            .filter(|message| message.role == "user");
        users.next_back().map_or("", |message| &message.content)
    }
}
