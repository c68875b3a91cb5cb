//! Answers in the shape of the OpenAI API, whole and in chunks.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::engine::{Reason, TokenLogprob};
use crate::tokenizer::Tokenizer;

/// What all chunks of an answer have in common.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    id: String,
    object: &'static str,
    /// In seconds since 1970.
    created: u64,
    model: String,
}

impl Head {
    pub(super) fn new(model: &str, stream: bool) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id: format!("chatcmpl-{:x}-{number}", since_1970.as_micros()),
            object: if stream {
                "chat.completion.chunk"
            } else {
                "chat.completion"
            },
            created: since_1970.as_secs(),
            model: model.to_owned(),
        }
    }
}

/// Whole answers.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Usage,
}

#[derive(Debug, Serialize)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) message: Text,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: Reason,
}

/// A piece of a streamed answer.
#[derive(Debug, Serialize)]
pub(super) struct Chunk<'a> {
    #[serde(flatten)]
    pub(super) head: &'a Head,
    /// None in the chunk that carries the usage.
    pub(super) choices: Vec<Delta>,
    /// Absent if the request does not ask for it; null in the chunks of answers unless it asks for
    /// theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Delta {
    pub(super) index: usize,
    pub(super) delta: Text,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: Option<Reason>,
}

/// A message, or what a chunk adds to one.
#[derive(Debug, Default, Serialize)]
pub(super) struct Text {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    pub(super) fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
        })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Logprobs {
    content: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    chosen: Scored,
    top_logprobs: Vec<Scored>,
}

#[derive(Debug, Serialize)]
struct Scored {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprobs {
    pub(super) fn new(tokens: &[TokenLogprob], tokenizer: &Tokenizer) -> Self {
        let scored = |token: u32, logprob: f32| Scored {
            token: String::from_utf8_lossy(tokenizer.bytes(token)).into_owned(),
            logprob,
            bytes: tokenizer.bytes(token).to_vec(),
        };
        let entries = tokens.iter().map(|t| Entry {
            chosen: scored(t.token, t.logprob),
            top_logprobs: t.top.iter().map(|(token, p)| scored(*token, *p)).collect(),
        });
        Self {
            content: entries.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn head() -> Head {
        Head {
            id: "chatcmpl-1".to_owned(),
            object: "chat.completion.chunk",
            created: 7,
            model: "m".to_owned(),
        }
    }

    #[test]
    fn a_chunk_has_the_shape_of_openai() {
        let chunk = Chunk {
            head: &head(),
            choices: vec![Delta {
                index: 0,
                delta: Text::default(),
                logprobs: None,
                finish_reason: Some(Reason::Stop),
            }],
            usage: None,
        };
        assert_eq!(
            serde_json::to_value(chunk).unwrap(),
            json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m",
                "choices": [{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop" }],
            })
        );
    }

    #[test]
    fn the_usage_chunk_has_no_choices() {
        let chunk = Chunk {
            head: &head(),
            choices: Vec::new(),
            usage: Some(Some(Usage::new(3, 4))),
        };
        let chunk = serde_json::to_value(chunk).unwrap();
        assert_eq!(chunk["choices"], json!([]));
        assert_eq!(
            chunk["usage"],
            json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 })
        );
    }

    #[test]
    fn a_token_is_reported_with_its_bytes_and_alternatives() {
        let tokenizer = crate::tokenizer::tests::small();
        let [token] = tokenizer.encode("hello")[..] else {
            panic!("one token");
        };
        let tokens = [TokenLogprob {
            token,
            logprob: -0.5,
            top: vec![(token, -0.5)],
        }];
        let hello = json!({ "token": "hello", "logprob": -0.5, "bytes": b"hello" });
        let logprobs = serde_json::to_value(Logprobs::new(&tokens, &tokenizer)).unwrap();
        assert_eq!(logprobs["content"][0]["top_logprobs"], json!([hello]));
        assert_eq!(logprobs["content"][0]["bytes"], json!(b"hello"));
    }
}
