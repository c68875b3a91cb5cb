//! What a process writes to its standard error, while it runs.

use std::io::{BufRead as _, BufReader, Read};

use tokio::sync::watch;

use crate::patience::within;

/// The lines so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<String>,
    /// Whether there will be no more.
    pub(crate) ended: bool,
}

/// Collects lines in a thread, so that the process never waits for a reader.
#[derive(Debug)]
pub(crate) struct Log(watch::Receiver<Lines>);

impl Log {
    /// Reads until the other end is closed.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (lines, receiver) = watch::channel(Lines::default());
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.send_modify(|log| log.lines.push(line));
            }
            lines.send_modify(|log| log.ended = true);
        });
        Self(receiver)
    }

    /// Waits until the lines satisfy a condition, and gives what it finds.
    pub(crate) async fn find<T>(
        &self,
        what: &str,
        mut find: impl FnMut(&Lines) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut receiver = self.0.clone();
        let found = async {
            loop {
                if let Some(found) = find(&receiver.borrow_and_update()) {
                    return found;
                }
                if receiver.changed().await.is_err() {
                    // The thread is gone, after it had told that the stream ended.
                    std::future::pending::<()>().await;
                }
            }
        };
        within(what, found).await
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        self.0.borrow().lines.join("\n")
    }
}
