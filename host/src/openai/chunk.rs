//! What a model server sends: one piece of a streamed answer, or a whole answer. Only the fields
//! that are used, borrowed from the bytes where they can be.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A `chat.completion.chunk`, a `chat.completion`, or an error.
#[derive(Debug, Deserialize)]
pub(crate) struct Chunk<'a> {
    /// Pieces of the answers; none in the chunk that carries the usage.
    #[serde(borrow, default)]
    pub(crate) choices: Vec<Choice<'a>>,
    #[serde(default)]
    pub(crate) usage: Option<WireUsage>,
    /// Present in an error that came with status 200.
    #[serde(default)]
    error: Option<IgnoredAny>,
    /// `error` in an error of an older vLLM.
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
}

/// Why bytes are no piece of an answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// They say that the generation failed.
    IsError,
    /// They are no JSON of this form; where that shows.
    Invalid { line: usize, column: usize },
}

impl<'a> Chunk<'a> {
    /// Reads one piece. The parser's own words are left out: they may quote the answer.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Fault> {
        let chunk: Self = serde_json::from_slice(data).map_err(|error| Fault::Invalid {
            line: error.line(),
            column: error.column(),
        })?;
        let object = chunk.object.as_ref().map_or("", |object| &*object.0);
        if chunk.error.is_some() || object == "error" {
            return Err(Fault::IsError);
        }
        Ok(chunk)
    }
}

/// A piece of the answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice<'a> {
    /// Which of the answers, from 0.
    #[serde(default)]
    pub(crate) index: usize,
    /// The new text; in an answer that is not streamed, all of it.
    #[serde(borrow, default, alias = "message")]
    pub(crate) delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    pub(crate) finish_reason: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) logprobs: Option<Logprobs>,
    /// How many tokens it took, in the whole answers that executors on clusters put together.
    #[serde(default, deserialize_with = "number")]
    pub(crate) tokens: Option<u32>,
}

/// A number, or nothing: other servers may give the field another meaning.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_u64().and_then(|number| u32::try_from(number).ok()))
}

/// New text.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    /// As vLLM and Ollama call it since 2025.
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    /// As DeepSeek, llama-server and older vLLM call it.
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
}

impl Delta<'_> {
    /// Text of the answer, perhaps empty.
    pub(crate) fn text(&self) -> &str {
        self.content.as_ref().map_or("", |text| &text.0)
    }

    /// Text of the reasoning, perhaps empty; servers that send both fields repeat themselves.
    pub(crate) fn reasoning(&self) -> &str {
        let fields = [&self.reasoning, &self.reasoning_content];
        let mut texts = fields.into_iter().flatten().map(|text| &*text.0);
        texts.find(|text| !text.is_empty()).unwrap_or("")
    }
}

/// A text that is borrowed unless it holds escapes; serde would copy an `Option<Cow<str>>`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Log-probabilities of the tokens of a piece.
#[derive(Debug, Deserialize)]
pub(crate) struct Logprobs {
    #[serde(default)]
    pub(crate) content: Option<Vec<TokenLogprob>>,
}

/// The log-probability of one token.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenLogprob {
    /// Null where a server had to write an infinity.
    #[serde(default)]
    logprob: Option<f64>,
}

impl TokenLogprob {
    /// What stands for the logarithm of 0, as in OpenAI's interface.
    const LOWEST: f32 = -9999.0;

    /// The value, finite.
    pub(crate) fn finite(&self) -> f32 {
        let value = self.logprob.map_or(Self::LOWEST, |value| value as f32);
        if value.is_finite() {
            value
        } else {
            Self::LOWEST
        }
    }
}

/// What the generation cost.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct WireUsage {
    #[serde(default)]
    pub(crate) prompt_tokens: u32,
    #[serde(default)]
    pub(crate) completion_tokens: u32,
    #[serde(default)]
    pub(crate) prompt_tokens_details: Option<PromptTokensDetails>,
}

/// Where the prompt's tokens came from.
#[derive(Debug, Deserialize)]
pub(crate) struct PromptTokensDetails {
    #[serde(default)]
    pub(crate) cached_tokens: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_borrowed_unless_it_is_escaped() {
        let json = r#"{"choices":[{"delta":{"content":"plain"}},{"delta":{"content":"a\nb"}}]}"#;
        let chunk: Chunk<'_> = serde_json::from_str(json).unwrap();
        let borrowed: Vec<_> = chunk
            .choices
            .iter()
            .map(|choice| {
                matches!(
                    choice.delta.as_ref().unwrap().content,
                    Some(Text(Cow::Borrowed(_)))
                )
            })
            .collect();
        assert_eq!(borrowed, [true, false]);
    }

    #[test]
    fn tokens_are_counted_where_they_are_a_number() {
        let tokens = |json: &str| {
            let choice: Choice<'_> = serde_json::from_str(json).unwrap();
            choice.tokens
        };
        assert_eq!(tokens(r#"{"tokens":7}"#), Some(7));
        for other in [r#"{"tokens":[1,{"a":2}]}"#, r#"{"tokens":null}"#, "{}"] {
            assert_eq!(tokens(other), None, "{other}");
        }
    }

    #[test]
    fn log_probabilities_are_finite() {
        let json = r#"[{"logprob":-0.5},{"logprob":null},{"logprob":-1e300},{}]"#;
        let logprobs: Vec<TokenLogprob> = serde_json::from_str(json).unwrap();
        let finite: Vec<_> = logprobs.iter().map(TokenLogprob::finite).collect();
        assert_eq!(finite, [-0.5, -9999.0, -9999.0, -9999.0]);
    }
}
