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
const UNSUPPORTED: [(&str, &[f64]); 6] = [
    ("n", &[1.0]),
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
    pub(super) stream: bool,
    pub(super) include_usage: bool,
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
}

impl ChatRequest {
    /// Reads the body of a request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
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
        wire.check()
    }
}

impl Wire {
    fn check(self) -> Result<ChatRequest, Error> {
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
            tokens_max: self.tokens_max()?,
            top_logprobs: self.top_logprobs()?,
            sampling: Sampling {
                temperature: temperature as f32,
                top_p: top_p as f32,
                seed: self.seed.map_or_else(random, i64::cast_unsigned),
            },
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|o| o.include_usage),
            stops: stops(self.stop)?,
            messages: self.messages.into_iter().map(Message::from).collect(),
            model: self.model,
        })
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
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(extra: Value) -> Result<ChatRequest, String> {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        let (Value::Object(body), Value::Object(extra)) = (&mut body, extra) else {
            panic!("both are objects");
        };
        body.extend(extra);
        ChatRequest::parse(&serde_json::to_vec(&body).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_openai() {
        let request = parse(json!({})).unwrap();
        assert_eq!(request.sampling.temperature, 1.0);
        assert_eq!(request.sampling.top_p, 1.0);
        assert_eq!(request.tokens_max, None);
        assert!(!request.stream && !request.include_usage && request.stops.is_empty());
    }

    #[test]
    fn fields_are_read() {
        let request = parse(json!({
            "messages": [{ "role": "system", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }],
            "max_tokens": 9, "max_completion_tokens": 7, "temperature": 0, "top_p": 0.5, "seed": -1,
            "stop": ["x", "y"], "logprobs": true, "top_logprobs": 3, "n": 1, "tools": [],
            "stream": true, "stream_options": { "include_usage": true },
            "response_format": { "type": "text" }, "user": "ignored",
        }))
        .unwrap();
        assert_eq!(request.messages[0].content, "ab");
        assert_eq!(request.tokens_max.unwrap().tokens, 7);
        assert_eq!(request.sampling.seed, u64::MAX);
        assert_eq!(request.stops, ["x", "y"]);
        assert_eq!(request.top_logprobs, Some(3));
        assert!(request.stream && request.include_usage);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_rule() {
        for (extra, message) in [
            (
                json!({ "temperature": 2.5 }),
                "`temperature` is 2.5, but must be from 0 to 2",
            ),
            (
                json!({ "top_p": 0 }),
                "`top_p` is 0, but must be above 0 and at most 1",
            ),
            (
                json!({ "max_tokens": 0 }),
                "`max_tokens` is 0, but must be at least 1",
            ),
            (
                json!({ "n": 2 }),
                "`n` is 2, but must be 1 or absent: more is not supported here",
            ),
            (
                json!({ "top_logprobs": 21 }),
                "`top_logprobs` is 21, but must be from 0 to 20",
            ),
            (
                json!({ "top_logprobs": 2 }),
                "`top_logprobs` is 2, but needs `logprobs` to be true",
            ),
            (
                json!({ "stop": "" }),
                "`stop` has an empty text: leave it out",
            ),
            (
                json!({ "stop": 1 }),
                "`stop`: expected a text or a list of texts",
            ),
            (
                json!({ "tools": [{}] }),
                "`tools` is not supported here: leave it out",
            ),
            (
                json!({ "messages": [] }),
                "`messages` is empty: give at least one",
            ),
            (
                json!({ "messages": [{ "role": "user", "content": 1 }] }),
                "`messages[0].content`: expected a text or a list of text parts",
            ),
            (
                json!({ "response_format": { "type": "json_schema" } }),
                "`response_format` is \"json_schema\", but must be `text` or absent: structured output is not supported here",
            ),
        ] {
            assert_eq!(parse(extra).unwrap_err(), message);
        }
    }
}
