//! How the connection stands, and what became of events.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::Event as Change;
use conclave_core::chain::Chain;
use conclave_core::events::Error;

/// How NATS stands, for people and for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a server is connected.
    pub connected: bool,
    /// Subjects of events that no stream keeps: what nobody heard when it was published is lost.
    pub uncovered: Vec<String>,
    /// Events that were published, those of uncovered subjects too.
    pub published: u64,
    /// Those of uncovered subjects.
    pub published_uncovered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// The last failure, of the connection or of an event.
    pub last_error: Option<String>,
}

/// Subjects that are remembered by name: a plugin chooses the last part of some.
const UNCOVERED_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Shared {
    published: AtomicU64,
    published_uncovered: AtomicU64,
    failed: AtomicU64,
    uncovered: Mutex<BTreeSet<String>>,
    last_error: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn status(&self, connected: bool) -> Status {
        Status {
            connected,
            uncovered: lock(&self.uncovered).iter().cloned().collect(),
            published: self.published.load(Ordering::Relaxed),
            published_uncovered: self.published_uncovered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_error: lock(&self.last_error).clone(),
        }
    }

    /// Takes note of what the client says of its connection.
    pub(super) fn note(&self, change: &Change) {
        match change {
            Change::Connected => tracing::info!("NATS is connected"),
            Change::Disconnected => tracing::warn!("NATS is disconnected"),
            Change::ServerError(_) | Change::ClientError(_) => {
                let text = change.to_string();
                let last = lock(&self.last_error).replace(text.clone());
                // The client tells each attempt to connect.
                if last.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "NATS tells an error");
                }
            }
            _ => {}
        }
    }

    pub(super) fn count(&self, error: Option<&Error>) {
        match error {
            None => {
                self.published.fetch_add(1, Ordering::Relaxed);
            }
            Some(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                *lock(&self.last_error) = Some(Chain(error).to_string());
            }
        }
    }

    pub(super) fn note_uncovered(&self, subject: &str, reason: &str) {
        self.published_uncovered.fetch_add(1, Ordering::Relaxed);
        let mut uncovered = lock(&self.uncovered);
        if uncovered.len() < UNCOVERED_MAX && uncovered.insert(subject.to_owned()) {
            tracing::warn!(
                subject,
                reason,
                "no stream covers the subject: its events are lost to who does not listen"
            );
        }
    }

    pub(super) fn note_covered(&self, subject: &str) {
        lock(&self.uncovered).remove(subject);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
