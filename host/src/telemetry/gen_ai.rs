//! The span of one attempt at a generation, in the words of OpenTelemetry's conventions for generative
//! AI: <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>.
//!
//! They are still in development: whatever changes there changes in this file only. Prompts and
//! answers are never part of it.

use conclave_core::generation::{FinishReason, Generation};
use conclave_core::inference::{Error, Request};
use opentelemetry::{Array, StringValue, Value};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TraceHeaders;
use super::spans::TARGET;

/// An attempt that is under way. Dropping it without an end records that it was aborted.
#[derive(Debug)]
pub(crate) struct Attempt {
    span: Span,
    ended: bool,
}

impl Attempt {
    /// Begins the span of a call that is about to be made.
    pub(crate) fn begin(request: &Request) -> Self {
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
            describe(&span, request);
        }
        Self { span, ended: false }
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
    pub(crate) fn end(mut self, result: &Result<Generation, Error>) {
        self.ended = true;
        let span = &self.span;
        if span.is_disabled() {
            return;
        }
        match result {
            Ok(generation) => {
                let reason = StringValue::from(finish_reason(generation.finish));
                let reasons = Value::Array(Array::String(vec![reason]));
                span.set_attribute("gen_ai.response.finish_reasons", reasons);
                let usage = generation.usage;
                let tokens = |name, count: u32| span.set_attribute(name, i64::from(count));
                tokens("gen_ai.usage.input_tokens", usage.prompt_tokens);
                tokens("gen_ai.usage.output_tokens", usage.completion_tokens);
                tokens("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
            }
            Err(error) => self.fail(error.kind()),
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
fn describe(span: &Span, request: &Request) {
    let sampling = &request.sampling;
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
    let url = request.endpoint.url();
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
