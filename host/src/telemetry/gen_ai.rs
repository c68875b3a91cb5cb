//! The span of one attempt at a generation, in the words of OpenTelemetry's conventions for generative
//! AI: <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>.
//!
//! They are still in development: whatever changes there changes in this file only. Prompts and
//! answers are never part of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use conclave_core::cluster::Placement;
use conclave_core::generation::{FinishReason, Generation};
use conclave_core::inference::{Error, Request};
use opentelemetry::{Array, StringValue, Value};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TraceHeaders;
use super::spans::TARGET;
use crate::errand::{Answers, Errand};

/// An attempt that is under way. Dropping it without an end records that it was aborted.
#[derive(Debug)]
pub(crate) struct Attempt {
    span: Span,
    ended: bool,
    answered: Mutex<Answered>,
}

/// What came of it, over all of its answers.
#[derive(Debug, Default)]
struct Answered {
    reasons: Vec<&'static str>,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
}

/// Passes on what answers are told, and takes note of it.
pub(crate) struct Listening<'a> {
    attempt: &'a Attempt,
    answers: &'a dyn Answers,
}

impl Answers for Listening<'_> {
    fn placed(&self, placement: &Placement) {
        self.answers.placed(placement);
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        self.answers.tokens(choice, count, text);
    }

    fn finished(&self, choice: usize, generation: Generation) {
        if !self.attempt.span.is_disabled() {
            let mut answered = lock(&self.attempt.answered);
            answered.reasons.push(finish_reason(generation.finish));
            // The prompt is one for all answers.
            let usage = generation.usage;
            let prompt_tokens = i64::from(usage.prompt_tokens);
            if answered.prompt_tokens == 0 {
                answered.cached_tokens = i64::from(usage.cached_tokens);
            }
            answered.prompt_tokens = prompt_tokens;
            answered.completion_tokens += i64::from(usage.completion_tokens);
        }
        self.answers.finished(choice, generation);
    }
}

fn lock(answered: &Mutex<Answered>) -> MutexGuard<'_, Answered> {
    answered.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempt {
    /// Begins the span of a call that is about to be made.
    pub(crate) fn begin(errand: &Errand) -> Self {
        let request = &errand.request;
        let span = tracing::debug_span!(
            target: TARGET,
            "generation",
            otel.name = format!("chat {}", request.model),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            // The protocol: which product serves it is not known.
            gen_ai.provider.name = "openai",
            gen_ai.request.model = request.model.as_str(),
            conclave.deliberation.id = %request.id.deliberation,
            conclave.generation.attempt = request.id.attempt,
            "error.type" = Empty,
            otel.status_code = Empty,
        );
        if !span.is_disabled() {
            describe(&span, errand);
        }
        Self {
            span,
            ended: false,
            answered: Mutex::default(),
        }
    }

    /// The span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The trace headers of the call: those of the span when it is exported, or else of a child of the
    /// client's own context, so that the model server is in the client's trace either way.
    pub(crate) fn headers(&self, request: &Request) -> TraceHeaders {
        let own = TraceHeaders::of(&self.span);
        if own.traceparent.is_some() {
            return own;
        }
        let client = TraceHeaders {
            traceparent: request.traceparent.clone(),
            tracestate: request.tracestate.clone(),
        };
        match client.traceparent {
            Some(_) => client.child(&request.id.to_string()),
            None => TraceHeaders::default(),
        }
    }

    /// Ends the span.
    pub(crate) fn end(mut self, result: &Result<(), Error>) {
        self.ended = true;
        let span = &self.span;
        if span.is_disabled() {
            return;
        }
        if let Err(error) = result {
            self.fail(error.kind());
            return;
        }
        let answered = lock(&self.answered);
        let reasons = answered
            .reasons
            .iter()
            .map(|reason| StringValue::from(*reason));
        let reasons = Value::Array(Array::String(reasons.collect()));
        span.set_attribute("gen_ai.response.finish_reasons", reasons);
        let tokens = |name, count: i64| span.set_attribute(name, count);
        tokens("gen_ai.usage.input_tokens", answered.prompt_tokens);
        tokens("gen_ai.usage.output_tokens", answered.completion_tokens);
        tokens(
            "gen_ai.usage.cache_read.input_tokens",
            answered.cached_tokens,
        );
    }

    /// Answers whose ends are part of the span.
    pub(crate) fn listening<'a>(&'a self, answers: &'a dyn Answers) -> Listening<'a> {
        Listening {
            attempt: self,
            answers,
        }
    }

    fn fail(&self, kind: &'static str) {
        self.span.record("error.type", kind);
        self.span.record("otel.status_code", "ERROR");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.fail("aborted");
        }
    }
}

/// What is asked for, as far as it is set.
fn describe(span: &Span, errand: &Errand) {
    let sampling = &errand.request.sampling;
    let float = |name: &'static str, value: Option<f32>| {
        if let Some(value) = value {
            span.set_attribute(name, f64::from(value));
        }
    };
    let whole = |name: &'static str, value: Option<u32>| {
        if let Some(value) = value {
            span.set_attribute(name, i64::from(value));
        }
    };
    float("gen_ai.request.temperature", sampling.temperature);
    float("gen_ai.request.top_p", sampling.top_p);
    whole("gen_ai.request.max_tokens", sampling.tokens_max);
    whole("gen_ai.request.seed", sampling.seed);
    let output = match sampling.json_schema {
        Some(_) => "json",
        None => "text",
    };
    span.set_attribute("gen_ai.output.type", output);
    if errand.choices > 1 {
        whole(
            "gen_ai.request.choice.count",
            u32::try_from(errand.choices).ok(),
        );
    }
    let url = errand.endpoint.url();
    if let Some(host) = url.host_str() {
        span.set_attribute("server.address", host.to_owned());
    }
    if let Some(port) = url.port_or_known_default() {
        span.set_attribute("server.port", i64::from(port));
    }
}

/// As OpenAI's own API names it.
fn finish_reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Aborted => "abort",
    }
}
