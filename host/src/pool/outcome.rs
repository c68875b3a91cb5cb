//! What the end of work means for the errand that it was.

use std::time::Duration;

use conclave_core::inference::Error;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use tokio::time::Instant;

use super::telling::{Telling, placement};
use super::wire::{ResultMessage, VERSION};
use crate::errand::Errand;
use crate::openai::{Collected, Refusal, retry_after};

/// As `Rejected` tells what the executors, not the server, did not get done: it is not tried again.
const GIVEN_UP: u16 = 422;

/// What an executor says of its failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// What went wrong before an engine was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Between(String);

/// What goes wrong between the host and the executors; it may go well the next time.
pub(super) fn unavailable(errand: &Errand, why: impl Into<String>) -> Error {
    unavailable_by(errand, Between(why.into()))
}

/// Nobody is heard who would take it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unheard(String);

/// An errand was not queued, because nobody is heard who would take it.
pub(super) fn unheard(errand: &Errand, why: String) -> Error {
    unavailable_by(errand, Unheard(why))
}

/// Whether an errand was not queued because nobody is heard: it may go elsewhere, or wait.
#[must_use]
pub fn is_unheard(error: &Error) -> bool {
    match error {
        Error::Unavailable { source, .. } => source.is::<Unheard>(),
        _ => false,
    }
}

/// Whether an errand failed between the host and the executors, so that the failure says nothing of its
/// engine.
#[must_use]
pub fn is_between(error: &Error) -> bool {
    match error {
        Error::Unavailable { source, .. } => source.is::<Between>() || source.is::<Unheard>(),
        _ => false,
    }
}

fn unavailable_by(
    errand: &Errand,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Unavailable {
        endpoint: errand.endpoint.clone(),
        retry_after: None,
        source: Box::new(source),
    }
}

/// Hands the answers over, or says why there are none.
pub(super) fn hand_over(
    result: &[u8],
    errand: &Errand,
    telling: &Telling<'_>,
    cluster: &str,
) -> Result<(), Error> {
    let result: ResultMessage<'_> = serde_json::from_slice(result).map_err(|error| {
        let at = format!("line {} column {}", error.line(), error.column());
        protocol(
            errand,
            format!("the executor's result cannot be read at {at}"),
        )
    })?;
    if result.v > VERSION {
        let version = result.v;
        return Err(protocol(
            errand,
            format!("the executor speaks version {version} of the protocol, this host {VERSION}"),
        ));
    }
    match &*result.outcome {
        "answered" => answered(result, errand, telling, cluster),
        "refused" => Err(refused(&result, errand)),
        "failed" => Err(failed(result, errand)),
        "cancelled" => Err(cancelled(&result, errand)),
        "dead" => Err(Error::Rejected {
            endpoint: errand.endpoint.clone(),
            status: GIVEN_UP,
            message: format!(
                "the executors of cluster `{cluster}` gave it up: {}",
                said(result.reason)
            ),
        }),
        other => Err(protocol(errand, format!("its outcome is `{other}`"))),
    }
}

fn answered(
    result: ResultMessage<'_>,
    errand: &Errand,
    telling: &Telling<'_>,
    cluster: &str,
) -> Result<(), Error> {
    let Some(answer) = result.answer else {
        return Err(protocol(errand, "the result has no answer".to_owned()));
    };
    let mut errand = errand.clone();
    errand.placement = result.place.map(|place| placement(cluster, place));
    let took = Duration::from_millis(result.queued_ms.saturating_add(result.ran_ms));
    let now = Instant::now();
    let started = now.checked_sub(took).unwrap_or(now);
    let rest = telling.rest();
    let mut collected = Collected::new(&errand, &rest, started);
    collected.take(answer);
    collected.finish();
    match collected.hand_over() {
        true => Ok(()),
        false => Err(interrupted(&errand, "answers are missing".to_owned())),
    }
}

fn refused(result: &ResultMessage<'_>, errand: &Errand) -> Error {
    let mut headers = HeaderMap::new();
    for (name, value) in &result.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let refusal = Refusal {
        status: result.status.unwrap_or(500),
        retry_after: retry_after::read(&headers),
        location,
        authorization: None,
        body: result.body.as_deref().unwrap_or("").as_bytes(),
    };
    refusal.into_error(errand)
}

fn failed(result: ResultMessage<'_>, errand: &Errand) -> Error {
    let message = said(result.message);
    match result.kind.as_deref() {
        Some("unavailable") => unavailable_by(errand, Said(message)),
        Some("stalled") => Error::Stalled {
            endpoint: errand.endpoint.clone(),
            silence: Duration::from_millis(result.silence_ms.unwrap_or(0)),
        },
        Some("interrupted") => interrupted(errand, message),
        _ => protocol(errand, message),
    }
}

/// Nobody cancels what is waited for: either its deadline has passed, of which the session knows, or this is
/// the end of an earlier run of the same work, and another attempt is another work.
fn cancelled(result: &ResultMessage<'_>, errand: &Errand) -> Error {
    match result.reason.as_deref() {
        Some("deadline") => unavailable(errand, "its deadline passed before it had ended"),
        _ => interrupted(errand, "it was cancelled in the cluster".to_owned()),
    }
}

fn said(text: Option<String>) -> String {
    text.unwrap_or_else(|| "the executor gave no reason".to_owned())
}

fn interrupted(errand: &Errand, why: String) -> Error {
    Error::Interrupted {
        endpoint: errand.endpoint.clone(),
        source: Some(Box::new(Said(why))),
    }
}

fn protocol(errand: &Errand, reason: String) -> Error {
    Error::Protocol {
        endpoint: errand.endpoint.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use conclave_core::cluster::Placement;
    use conclave_core::endpoint::Endpoint;
    use conclave_core::generation::Generation;
    use conclave_core::ids::ModelName;
    use conclave_core::testkit::inference::contract;
    use serde_json::{Value, json};

    use crate::errand::Answers;

    use super::*;

    #[derive(Default)]
    struct Finished(Mutex<Vec<Generation>>);

    impl Answers for Finished {
        fn placed(&self, _: &Placement) {}
        fn tokens(&self, _: usize, _: u32, _: &str) {}
        fn finished(&self, _: usize, generation: Generation) {
            self.0.lock().unwrap().push(generation);
        }
    }

    fn end(choices: usize, result: &Value) -> (Result<(), Error>, Vec<Generation>) {
        let endpoint = Endpoint::parse("http://vllm:8000").unwrap();
        let request = contract::request(&endpoint, &ModelName::new("tiny"), 1);
        let errand = Errand {
            choices,
            ..Errand::as_named(&request).unwrap()
        };
        let finished = Finished::default();
        let telling = Telling::new(&finished, "east", choices);
        let ended = hand_over(result.to_string().as_bytes(), &errand, &telling, "east");
        (ended, finished.0.into_inner().unwrap())
    }

    #[test]
    fn an_answer_has_the_place_and_the_time_that_the_executor_tells() {
        let result = json!({
            "v": 1, "id": "W", "outcome": "answered", "tokens": 2, "queued_ms": 1_500, "ran_ms": 700,
            "place": {"submission_id": "s", "actor": "a", "node": "n"}, "delivery": 1,
            "answer": {
                "object": "chat.completion",
                "choices": [{
                    "index": 0, "finish_reason": "length", "tokens": 2,
                    "message": {"role": "assistant", "content": "42", "reasoning_content": "hm"},
                    "logprobs": {"content": [{"logprob": -0.5}]},
                }],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2},
            },
        });
        let (ended, finished) = end(1, &result);
        ended.unwrap();
        let one = &finished[0];
        assert_eq!((&*one.text, one.reasoning.as_deref()), ("42", Some("hm")));
        assert_eq!(one.logprobs, [-0.5]);
        assert_eq!(one.usage.prompt_tokens, 9);
        assert!(
            (2_200..2_300).contains(&one.latency_ms),
            "{}",
            one.latency_ms
        );
        let placement = one.placement.as_deref().unwrap();
        assert_eq!(
            (&*placement.cluster, &*placement.submission_id),
            ("east", "s")
        );
    }

    #[test]
    fn answers_that_came_stand_when_others_are_missing() {
        let result = json!({
            "v": 1, "outcome": "answered",
            "answer": {"choices": [
                {"index": 1, "finish_reason": "stop", "message": {"content": "b"}},
            ]},
        });
        let (ended, finished) = end(2, &result);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert_eq!(finished.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_no_answer_and_is_not_quoted() {
        for result in [json!("secret"), json!({"v": 1, "outcome": ["secret"]})] {
            let (ended, _) = end(1, &result);
            let error = ended.unwrap_err();
            assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
