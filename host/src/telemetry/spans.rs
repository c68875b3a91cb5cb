//! The spans of a trace: a gRPC call, the session that it submits, the plugins that the session runs.
//! Generations are in [`gen_ai`](super::gen_ai).
//!
//! They are spans of `tracing` at level debug, which nobody makes unless traces are exported or the
//! log is at that level. They hold ids and names, never what was asked or answered.

use conclave_core::entry::Accepted;
use conclave_core::plugin::{Kind, PluginRef};
use tonic::Code;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TraceHeaders;

/// The target of all of them.
pub(crate) const TARGET: &str = "conclave::trace";

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span of a gRPC call. Where it is part of a trace, the request's headers name it from now on, so
/// that what the call starts is its child.
pub(crate) fn call<B>(request: &mut Request<B>) -> Span {
    let path = request.uri().path();
    if path.starts_with("/grpc.health.v1.Health/") {
        return Span::none();
    }
    let method = path.trim_start_matches('/');
    let span = tracing::debug_span!(
        target: TARGET,
        parent: None,
        "grpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        request_id = text(request.headers(), "x-request-id"),
        rpc.response.status_code = Empty,
        otel.status_code = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let headers = request.headers_mut();
    let owned = |name| text(headers, name).map(ToOwned::to_owned);
    let theirs = TraceHeaders {
        traceparent: owned("traceparent"),
        tracestate: owned("tracestate"),
    };
    // An error means that nobody exports.
    let _ = span.set_parent(theirs.context());
    let own = TraceHeaders::of(&span);
    if let Some(traceparent) = own.traceparent {
        set(headers, TRACEPARENT, Some(traceparent));
        set(headers, TRACESTATE, own.tracestate);
    }
    span
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: Option<String>) {
    match text.and_then(|text| HeaderValue::try_from(text).ok()) {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

/// Records how a call was answered: on a server, only what is the server's fault is an error.
pub(crate) fn note_call(span: &Span, code: Code) {
    if span.is_disabled() {
        return;
    }
    span.record("rpc.response.status_code", crate::grpc::code_name(code));
    let fault = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if fault {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of a session. It outlives the call, and the host: its parent is the call that submitted
/// the deliberation, as the journal knows it.
#[must_use]
pub fn session(accepted: &Accepted) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        parent: None,
        "deliberation",
        otel.name = format!("deliberate {}", accepted.strategy.name),
        conclave.deliberation.id = %accepted.id,
        conclave.strategy = %accepted.strategy,
        conclave.scorer = %accepted.scorer,
        state = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        let headers = TraceHeaders {
            traceparent: accepted.traceparent.clone(),
            tracestate: accepted.tracestate.clone(),
        };
        // An error means that nobody exports.
        let _ = span.set_parent(headers.context());
    }
    span
}

/// The span of a call of a plugin, within that of the session, or of the strategy that asks a scorer.
pub(crate) fn plugin(kind: Kind, plugin: &PluginRef) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "plugin",
        otel.name = format!("{kind} {}", plugin.name),
        conclave.plugin.kind = %kind,
        conclave.plugin.name = plugin.name,
        conclave.plugin.version = plugin.version,
        conclave.plugin.digest = %plugin.digest,
        conclave.plugin.result = Empty,
        otel.status_code = Empty,
    )
}

/// Records how a call of a plugin ended.
pub(crate) fn note_plugin(span: &Span, result: &'static str) {
    span.record("conclave.plugin.result", result);
    if !matches!(result, "answered" | "stopped") {
        span.record("otel.status_code", "ERROR");
    }
}
