//! Traces, exported by OTLP over gRPC in batches from a thread of their own.
//!
//! What waits is bounded, and dropped where the collector does not keep up. The variables
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_EXPORTER_OTLP_TIMEOUT` and `OTEL_BSP_*` are read by the SDK itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use super::export::Watched;
use crate::config::Telemetry;
use crate::metrics::{Kind, Metrics, Reading};

/// How long the last spans may take to leave: what is left of the time before Kubernetes kills.
const FLUSH: Duration = Duration::from_secs(2);

/// Spans that were handed to the exporter, by what became of them.
#[derive(Debug, Default)]
pub(super) struct Exported {
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Exported {
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The export of traces.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    exported: Arc<Exported>,
}

impl Traces {
    /// Starts the export where a collector is configured. The collector need not be there.
    pub(super) fn start(settings: &Telemetry) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.to_string())
            .build()?;
        let exported = Arc::new(Exported::default());
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(Watched::new(exporter, Arc::clone(&exported)));
        // The SDK's own default records all, or what OTEL_TRACES_SAMPLER says.
        if settings.sample_percent < 100 {
            let ratio = f64::from(settings.sample_percent) / 100.0;
            let root = Sampler::TraceIdRatioBased(ratio);
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(root)));
        }
        Ok(Some(Self {
            provider: provider.build(),
            exported,
        }))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("conclave")
    }

    fn exported(&self) -> Arc<Exported> {
        Arc::clone(&self.exported)
    }

    /// Has them counted as metrics.
    pub fn measure(&self, metrics: &Metrics) {
        let (sent, failed) = (self.exported(), self.exported());
        metrics.read(Reading::one(
            Kind::Counter,
            "conclave_trace_spans_exported",
            "Spans that the collector took; absent while none is configured",
            move || Some(sent.sent() as f64),
        ));
        metrics.read(Reading::one(
            Kind::Counter,
            "conclave_trace_spans_failed",
            "Spans that the collector did not take; absent while none is configured",
            move || Some(failed.failed() as f64),
        ));
    }

    /// Sends what waits, for two seconds at most, and stops.
    pub async fn stop(self) {
        // It blocks, and a thread of the runtime is what the exporter's connection needs.
        let stopped =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH));
        if let Ok(Err(error)) = stopped.await {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}
