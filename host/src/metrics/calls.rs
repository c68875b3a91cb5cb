//! gRPC calls, by method and code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::buckets;
use super::names::OTHER;
use crate::grpc::code_name;
use crate::grpc::{self, CallMeter};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    method: String,
    code: &'static str,
}

/// Measures calls.
#[derive(Debug)]
pub struct Calls {
    in_flight: Gauge,
    calls: Family<CodeLabels, Counter>,
    /// By path, with its leading slash. Clients may call what there is not: that is one more.
    methods: HashMap<String, Method>,
    other: Method,
}

#[derive(Debug)]
struct Method {
    name: String,
    ok: Counter,
    seconds: Histogram,
}

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let in_flight = Gauge::default();
        let calls = Family::<CodeLabels, Counter>::default();
        let seconds =
            Family::<MethodLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(buckets::CALL)
            });
        registry.register(
            "conclave_grpc_calls_in_flight",
            "gRPC calls that are being answered; of a stream, until it begins",
            in_flight.clone(),
        );
        registry.register(
            "conclave_grpc_calls",
            "gRPC calls that were answered, by method and code; of a stream, how it began",
            calls.clone(),
        );
        registry.register(
            "conclave_grpc_call_seconds",
            "Time to answer a gRPC call, by method; of a stream, to its begin",
            seconds.clone(),
        );
        let method = |name: &str| Method {
            name: name.to_owned(),
            ok: calls.get_or_create_owned(&CodeLabels {
                method: name.to_owned(),
                code: "OK",
            }),
            seconds: seconds.get_or_create_owned(&MethodLabels {
                method: name.to_owned(),
            }),
        };
        let methods = grpc::methods().into_iter();
        Arc::new(Self {
            methods: methods
                .map(|name| (format!("/{name}"), method(&name)))
                .collect(),
            other: method(OTHER),
            in_flight,
            calls,
        })
    }
}

impl CallMeter for Calls {
    fn began(&self) {
        self.in_flight.inc();
    }

    fn ended(&self, path: &str, code: Code, took: Duration) {
        self.in_flight.dec();
        let method = self.methods.get(path).unwrap_or(&self.other);
        method.seconds.observe(took.as_secs_f64());
        if code == Code::Ok {
            method.ok.inc();
            return;
        }
        let labels = CodeLabels {
            method: method.name.clone(),
            code: code_name(code),
        };
        self.calls.get_or_create(&labels).inc();
    }
}
