//! The thread that writes, and the queue before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use conclave_core::events::Telling;
use conclave_core::journal::Error;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::sqlite::checkpoint::Checkpointer;
use crate::sqlite::transaction::{Done, Failure, Group, Write};
use crate::sqlite::{outbox, storage_error, unavailable};

/// Writes that may wait. A session has one under way, so this many sessions write without waiting
/// for room.
const QUEUE_MAX: usize = 1024;

/// Writes of one commit: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 512;

/// A probe that takes longer is a failed one: a disk that hangs is as bad as a full one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What one batch costs in the log besides its body: a page of its deliberation's row, its share of
/// the index pages.
const BATCH_OVERHEAD_BYTES: usize = 1024;

type Answer = Result<Done, Error>;

/// The queue before the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once the thread shall end.
    queue: Option<mpsc::Sender<Request>>,
    healthy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for.
enum Request {
    Write {
        write: Write,
        answer: oneshot::Sender<Answer>,
    },
    #[cfg(test)]
    Inspect(Box<dyn FnOnce(&Connection) + Send>),
}

impl Writer {
    /// Starts the thread on its connection, and the one that moves the log.
    pub(super) fn start(
        connection: Connection,
        checkpoints: Connection,
        telling: Telling,
        on_commit: OnCommit,
    ) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let healthy = Arc::new(AtomicBool::new(true));
        let thread = Thread {
            checkpointer: Checkpointer::start(checkpoints)?,
            connection,
            telling,
            healthy: Arc::clone(&healthy),
            on_commit,
        };
        let thread = Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || thread.run(requests))?;
        Ok(Self {
            queue: Some(queue),
            healthy,
            thread: Some(thread),
        })
    }

    /// Writes durably. When the caller goes away, what it asked for may or may not be written.
    pub(super) async fn write(&self, write: Write) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = Request::Write { write, answer };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Whether the last write succeeded, or else a small one does now.
    pub(super) async fn healthy(&self) -> bool {
        if self.last_write_succeeded() {
            return self
                .thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished());
        }
        let probe = tokio::time::timeout(PROBE_TIMEOUT, self.write(Write::Probe));
        matches!(probe.await, Ok(Ok(_)))
    }

    /// Writes that wait for a commit.
    pub(super) fn queued(&self) -> usize {
        let room = self.queue.as_ref().map(mpsc::Sender::capacity);
        QUEUE_MAX - room.unwrap_or(QUEUE_MAX)
    }

    pub(super) fn last_write_succeeded(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Runs `inspect` on the writer's connection, between two commits.
    #[cfg(test)]
    pub(super) async fn inspect<T: Send + 'static>(
        &self,
        inspect: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = oneshot::channel();
        let inspect = Box::new(move |connection: &Connection| {
            let _ = answer.send(inspect(connection));
        });
        self.send(Request::Inspect(inspect)).await.unwrap();
        answered.await.unwrap()
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(request).await.map_err(|_| stopped())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It only ends by a panic otherwise, which has been reported.
            let _ = thread.join();
        }
    }
}

fn stopped() -> Error {
    unavailable("the journal's writer has stopped")
}

/// What the thread works with.
struct Thread {
    // Dropped first, so that this connection is the last one, which empties the log.
    checkpointer: Checkpointer,
    connection: Connection,
    telling: Telling,
    healthy: Arc<AtomicBool>,
    on_commit: OnCommit,
}

/// A transaction that ended.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// How long it took, until it was durable.
    pub took: Duration,
    /// How many writes it held.
    pub writes: usize,
    /// Whether the storage failed it.
    pub failed: bool,
}

/// Is told of every transaction that ended, on the thread that writes.
pub type OnCommit = Box<dyn Fn(&Commit) + Send>;

impl Thread {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        // Takes what is queued, and waits only when nothing is; ends when the queue is closed and empty.
        while requests.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let mut writes = Vec::with_capacity(group.len());
            let mut answers = Vec::with_capacity(group.len());
            for request in group.drain(..) {
                match request {
                    Request::Write { write, answer } => {
                        writes.push(write);
                        answers.push(answer);
                    }
                    #[cfg(test)]
                    Request::Inspect(inspect) => inspect(&self.connection),
                }
            }
            let done = self.commit(&writes);
            for (answer, done) in answers.into_iter().zip(done) {
                // A caller that went away needs no answer.
                let _ = answer.send(done);
            }
            let bytes = writes.iter().map(log_bytes).sum();
            self.checkpointer.committed(bytes, &self.connection);
        }
    }

    /// Commits the writes together. If the storage fails, each is tried alone, so that one that can
    /// not be written does not keep the others out.
    fn commit(&mut self, writes: &[Write]) -> Vec<Answer> {
        let started = Instant::now();
        let done = self.transact(writes);
        (self.on_commit)(&Commit {
            took: started.elapsed(),
            writes: writes.len(),
            failed: done.is_err(),
        });
        match (done, writes) {
            (Ok(answers), _) => {
                // A transaction that wrote nothing succeeds on a full disk, too.
                if answers
                    .iter()
                    .any(|answer| matches!(answer, Ok(Done::Written)))
                {
                    self.note_health(None);
                }
                answers
            }
            (Err(error), [write]) => {
                self.note_health(Some(&error));
                vec![Err(match write {
                    Write::Create { batch, .. } | Write::Append(batch) => {
                        storage_error(&batch.id, batch.after.next(), error)
                    }
                    Write::Acknowledge(_) | Write::Probe => unavailable(error),
                })]
            }
            (Err(_), writes) => writes
                .chunks(1)
                .flat_map(|write| self.commit(write))
                .collect(),
        }
    }

    /// One transaction: when it is answered, it is durable.
    fn transact(&mut self, writes: &[Write]) -> rusqlite::Result<Vec<Answer>> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let mut group = Group::new(&transaction, self.telling)?;
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            answers.push(match group.apply(write) {
                Ok(done) => Ok(done),
                Err(Failure::Refused(error)) => Err(error),
                Err(Failure::Storage(error)) => return Err(error),
            });
        }
        group.finish()?;
        transaction.commit()?;
        Ok(answers)
    }

    fn note_health(&self, error: Option<&rusqlite::Error>) {
        let was = self.healthy.swap(error.is_none(), Ordering::Relaxed);
        match error {
            Some(error) if was => tracing::error!(%error, "the journal takes no writes"),
            None if !was => tracing::info!("the journal takes writes again"),
            _ => {}
        }
    }
}

/// About how much a write adds to the log.
fn log_bytes(write: &Write) -> usize {
    match write {
        Write::Create { batch, .. } | Write::Append(batch) => {
            batch.body.len() + BATCH_OVERHEAD_BYTES
        }
        Write::Acknowledge(through) => through.len() * outbox::ACKNOWLEDGEMENT_BYTES,
        Write::Probe => BATCH_OVERHEAD_BYTES,
    }
}
