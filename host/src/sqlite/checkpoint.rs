//! Moves the write-ahead log into the file, beside the commits instead of within them.
//!
//! A thread copies the pages while the writer goes on. The log starts over only when nothing was
//! written behind the copy, which under load never happens by itself: so the writer then copies the
//! short rest, between two commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

/// So many bytes in the log make it worth copying. Pages that were written often are copied once,
/// and recovery after a crash reads at most a few times this much.
const LOG_BYTES: usize = 8 << 20;

/// The writer's side of the thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    /// `None` once the thread shall end.
    wake: Option<SyncSender<()>>,
    rest_is_due: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Bytes written since the thread was woken; an estimate.
    written: usize,
}

impl Checkpointer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let rest_is_due = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&rest_is_due);
        let thread = Builder::new()
            .name("journal-log".to_owned())
            .spawn(move || run(&connection, &woken, &done))?;
        Ok(Self {
            wake: Some(wake),
            rest_is_due,
            thread: Some(thread),
            written: 0,
        })
    }

    /// To be called after each commit, with about how many bytes it wrote.
    pub(super) fn committed(&mut self, bytes: usize, connection: &Connection) {
        self.written += bytes;
        if self.rest_is_due.swap(false, Ordering::Acquire) {
            copy(connection);
        }
        if self.written >= LOG_BYTES
            && let Some(wake) = &self.wake
            // When the thread is still busy with the last call, it is asked again after the next commit.
            && wake.try_send(()).is_ok()
        {
            self.written = 0;
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It only ends by a panic otherwise, which has been reported.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, done: &AtomicBool) {
    while woken.recv().is_ok() {
        copy(connection);
        done.store(true, Ordering::Release);
    }
}

/// Copies what no reader holds back. A failure loses nothing: the log is kept, and copied later.
fn copy(connection: &Connection) {
    let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = copied {
        tracing::warn!(%error, "the journal's log could not be moved into its file; it grows");
    }
}
