//! What the host tells of itself while it runs: a log to stderr, and traces to an OTLP collector.

mod context;
mod export;
pub mod gen_ai;
mod log;
pub mod spans;
mod traces;

use crate::config::{Log, Telemetry};

pub use self::context::TraceHeaders;
pub use self::log::{AUDIT, AlreadyStarted, READY};
pub use self::traces::Traces;

/// Why the host cannot tell of itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another part of the process logs already.
    #[error(transparent)]
    Log(#[from] AlreadyStarted),
    /// The exporter of traces cannot be made.
    #[error("traces cannot be exported; check `telemetry.otlp_endpoint` and the variables OTEL_*")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Starts the log and, where a collector is configured, traces; for the rest of the process.
///
/// # Errors
/// When it was started before, or the exporter cannot be made.
pub fn start(log: &Log, telemetry: &Telemetry) -> Result<Option<Traces>, Error> {
    let traces = Traces::start(telemetry)?;
    log::start(log, traces.as_ref())?;
    Ok(traces)
}
