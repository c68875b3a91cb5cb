//! What is known of the connection, and of events that no stream keeps.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::Event as Change;

/// Subjects that are remembered by name: a plugin chooses the last part of some.
const UNCOVERED_MAX: usize = 64;

/// What is known of the connection and of events beyond the outbox's own counts.
#[derive(Debug, Default)]
pub(super) struct Shared {
    published_uncovered: AtomicU64,
    uncovered: Mutex<BTreeSet<String>>,
    /// What the client told last, so that it is logged once.
    last_error: Mutex<Option<String>>,
}

impl Shared {
    /// How many events went out whose subjects no stream covers.
    pub(super) fn published_uncovered(&self) -> u64 {
        self.published_uncovered.load(Ordering::Relaxed)
    }

    /// The subjects of events that no stream keeps.
    pub(super) fn uncovered(&self) -> Vec<String> {
        lock(&self.uncovered).iter().cloned().collect()
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
