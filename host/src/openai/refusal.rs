//! Turns what a server refuses into an [`Error`] that says what the caller can do.

use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use conclave_core::inference::{Error, Request};
use reqwest::header::HeaderValue;
use serde_json::Value;

use crate::errand::Errand;

/// How much of a server's message is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 512;

/// What vLLM says when more wait than `--max-num-queued-reqs` or `--max-num-queued-tokens` allow: it is
/// well, unlike an engine that died, which has the same status.
const BUSY: &str = "currently busy";

/// A refusal as it came.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// Where a redirect leads.
    pub(crate) location: Option<&'a str>,
    /// The header with the API key, if one was sent.
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// What the body says.
    pub(crate) body: &'a [u8],
}

/// What stands behind `Unavailable` when the server answered.
#[derive(Debug, thiserror::Error)]
#[error("status {status}: {message}")]
struct Failed {
    status: u16,
    message: String,
}

impl Refusal<'_> {
    /// What the refusal means for this request.
    pub(crate) fn into_error(self, errand: &Errand) -> Error {
        let request = &errand.request;
        let message = bounded(&self.without_key(&message(self.body, request)));
        let endpoint = errand.endpoint.clone();
        let status = self.status;
        match status {
            404 => Error::UnknownModel {
                model: request.model.clone(),
                endpoint,
                message,
            },
            429 => Error::Overloaded {
                endpoint,
                status,
                retry_after: self.retry_after,
            },
            503 if message.contains(BUSY) => Error::Overloaded {
                endpoint,
                status,
                retry_after: self.retry_after,
            },
            408 | 500..=599 => Error::Unavailable {
                endpoint,
                retry_after: self.retry_after,
                source: Box::new(Failed { status, message }),
            },
            300..=399 => Error::Rejected {
                endpoint,
                status,
                message: format!(
                    "it redirects to {}, and redirects are not followed: configure the final address",
                    bounded(&self.without_key(self.location.unwrap_or("nowhere")))
                ),
            },
            401 | 403 => Error::Rejected {
                endpoint,
                status,
                message: format!("{message} ({})", self.key_hint(&errand.endpoint)),
            },
            400..=499 => Error::Rejected {
                endpoint,
                status,
                message,
            },
            _ => Error::Protocol {
                endpoint,
                reason: format!("its status is {status}"),
            },
        }
    }

    /// A server may quote the key that it refuses; the text goes to clients.
    fn without_key(&self, text: &str) -> String {
        let header = self.authorization.and_then(|header| header.to_str().ok());
        match header.and_then(|header| header.strip_prefix("Bearer ")) {
            Some(key) => text.replace(key, "[API key]"),
            None => text.to_owned(),
        }
    }

    fn key_hint(&self, endpoint: &Endpoint) -> String {
        let origin = endpoint.origin().ascii_serialization();
        if self.authorization.is_some() {
            format!("check the API key that is configured for {origin}")
        } else {
            format!("no API key is configured for {origin}")
        }
    }
}

/// The error in a stream that began with status 200, or in a body of that status.
pub(super) fn in_stream(
    data: &[u8],
    authorization: Option<&HeaderValue>,
    errand: &Errand,
) -> Error {
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    let code = value.pointer("/error/code").or_else(|| value.get("code"));
    let code = code.and_then(|code| match code {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    });
    // An error without a code is the engine's failure: had it judged the request, there would be
    // no stream.
    let status = code.and_then(|code| u16::try_from(code).ok());
    let refusal = Refusal {
        status: status
            .filter(|status| (400..600).contains(status))
            .unwrap_or(500),
        retry_after: None,
        location: None,
        authorization,
        body: data,
    };
    refusal.into_error(errand)
}

/// The server's message, as OpenAI, older vLLM, Ollama or FastAPI write it, without the prompt.
fn message(body: &[u8], request: &Request) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let places = [
        "/error/message",
        "/error",
        "/message",
        "/detail",
        "/detail/0/msg",
    ];
    let found = places
        .iter()
        .find_map(|place| value.pointer(place).and_then(Value::as_str));
    match found {
        Some(text) => without_prompt(text, request),
        None => "the server gave no reason".to_owned(),
    }
}

/// Servers that validate with pydantic quote the input that they refuse: prompts are nobody's
/// business in an error or a log.
fn without_prompt(text: &str, request: &Request) -> String {
    let quote = ["'input':", "\"input\":", "input_value="]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    let mut text = text[..quote.unwrap_or(text.len())].trim_end().to_owned();
    for message in request.messages.iter() {
        let content = message.content.trim();
        // A word or two of the prompt may well be words of the message.
        if content.len() >= 8 && text.contains(content) {
            text = text.replace(content, "[prompt]");
        }
    }
    text
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use conclave_core::ids::ModelName;
    use conclave_core::testkit::inference::contract;

    use serde_json::json;

    use super::*;

    fn request() -> Request {
        let endpoint = Endpoint::parse("http://vllm:8000").unwrap();
        contract::request(&endpoint, &ModelName::new("tiny"), 1)
    }

    fn errand() -> Errand {
        Errand::as_named(&request()).unwrap()
    }

    fn refused(status: u16, body: &str) -> Error {
        let refusal = Refusal {
            status,
            retry_after: Some(Duration::from_secs(7)),
            location: Some("http://elsewhere/"),
            authorization: None,
            body: body.as_bytes(),
        };
        refusal.into_error(&errand())
    }

    #[test]
    fn an_engine_that_is_busy_is_not_one_that_failed() {
        let told = |message| json!({"error": {"message": message, "code": 503}}).to_string();
        // As vLLM 0.21 says it.
        let busy = "The engine is currently busy and cannot accept new requests. Please try again later \
                    or on a different instance.";
        let error = refused(503, &told(busy));
        assert!(
            matches!(error, Error::Overloaded { status: 503, .. }),
            "{error:?}"
        );
        let error = refused(503, &told("the engine is dead"));
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }

    #[test]
    fn the_api_key_is_not_quoted() {
        let header = HeaderValue::from_static("Bearer sk-secret");
        let refusal = Refusal {
            status: 401,
            retry_after: None,
            location: None,
            authorization: Some(&header),
            body: br#"{"error":"Incorrect API key provided: sk-secret."}"#,
        };
        let text = refusal.into_error(&errand()).to_string();
        assert!(text.contains("provided: [API key]. (check the"), "{text}");
        assert!(!text.contains("sk-secret"), "{text}");

        // Nor a part of it, where a long message is cut.
        let long = format!("{}sk-secret", "x".repeat(MESSAGE_CHARS_MAX - 4));
        let body = json!({ "error": long }).to_string();
        let refusal = Refusal {
            status: 400,
            retry_after: None,
            location: None,
            authorization: Some(&header),
            body: body.as_bytes(),
        };
        let text = refusal.into_error(&errand()).to_string();
        assert!(!text.contains("sk-s"), "{text}");
    }

    #[test]
    fn each_status_says_what_the_caller_can_do() {
        let mut table = String::new();
        for status in [
            204, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529,
        ] {
            let error = refused(status, r#"{"error":{"message":"why","code":1}}"#);
            let source = error
                .source()
                .map_or(String::new(), |source| format!(" <- {source}"));
            let after = error.retry_after().map_or(0, |after| after.as_secs());
            let retry = if error.is_retryable() {
                "retry"
            } else {
                "final"
            };
            table += &format!("{retry} {after} {error}{source}\n");
        }
        insta::assert_snapshot!(table, @"
        final 0 http://vllm:8000 gave an answer that is no chat completion: its status is 204
        final 0 http://vllm:8000 rejected the request with status 302: it redirects to http://elsewhere/, and redirects are not followed: configure the final address
        final 0 http://vllm:8000 rejected the request with status 400: why
        final 0 http://vllm:8000 rejected the request with status 401: why (no API key is configured for http://vllm:8000)
        final 0 http://vllm:8000 rejected the request with status 403: why (no API key is configured for http://vllm:8000)
        final 0 model `tiny` is not served at http://vllm:8000: why
        retry 7 http://vllm:8000 is unavailable <- status 408: why
        final 0 http://vllm:8000 rejected the request with status 413: why
        final 0 http://vllm:8000 rejected the request with status 422: why
        retry 7 http://vllm:8000 is overloaded (status 429)
        retry 7 http://vllm:8000 is unavailable <- status 500: why
        retry 7 http://vllm:8000 is unavailable <- status 502: why
        retry 7 http://vllm:8000 is unavailable <- status 503: why
        retry 7 http://vllm:8000 is unavailable <- status 529: why
        ");
    }

    #[test]
    fn the_message_is_found_where_servers_put_it() {
        let bodies = [
            (r#"{"error":{"message":"openai"}}"#, "openai"),
            (r#"{"error":"ollama"}"#, "ollama"),
            (r#"{"object":"error","message":"old vllm"}"#, "old vllm"),
            (r#"{"detail":"fastapi"}"#, "fastapi"),
            (
                r#"{"detail":[{"msg":"validation","input":"secret"}]}"#,
                "validation",
            ),
            ("<html>", "the server gave no reason"),
            ("", "the server gave no reason"),
        ];
        for (body, expected) in bodies {
            assert_eq!(message(body.as_bytes(), &request()), expected);
        }
    }

    #[test]
    fn a_message_is_bounded_and_does_not_quote_the_prompt() {
        let long = json!({"error": {"message": "é".repeat(10_000)}}).to_string();
        let Error::Rejected { message: cut, .. } = refused(400, &long) else {
            unreachable!("400 is a rejection");
        };
        assert_eq!(cut.chars().count(), 513);
        let quotes = [
            (
                r#"{"error":"cannot parse: Say hello. (at 1)"}"#,
                "cannot parse: [prompt] (at 1)",
            ),
            (
                r#"{"error":"[{'msg': 'bad', 'input': [{'content': 'Say hel"}"#,
                "[{'msg': 'bad',",
            ),
        ];
        for (body, expected) in quotes {
            assert_eq!(message(body.as_bytes(), &request()), expected);
        }
    }

    #[test]
    fn an_error_in_a_stream_has_its_own_code_or_is_the_engines_failure() {
        let error = |data: &str| in_stream(data.as_bytes(), None, &errand());
        let rejected = error(r#"{"error":{"message":"too long","code":400}}"#);
        assert!(
            matches!(rejected, Error::Rejected { status: 400, .. }),
            "{rejected:?}"
        );
        let missing = error(r#"{"object":"error","message":"no such model","code":"404"}"#);
        assert!(matches!(missing, Error::UnknownModel { .. }), "{missing:?}");
        for data in [
            r#"{"error":{"message":"engine died","code":null}}"#,
            r#"{"error":"oom"}"#,
            r#"{"error":{"code":0}}"#,
        ] {
            assert!(matches!(error(data), Error::Unavailable { .. }), "{data}");
        }
    }
}
