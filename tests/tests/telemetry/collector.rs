//! An OTLP collector that keeps what it gets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    addr: SocketAddr,
    kept: Kept,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Starts on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server = Server::builder().add_service(service);
            server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .unwrap();
        });
        Self {
            addr,
            kept,
            _serving: serving,
        }
    }

    /// Its address, as a host is given it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The service's name in what came.
    pub(crate) fn service_name(&self) -> Option<String> {
        let kept = self.kept.0.lock().unwrap();
        let resource = kept.first()?.resource_spans.first()?.resource.clone()?;
        let attributes = attributes(&resource.attributes);
        attributes.get("service.name").cloned()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Traced> {
        let kept = self.kept.0.lock().unwrap();
        let resources = kept.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans.iter().cloned());
        spans.map(Traced::from).collect()
    }
}

/// A span, with its attributes as text.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) kind: i32,
    pub(crate) is_error: bool,
    pub(crate) attributes: HashMap<String, String>,
}

impl From<Span> for Traced {
    fn from(span: Span) -> Self {
        Self {
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: span.kind,
            is_error: span.status.is_some_and(|status| status.code == 2),
            attributes: attributes(&span.attributes),
        }
    }
}

fn attributes(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
) -> HashMap<String, String> {
    let pairs = attributes.iter().filter_map(|attribute| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        Some((attribute.key.clone(), text(value)))
    });
    pairs.collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        Value::ArrayValue(array) => {
            let values = array.values.iter().filter_map(|value| value.value.as_ref());
            let texts: Vec<_> = values.map(text).collect();
            format!("[{}]", texts.join(","))
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
