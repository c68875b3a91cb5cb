//! Logs, to stderr: for people on a terminal, one JSON object a line elsewhere. What is logged never
//! holds prompts or answers.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Format, Log};

/// The target of the one event that tells the addresses. It is logged at every level: whoever starts
/// a host on port 0 learns the port from it.
pub const READY: &str = "conclave::ready";

/// Logging was started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging cannot be started")]
pub struct AlreadyStarted(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Starts logging, for the rest of the process.
///
/// # Errors
/// When it was started before.
pub fn start(log: &Log) -> Result<(), AlreadyStarted> {
    let terminal = io::stderr().is_terminal();
    subscriber(log, terminal, io::stderr)
        .try_init()
        .map_err(|error| AlreadyStarted(error.into()))
}

fn subscriber<W>(log: &Log, terminal: bool, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let pretty = match log.format {
        Format::Auto => terminal,
        Format::Pretty => true,
        Format::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_writer(writer);
    if pretty {
        Box::new(builder.with_ansi(terminal).finish())
    } else {
        Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish(),
        )
    }
}

fn filter(log: &Log) -> EnvFilter {
    let ready = format!("{READY}=info").parse().expect("it is a directive");
    log.level.filter().add_directive(ready)
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
        let lines = Lines::default();
        let writer = lines.clone();
        let level = Level::parse(level).unwrap();
        let subscriber = subscriber(&Log { level, format }, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: READY, grpc_addr = "127.0.0.1:1", "ready");
            tracing::info!("small");
            tracing::error!("large");
            tracing::info!(target: "h2", "frame");
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
    fn the_addresses_are_told_at_every_level() {
        let logged = logged("CRITICAL", Format::Pretty);
        assert!(
            logged.contains("ready") && logged.contains("large") && !logged.contains("small"),
            "{logged}"
        );
        assert!(!logged.contains('\u{1b}'), "{logged}");
    }
}
