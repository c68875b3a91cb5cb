//! The body of a chat completion request.

use conclave_core::generation::{Message, Sampling};
use conclave_core::inference::{Error, Request};
use serde::{Serialize, Serializer};

use crate::errand::Errand;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(serialize_with = "messages")]
    messages: &'a [Message],
    /// Always: an engine notices at once that a stream's reader has gone, and aborts.
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<usize>,
    /// vLLM's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
    /// vLLM's own: with each piece of one of several answers, what that answer took so far. Without it,
    /// one that is whole before the others could not be told what it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuous_usage_stats: Option<bool>,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
}

fn messages<S: Serializer>(messages: &[Message], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(messages.iter().map(|message| ChatMessage {
        role: message.role.as_str(),
        content: &message.content,
    }))
}

/// The JSON that asks for this generation.
///
/// # Errors
/// [`Error::Rejected`] when the request's JSON Schema is no JSON.
pub(crate) fn encode(errand: &Errand) -> Result<Vec<u8>, Error> {
    write(errand).map_err(|error| Error::Rejected {
        endpoint: errand.endpoint.clone(),
        status: 400,
        message: format!("the JSON schema is not JSON: {error}"),
    })
}

fn write(errand: &Errand) -> Result<Vec<u8>, serde_json::Error> {
    let request = &errand.request;
    let several = errand.choices > 1;
    let sampling = &request.sampling;
    let body = Body {
        model: request.model.as_str(),
        messages: &request.messages,
        stream: true,
        stream_options: StreamOptions {
            include_usage: true,
            continuous_usage_stats: several.then_some(true),
        },
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        max_tokens: sampling.tokens_max,
        stop: &sampling.stop,
        seed: sampling.seed,
        logprobs: sampling.logprobs.map(|_| true),
        // llama-server gives no log-probability at all when no alternative is asked for.
        top_logprobs: sampling.logprobs.map(|alternatives| alternatives.max(1)),
        n: several.then_some(errand.choices),
        priority: errand.priority,
    };
    let mut json = Vec::with_capacity(size_hint(request));
    serde_json::to_writer(&mut json, &body)?;
    if let Some(schema) = &sampling.json_schema {
        append_schema(&mut json, schema)?;
    }
    Ok(json)
}

fn size_hint(request: &Request) -> usize {
    let Sampling { json_schema, .. } = &request.sampling;
    let prompt: usize = request
        .messages
        .iter()
        .map(|message| message.content.len() + 48)
        .sum();
    256 + prompt + prompt / 16 + json_schema.as_ref().map_or(0, String::len)
}

/// Adds the schema as it was written: engines generate properties in the order in which the schema
/// names them, and a parsed value would forget it.
fn append_schema(json: &mut Vec<u8>, schema: &str) -> Result<(), serde_json::Error> {
    // Text that is not one JSON value could add fields of its own.
    serde_json::from_str::<serde::de::IgnoredAny>(schema)?;
    let closed = json.pop();
    debug_assert_eq!(closed, Some(b'}'));
    json.extend_from_slice(
        br#","response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":"#,
    );
    json.extend_from_slice(schema.as_bytes());
    json.extend_from_slice(b"}}}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use conclave_core::endpoint::Endpoint;
    use conclave_core::ids::ModelName;
    use conclave_core::testkit::inference::contract;

    use super::*;

    fn request(sampling: Sampling) -> Request {
        let endpoint = Endpoint::parse("http://h").unwrap();
        let mut request = contract::request(&endpoint, &ModelName::new("tiny"), 1);
        request.sampling = sampling;
        request
    }

    fn errand(sampling: Sampling) -> Errand {
        Errand::as_named(&request(sampling)).unwrap()
    }

    fn encoded(sampling: Sampling) -> String {
        String::from_utf8(encode(&errand(sampling)).unwrap()).unwrap()
    }

    #[test]
    fn several_answers_and_an_order_are_asked_for_only_where_they_are_wanted() {
        let errand = Errand {
            choices: 3,
            priority: Some(-7),
            ..errand(Sampling::default())
        };
        let json = String::from_utf8(encode(&errand).unwrap()).unwrap();
        let settings = json.split_once(r#""include_usage":true,"#).unwrap().1;
        assert_eq!(
            settings,
            r#""continuous_usage_stats":true},"n":3,"priority":-7}"#
        );
    }

    #[test]
    fn what_the_server_shall_decide_is_left_out() {
        assert_eq!(
            encoded(Sampling::default()),
            r#"{"model":"tiny","messages":[{"role":"user","content":"Say hello."}],"stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn every_setting_has_its_openai_name() {
        let json = encoded(Sampling {
            temperature: Some(0.7),
            top_p: Some(0.9),
            tokens_max: Some(64),
            stop: vec!["\n\n".to_owned()],
            seed: Some(u32::MAX),
            logprobs: Some(0),
            json_schema: Some(r#"{"type":"object","properties":{"z":{},"a":{}}}"#.to_owned()),
        });
        let settings = json.split_once(r#""include_usage":true},"#).unwrap().1;
        assert_eq!(
            settings,
            r#""temperature":0.7,"top_p":0.9,"max_tokens":64,"stop":["\n\n"],"seed":4294967295,"logprobs":true,"top_logprobs":1,"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{"type":"object","properties":{"z":{},"a":{}}}}}}"#
        );
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn a_schema_cannot_add_fields_of_its_own() {
        for schema in [r#"{}}},"model":"other","x":{"y":{"z":{}"#, "", "{", "{} {}"] {
            let sampling = Sampling {
                json_schema: Some(schema.to_owned()),
                ..Sampling::default()
            };
            assert!(encode(&errand(sampling)).is_err(), "{schema}");
        }
    }
}
