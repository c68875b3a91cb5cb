//! W3C trace context: out of headers into spans, and out of spans into headers.
//! <https://www.w3.org/TR/trace-context/>

use std::collections::HashMap;

use conclave_core::ids::Digest;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// `traceparent` and `tracestate`, as they stand in headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHeaders {
    /// Trace, parent span and flags.
    pub traceparent: Option<String>,
    /// What tracing systems add to it.
    pub tracestate: Option<String>,
}

impl TraceHeaders {
    /// The headers of calls that are made within this span; none when it is not part of a trace.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let context = span.context();
        if !context.span().span_context().is_valid() {
            return Self::default();
        }
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut headers);
        let mut header = |name| headers.remove(name).filter(|text| !text.is_empty());
        Self {
            traceparent: header("traceparent"),
            tracestate: header("tracestate"),
        }
    }

    /// The headers of a child of this context that nobody records: in the same trace, under a span id
    /// that is drawn from `name`, which is unique in it.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let child = |traceparent: &String| {
            let (version, rest) = traceparent.split_once('-')?;
            let (trace, rest) = rest.split_once('-')?;
            let (_parent, flags) = rest.split_once('-')?;
            let digest = Digest::of(name.as_bytes()).to_string();
            let span = &digest[..16];
            Some(format!("{version}-{trace}-{span}-{flags}"))
        };
        Self {
            traceparent: self.traceparent.as_ref().and_then(child),
            tracestate: self.tracestate.clone(),
        }
    }

    /// The context that the headers stand for.
    pub(super) fn context(&self) -> Context {
        TraceContextPropagator::new().extract_with_context(&Context::new(), self)
    }
}

impl Extractor for TraceHeaders {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent.as_deref(),
            "tracestate" => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_child_has_the_trace_and_the_flags_and_a_span_of_its_own() {
        let headers = TraceHeaders {
            traceparent: Some(PARENT.to_owned()),
            tracestate: Some("vendor=1".to_owned()),
        };
        let child = headers.child("deliberation-1-1-1");
        let traceparent = child.traceparent.clone().unwrap();
        assert!(
            traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-")
                && traceparent.ends_with("-01")
                && traceparent.len() == PARENT.len()
                && traceparent != PARENT,
            "{traceparent}"
        );
        assert_eq!(child.tracestate.as_deref(), Some("vendor=1"));
        assert_ne!(headers.child("deliberation-1-1-2"), child);
        assert_eq!(TraceHeaders::default().child("x"), TraceHeaders::default());
    }

    #[test]
    fn without_an_exporter_a_span_has_no_headers() {
        let span = tracing::info_span!("a");
        assert_eq!(TraceHeaders::of(&span), TraceHeaders::default());
    }

    #[test]
    fn headers_stand_for_their_context() {
        let headers = TraceHeaders {
            traceparent: Some(PARENT.to_owned()),
            tracestate: None,
        };
        let context = headers.context();
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert!(span.is_remote() && span.is_sampled());
    }
}
