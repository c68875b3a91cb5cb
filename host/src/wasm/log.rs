//! What plugins write for people: bounded, named by deliberation and plugin, and silent in a replay.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conclave_core::session::Guest;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A line of standard output or error that is longer is cut into several.
const LINE_BYTES_MAX: usize = 4 << 10;
/// What a line costs beside its message: time, level, names.
const LINE_OVERHEAD_BYTES: u64 = 100;
/// What a stream takes in one write.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The log of one instance. Clones write to the same one.
#[derive(Clone)]
pub(super) struct Log {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    plugin: String,
    guest: Option<Guest>,
    bytes_max: u64,
    bytes_left: u64,
    full: bool,
}

impl Log {
    pub(super) fn new(plugin: &str, guest: Option<Guest>, bytes_max: u64) -> Self {
        let shared = Shared {
            plugin: plugin.to_owned(),
            guest,
            bytes_max,
            bytes_left: bytes_max,
            full: false,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Writes a message, unless the log is full or the session replays.
    pub(super) fn write(&self, level: Level, message: &str) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.write(level, message);
    }

    /// A stream whose lines are messages of this level.
    pub(super) fn stream(&self, level: Level) -> LogStream {
        LogStream {
            line: Arc::new(Mutex::new(Line {
                log: self.clone(),
                level,
                bytes: Vec::new(),
            })),
        }
    }
}

impl Shared {
    fn write(&mut self, level: Level, message: &str) {
        if self.guest.as_ref().is_some_and(Guest::replaying) {
            return;
        }
        if self.full {
            return;
        }
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        let bytes = bytes.saturating_add(LINE_OVERHEAD_BYTES);
        if bytes <= self.bytes_left {
            self.bytes_left -= bytes;
            self.event(level, message);
        } else {
            self.full = true;
            let max = self.bytes_max;
            self.event(
                Level::WARN,
                &format!("log limit of {max} bytes reached, further lines are dropped"),
            );
        }
    }

    fn event(&self, level: Level, message: &str) {
        let plugin = self.plugin.as_str();
        let deliberation = self
            .guest
            .as_ref()
            .map(|guest| guest.deliberation().as_str());
        // The level of an event is part of its static description.
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(target: "conclave::plugin", $level, deliberation, plugin, "{message}")
            };
        }
        match level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::INFO => event!(Level::INFO),
            Level::DEBUG => event!(Level::DEBUG),
            Level::TRACE => event!(Level::TRACE),
        }
    }
}

/// Standard output or standard error of an instance.
#[derive(Clone)]
pub(super) struct LogStream {
    line: Arc<Mutex<Line>>,
}

/// The line that is being written.
struct Line {
    log: Log,
    level: Level,
    bytes: Vec<u8>,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(),
                byte => self.bytes.push(*byte),
            }
            if self.bytes.len() >= LINE_BYTES_MAX {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        if !self.bytes.is_empty() {
            let text = String::from_utf8_lossy(&self.bytes).into_owned();
            self.log.write(self.level, &text);
            self.bytes.clear();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What a subscriber wrote.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(bytes_max: u64, write: impl FnOnce(&Log)) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            write(&Log::new("vote@1.0.0", None, bytes_max));
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_exceeds_the_limit_is_dropped_and_said_once() {
        let text = written(212, |log| {
            log.write(Level::DEBUG, "first");
            log.write(Level::ERROR, "second");
            log.write(Level::INFO, "third");
            for _ in 0..1000 {
                log.write(Level::INFO, "");
            }
        });
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                r#"DEBUG conclave::plugin: first plugin="vote@1.0.0""#,
                r#"ERROR conclave::plugin: second plugin="vote@1.0.0""#,
                r#"WARN conclave::plugin: log limit of 212 bytes reached, further lines are dropped plugin="vote@1.0.0""#,
            ]
        );
        assert!(!text.contains("third"));
    }

    #[test]
    fn lines_of_a_stream_are_messages_and_the_last_needs_no_end() {
        let text = written(1 << 20, |log| {
            let mut stream = log.stream(Level::WARN);
            stream.write(Bytes::from_static(b"one\ntw")).unwrap();
            stream.write(Bytes::from_static(b"o\n\nthree")).unwrap();
            stream
                .write(Bytes::from(vec![b'x'; LINE_BYTES_MAX]))
                .unwrap();
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("plugin: one plugin="), "{text}");
        assert!(lines[1].contains("plugin: two plugin="), "{text}");
        assert!(lines[2].contains("plugin: threexxx"), "{text}");
        assert!(lines[3].contains("plugin: xxxxx plugin="), "{text}");
    }
}
