//! Logs, to stderr: for people on a terminal, one JSON object a line elsewhere. What the host logs
//! never holds prompts or answers. What plugins write may, and is logged when the operator says so.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, registry};

use super::spans;
use super::traces::Traces;
use crate::config::{Format, Log};

/// The target of the one event that tells the addresses. It is logged at every level: whoever starts
/// a host on port 0 learns the port from it.
pub const READY: &str = "conclave::ready";

/// The target of the audit log, whose records are logged at every level, too.
pub const AUDIT: &str = "conclave::audit";

/// Logging was started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging cannot be started")]
pub struct AlreadyStarted(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Starts logging, and handing spans to the export of traces, for the rest of the process.
///
/// # Errors
/// When it was started before.
pub(super) fn start(log: &Log, traces: Option<&Traces>) -> Result<(), AlreadyStarted> {
    let terminal = io::stderr().is_terminal();
    subscriber(log, terminal, io::stderr, traces)
        .try_init()
        .map_err(|error| AlreadyStarted(error.into()))
}

fn subscriber<W>(
    log: &Log,
    terminal: bool,
    writer: W,
    traces: Option<&Traces>,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let Some(traces) = traces else {
        let lines = lines(log, terminal, writer);
        return Box::new(registry().with(filter(log)).with(lines));
    };
    let exported = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        // Spans know their parents by themselves.
        .with_context_activation(false)
        .with_filter(filter_fn(|metadata| {
            metadata.is_span() && metadata.target() == spans::TARGET
        }));
    let lines = lines(log, terminal, writer).with_filter(filter(log));
    Box::new(registry().with(lines).with(exported))
}

/// The lines of the log.
fn lines<S, W>(log: &Log, terminal: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let pretty = match log.format {
        Format::Auto => terminal,
        Format::Pretty => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    if pretty {
        Box::new(lines.with_ansi(terminal))
    } else {
        Box::new(lines.json().flatten_event(true).with_current_span(false))
    }
}

fn filter(log: &Log) -> EnvFilter {
    let directive = |text: &str| text.parse().expect("it is a directive");
    let mut filter = log.level.filter();
    if !log.plugins {
        filter = filter.add_directive(directive("conclave::plugin=off"));
    }
    // The NATS client tells each attempt to connect; the adapter tells when that changes.
    let filter = filter.add_directive(directive("async_nats=warn"));
    let always = |target| directive(&format!("{target}=info"));
    filter
        .add_directive(always(READY))
        .add_directive(always(AUDIT))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::Level;

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

    /// What is logged at this level, away from a terminal.
    fn logged(level: &str, format: Format) -> String {
        logged_with(level, format, false)
    }

    fn logged_with(level: &str, format: Format, plugins: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let level = Level::parse(level).unwrap();
        let log = Log {
            level,
            format,
            plugins,
        };
        let subscriber = subscriber(&log, false, move || writer.clone(), None);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: READY, grpc_addr = "127.0.0.1:1", "ready");
            tracing::info!("small");
            tracing::error!("large");
            tracing::info!(target: "h2", "frame");
            tracing::error!(target: "conclave::plugin", "an answer");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn away_from_a_terminal_a_line_is_a_json_object() {
        let logged = logged("info", Format::Auto);
        let ready: serde_json::Value =
            serde_json::from_str(logged.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&ready["message"], &ready["grpc_addr"]),
            (&"ready".into(), &"127.0.0.1:1".into())
        );
        assert!(
            !logged.contains("frame"),
            "libraries log warnings only: {logged}"
        );
    }

    #[test]
    fn what_plugins_write_is_logged_when_the_operator_says_so() {
        for level in ["info", "trace", "conclave=debug"] {
            let without = logged(level, Format::Json);
            assert!(without.contains("large"), "{without}");
            assert!(!without.contains("an answer"), "{without}");
            let with = logged_with(level, Format::Json, true);
            assert!(with.contains("an answer"), "{with}");
        }
    }

    #[test]
    fn the_addresses_are_told_at_every_level() {
        let logged = logged("CRITICAL", Format::Pretty);
        assert!(
            logged.contains("ready") && logged.contains("large") && !logged.contains("small"),
            "{logged}"
        );
        assert!(!logged.contains('\u{1b}'), "{logged}");
    }
}
