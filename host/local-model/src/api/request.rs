//! Reads a chat request: every value is checked here, and an error names field, value and rule.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Error;
use crate::chat::{Message, Role};
use crate::sampler::Sampling;

/// Most stop sequences of a request.
const STOPS_MAX: usize = 16;
/// Most alternatives reported for a token.
const TOP_LOGPROBS_MAX: i64 = 20;

/// What would change the answer but is not implemented, and the values that ask for nothing.
const UNSUPPORTED: [(&str, &[f64]); 5] = [
    ("frequency_penalty", &[0.0]),
    ("presence_penalty", &[0.0]),
    ("repetition_penalty", &[1.0]),
    ("top_k", &[-1.0, 0.0]),
    ("min_p", &[0.0]),
];

/// A request that can be served, but for the length of its prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    pub(super) tokens_max: Option<TokensMax>,
    pub(super) sampling: Sampling,
    pub(super) stops: Vec<String>,
    pub(super) top_logprobs: Option<usize>,
    /// How many answers are wanted, from 1.
    pub(super) choices: usize,
    pub(super) stream: bool,
    pub(super) stream_usage: StreamUsage,
}

/// Where a stream tells what was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamUsage {
    Never,
    /// In the last chunk, of all answers together.
    AtEnd,
    /// There, and in every chunk of an answer what that answer used so far.
    Always,
}

/// The limit of an answer and the field that set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokensMax {
    pub(super) field: &'static str,
    pub(super) tokens: usize,
}

#[derive(Debug, Deserialize)]
struct Wire {
    model: String,
    messages: Vec<WireMessage>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    n: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct WireMessage {
    role: Role,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of text parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    /// As vLLM calls it; nothing without `include_usage`.
    #[serde(default)]
    continuous_usage_stats: bool,
}

impl ChatRequest {
    /// Reads the body of a request, which may ask for so many answers.
    pub(super) fn parse(body: &[u8], choices_max: usize) -> Result<Self, Error> {
        let fields: Map<String, Value> =
            serde_json::from_slice(body).map_err(|e| Error::Invalid {
                param: None,
                message: format!("the body is not a JSON object: {e}"),
            })?;
        supported(&fields)?;
        let wire: Wire = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|e| {
            let path = e.path().to_string();
            Error::invalid(&path, format!("`{path}`: {}", e.inner()))
        })?;
        wire.check(choices_max)
    }
}

impl Wire {
    fn check(self, choices_max: usize) -> Result<ChatRequest, Error> {
        if self.messages.is_empty() {
            return Err(Error::invalid(
                "messages",
                "`messages` is empty: give at least one",
            ));
        }
        let temperature = self.temperature.unwrap_or(1.0);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(range("temperature", temperature, "from 0 to 2"));
        }
        let top_p = self.top_p.unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(range("top_p", top_p, "above 0 and at most 1"));
        }
        Ok(ChatRequest {
            choices: self.choices(temperature, choices_max)?,
            tokens_max: self.tokens_max()?,
            top_logprobs: self.top_logprobs()?,
            sampling: Sampling {
                temperature: temperature as f32,
                top_p: top_p as f32,
                seed: self.seed.map_or_else(random, i64::cast_unsigned),
            },
            stream: self.stream.unwrap_or(false),
            stream_usage: match self.stream_options {
                Some(options) if options.include_usage => match options.continuous_usage_stats {
                    true => StreamUsage::Always,
                    false => StreamUsage::AtEnd,
                },
                _ => StreamUsage::Never,
            },
            stops: stops(self.stop)?,
            messages: self.messages.into_iter().map(Message::from).collect(),
            model: self.model,
        })
    }

    fn choices(&self, temperature: f64, choices_max: usize) -> Result<usize, Error> {
        let n = self.n.unwrap_or(1);
        let choices = usize::try_from(n).unwrap_or(0);
        if !(1..=choices_max).contains(&choices) {
            let rule = format!("from 1 to {choices_max}, the slots of this server");
            return Err(range("n", n, &rule));
        }
        if choices > 1 && temperature == 0.0 {
            let rule = "1 with `temperature` 0: all answers would be the same";
            return Err(range("n", n, rule));
        }
        Ok(choices)
    }

    fn tokens_max(&self) -> Result<Option<TokensMax>, Error> {
        let fields = [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
        ];
        let given = fields.into_iter().find_map(|(f, value)| Some((f, value?)));
        given
            .map(|(field, value)| match usize::try_from(value) {
                Ok(tokens) if tokens > 0 => Ok(TokensMax { field, tokens }),
                _ => Err(range(field, value, "at least 1")),
            })
            .transpose()
    }

    fn top_logprobs(&self) -> Result<Option<usize>, Error> {
        let top = self.top_logprobs.unwrap_or(0);
        if !(0..=TOP_LOGPROBS_MAX).contains(&top) {
            let rule = format!("from 0 to {TOP_LOGPROBS_MAX}");
            return Err(range("top_logprobs", top, &rule));
        }
        let wanted = self.logprobs.unwrap_or(false);
        if top > 0 && !wanted {
            let message = format!("`top_logprobs` is {top}, but needs `logprobs` to be true");
            return Err(Error::invalid("top_logprobs", message));
        }
        Ok(wanted.then_some(top.unsigned_abs() as usize))
    }
}

impl From<WireMessage> for Message {
    fn from(message: WireMessage) -> Self {
        let content = match message.content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect(),
        };
        Self {
            role: message.role,
            content,
        }
    }
}

/// Refuses what would change the answer but is not implemented, rather than ignore it.
fn supported(fields: &Map<String, Value>) -> Result<(), Error> {
    for (field, neutral) in UNSUPPORTED {
        let value = fields.get(field).unwrap_or(&Value::Null);
        if !value.is_null() && !value.as_f64().is_some_and(|v| neutral.contains(&v)) {
            let rule = format!("{} or absent: more is not supported here", neutral[0]);
            return Err(range(field, value, &rule));
        }
    }
    for field in ["tools", "functions", "logit_bias"] {
        let value = fields.get(field).unwrap_or(&Value::Null);
        let empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        if !value.is_null() && !empty {
            let message = format!("`{field}` is not supported here: leave it out");
            return Err(Error::invalid(field, message));
        }
    }
    match fields.get("response_format") {
        None | Some(Value::Null) => Ok(()),
        Some(format) if format.get("type") == Some(&"text".into()) => Ok(()),
        Some(format) => {
            let kind = format.get("type").unwrap_or(&Value::Null);
            Err(range(
                "response_format",
                kind,
                "`text` or absent: structured output is not supported here",
            ))
        }
    }
}

fn stops(stop: Option<OneOrMany>) -> Result<Vec<String>, Error> {
    let stops = match stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    if stops.len() > STOPS_MAX {
        let message = format!(
            "`stop` has {} texts, but may have at most {STOPS_MAX}",
            stops.len()
        );
        return Err(Error::invalid("stop", message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Error::invalid(
            "stop",
            "`stop` has an empty text: leave it out",
        ));
    }
    Ok(stops)
}

fn range(field: &str, value: impl std::fmt::Display, rule: &str) -> Error {
    Error::invalid(field, format!("`{field}` is {value}, but must be {rule}"))
}

/// A seed for a request that gives none.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests;
