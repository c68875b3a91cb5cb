//! Tells of an exporter that fails, without a storm in the log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::traces::Exported;

/// How often a collector that is down is told of.
const WARNING_EVERY: Duration = Duration::from_secs(300);

/// An exporter whose failures are counted, and told at the first and then from time to time.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    exported: Arc<Exported>,
    /// When it was last told that the exporter fails; `None` while it does not.
    warned: Mutex<Option<Instant>>,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, exported: Arc<Exported>) -> Self {
        Self {
            exporter,
            exported,
            warned: Mutex::new(None),
        }
    }

    fn note(&self, spans: usize, result: &OTelSdkResult) {
        let counter = match result {
            Ok(()) => &self.exported.sent,
            Err(_) => &self.exported.failed,
        };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if warned.take().is_some() {
                    tracing::info!("traces are exported again");
                }
            }
            Err(error) if warned.is_none_or(|at| at.elapsed() >= WARNING_EVERY) => {
                *warned = Some(Instant::now());
                let lost = self.exported.failed();
                tracing::warn!(%error, lost, "traces cannot be exported; check the collector at `telemetry.otlp_endpoint`");
            }
            Err(_) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.note(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_is_down_is_told_once_and_so_is_its_return() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        let exported = Arc::new(Exported::default());
        let watched = Watched::new((), Arc::clone(&exported));
        let down = || OTelSdkResult::Err(OTelSdkError::InternalFailure("refused".to_owned()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..50 {
                watched.note(2, &down());
            }
            watched.note(3, &Ok(()));
            watched.note(3, &Ok(()));
        });
        let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(logged.matches("cannot be exported").count(), 1, "{logged}");
        assert_eq!(logged.matches("exported again").count(), 1, "{logged}");
        assert_eq!((exported.sent(), exported.failed()), (6, 100));
    }
}
