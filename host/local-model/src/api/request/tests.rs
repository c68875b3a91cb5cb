//! What is read of a request, and what is refused.

use super::*;
use serde_json::json;

fn parse(extra: Value) -> Result<ChatRequest, String> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    let (Value::Object(body), Value::Object(extra)) = (&mut body, extra) else {
        panic!("both are objects");
    };
    body.extend(extra);
    ChatRequest::parse(&serde_json::to_vec(&body).unwrap(), 4).map_err(|e| e.to_string())
}

#[test]
fn defaults_are_those_of_openai() {
    let request = parse(json!({})).unwrap();
    assert_eq!(request.sampling.temperature, 1.0);
    assert_eq!(request.sampling.top_p, 1.0);
    assert_eq!(request.tokens_max, None);
    assert!(!request.stream && request.stops.is_empty());
    assert_eq!(
        (request.choices, request.stream_usage),
        (1, StreamUsage::Never)
    );
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
    assert!(request.stream);
    assert_eq!(request.stream_usage, StreamUsage::AtEnd);
    let several = parse(json!({
        "n": 4, "stream_options": { "include_usage": true, "continuous_usage_stats": true },
    }))
    .unwrap();
    assert_eq!(
        (several.choices, several.stream_usage),
        (4, StreamUsage::Always)
    );
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
            json!({ "n": 5 }),
            "`n` is 5, but must be from 1 to 4, the slots of this server",
        ),
        (
            json!({ "n": 0 }),
            "`n` is 0, but must be from 1 to 4, the slots of this server",
        ),
        (
            json!({ "n": 2, "temperature": 0 }),
            "`n` is 2, but must be 1 with `temperature` 0: all answers would be the same",
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
