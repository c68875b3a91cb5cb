//! One call to a language model: what is asked, what comes back, and why it may not.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::Placement;
use crate::ids::AgentId;

/// Who speaks in a chat message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRole {
    /// Instructions to the model.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl MessageRole {
    /// The role's name in a chat request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a chat prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said.
    pub content: String,
}

/// How tokens are drawn; `None` leaves a setting to the model server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 (greedy) to 2.
    pub temperature: Option<f32>,
    /// Nucleus sampling, above 0 and at most 1.
    pub top_p: Option<f32>,
    /// Completion tokens at most.
    pub tokens_max: Option<u32>,
    /// Texts that end the generation and are not part of it.
    pub stop: Vec<String>,
    /// Seed of the draw.
    pub seed: Option<u32>,
    /// Ask for log-probabilities, with this many alternatives (0 to 20).
    pub logprobs: Option<u8>,
    /// A JSON Schema, as JSON text, that the answer shall satisfy.
    pub json_schema: Option<String>,
}

/// What a plugin asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// The agent whose model answers; empty for the deliberation's model.
    pub agent: AgentId,
    /// What the generation is for, in a word.
    pub phase: String,
    /// The strategy's round, from 0.
    pub round: u32,
    /// The prompt.
    pub messages: Vec<Message>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// 0 (first) to 255 (last) among the deliberation's own.
    pub priority: Option<u8>,
    /// Milliseconds that the generation may take.
    pub deadline_ms: Option<u32>,
}

/// Bytes of text in one request. A megabyte is already past every model's context.
const REQUEST_BYTES_MAX: usize = 4 << 20;

impl GenerationRequest {
    fn text_bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| message.content.len());
        let stop = self.sampling.stop.iter().map(String::len);
        let schema = self.sampling.json_schema.as_ref().map_or(0, String::len);
        messages.chain(stop).sum::<usize>() + schema
    }

    /// The first rule that the request breaks, as a sentence that names field, value and rule.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        let sampling = &self.sampling;
        if self.messages.is_empty() {
            return Some("messages must hold at least one message".to_owned());
        }
        let bytes = self.text_bytes();
        if bytes > REQUEST_BYTES_MAX {
            return Some(format!(
                "messages, stop texts and schema have {bytes} bytes, at most {REQUEST_BYTES_MAX} are allowed"
            ));
        }
        if self.phase.chars().count() > 64 {
            let count = self.phase.chars().count();
            return Some(format!(
                "phase has {count} characters, at most 64 are allowed"
            ));
        }
        if let Some(value) = sampling.temperature
            && !(0.0..=2.0).contains(&value)
        {
            return Some(format!(
                "sampling.temperature is {value}, it must be 0 to 2"
            ));
        }
        if let Some(value) = sampling.top_p
            && !(value > 0.0 && value <= 1.0)
        {
            return Some(format!(
                "sampling.top-p is {value}, it must be above 0 and at most 1"
            ));
        }
        if sampling.tokens_max == Some(0) {
            return Some("sampling.max-tokens is 0, it must be at least 1".to_owned());
        }
        if sampling.stop.len() > 16 {
            let count = sampling.stop.len();
            return Some(format!(
                "sampling.stop has {count} texts, at most 16 are allowed"
            ));
        }
        if let Some(value) = sampling.logprobs
            && value > 20
        {
            return Some(format!("sampling.logprobs is {value}, it must be 0 to 20"));
        }
        if let Some(schema) = &sampling.json_schema
            && let Err(error) = serde_json::from_str::<serde_json::Value>(schema)
        {
            return Some(format!("sampling.json-schema is not JSON: {error}"));
        }
        None
    }
}

/// Tokens that a generation took, as the model server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that the server had cached.
    pub cached_tokens: u32,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u32,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop text did.
    Stop,
    /// The token limit was reached: the text is cut off.
    Length,
    /// The server ended it for a reason of its own.
    Aborted,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The answer, without reasoning.
    pub text: String,
    /// What a reasoning model thought first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it cost.
    pub usage: Usage,
    /// Natural logarithm of each answer token's probability; finite; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<f32>,
    /// From sending to the last token.
    pub latency_ms: u32,
    /// Where it ran, where the host knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Arc<Placement>>,
}

/// Why a plugin did not get what it asked for. Retries are over when it sees one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The plugin cancelled the job.
    #[error("cancelled")]
    Cancelled,
    /// The generation's own deadline passed.
    #[error("the generation's deadline passed")]
    DeadlineExceeded,
    /// A limit of the deliberation is used up.
    #[error("{0}")]
    BudgetExhausted(String),
    /// The request can never succeed.
    #[error("{0}")]
    Rejected(String),
    /// No model server could answer.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    /// The variant's name, for metrics and events.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::Rejected(_) => "rejected",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
