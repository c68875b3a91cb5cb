//! Publishes what the journal owes to the outside: at least once, and in order for each deliberation.
//!
//! The journal is the outbox. A [`Ledger`] beside it knows which deliberations owe events and up to
//! where they were acknowledged; the events themselves are derived from the entries when they are
//! published. So an outage of the sink costs no memory, and a restart forgets nothing: what was not
//! acknowledged is published again, as the same event.

mod round;

#[cfg(test)]
mod tests;

use crate::chain::Chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::entry::{Accepted, Record};
use crate::events::{self, Event, Events, Telling};
use crate::ids::{DeliberationId, Seq};
use crate::journal::{self, Journal};
use crate::observer::Observer;

use self::round::Round;

/// A deliberation that owes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Which.
    pub id: DeliberationId,
    /// The entry up to which all of its events are published.
    pub acknowledged: Seq,
    /// Its last entry that an event comes of.
    pub due: Seq,
    /// Whether that is its end.
    pub finished: bool,
}

/// Knows what the journal owes. A told entry is owed in the same write that makes it durable.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The deliberations that owe events, those first that have done so for longest; at most `limit`.
    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, journal::Error>;

    /// Takes note that events are published up to these entries. A deliberation that it does not know,
    /// or knows to be further, is left as it is.
    async fn acknowledge(&self, through: &[(DeliberationId, Seq)]) -> Result<(), journal::Error>;

    /// How many deliberations owe events.
    async fn pending(&self) -> Result<u64, journal::Error>;
}

/// Deliberations whose events are published at the same time, each with one event on its way: enough
/// that the way to the sink and back is not what bounds the rate, and few enough that their events fit
/// into memory.
pub const DELIBERATIONS_AT_ONCE: usize = 64;

/// The first wait after a failure; it doubles with each further one.
const RETRY_BASE: Duration = Duration::from_millis(100);

/// The bound of every wait after a failure: so soon after its return a sink gets events again.
const RETRY_CAP: Duration = Duration::from_secs(5);

/// How long what is owed may be published after a wish to stop.
const FLUSH: Duration = Duration::from_secs(3);

/// What was published in this life of the host.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that the sink took.
    pub published: AtomicU64,
    /// Attempts that failed and are repeated.
    pub retried: AtomicU64,
    /// Events that the sink will never take; they are in the log and in the journal.
    pub refused: AtomicU64,
}

/// Publishes what is owed.
pub struct Outbox {
    journal: Arc<dyn Journal>,
    ledger: Arc<dyn Ledger>,
    sink: Arc<dyn Events>,
    telling: Telling,
    wake: Arc<Notify>,
    counters: Counters,
    impaired: AtomicBool,
}

impl Outbox {
    /// Publishes from this journal to this sink.
    #[must_use]
    pub fn new(
        journal: Arc<dyn Journal>,
        ledger: Arc<dyn Ledger>,
        sink: Arc<dyn Events>,
        telling: Telling,
    ) -> Self {
        Self {
            journal,
            ledger,
            sink,
            telling,
            wake: Arc::new(Notify::new()),
            counters: Counters::default(),
            impaired: AtomicBool::new(false),
        }
    }

    /// Wakes the outbox at each entry that is told. Without it, what is owed is found a while later.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Waker {
            telling: self.telling,
            wake: Arc::clone(&self.wake),
        })
    }

    /// What was published so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the last event that was tried was not taken.
    #[must_use]
    pub fn is_impaired(&self) -> bool {
        self.impaired.load(Ordering::Relaxed)
    }

    /// How many deliberations owe events now.
    ///
    /// # Errors
    /// When the journal does not answer.
    pub async fn pending(&self) -> Result<u64, journal::Error> {
        self.ledger.pending().await
    }

    /// Publishes until `stop`, and then what is still owed, for a few seconds at most. Run it once at
    /// a time. Dropping the future loses nothing.
    pub async fn run(&self, stop: CancellationToken) {
        Round::new(self).run(stop).await;
    }

    /// Publishes what a deliberation owes; the entry up to which it is done. The error says that it
    /// cannot be told now, and why.
    async fn deliver(&self, owed: &Owed) -> Result<Seq, journal::Error> {
        let records = match self.journal.read(&owed.id, Seq::START).await {
            Ok(records) => records,
            Err(error @ journal::Error::Corrupt { .. }) if owed.finished => {
                let event = events::damaged(&owed.id, owed.due, &error.to_string());
                self.publish(&event).await;
                return Ok(owed.due);
            }
            Err(error) => return Err(error),
        };
        let last = records.last().map_or(owed.due, |record| record.seq);
        let events = events::of(&records, owed.acknowledged, self.telling);
        // An outage may last; the events are all that is needed.
        drop(records);
        for event in &events {
            self.publish(event).await;
        }
        Ok(last)
    }

    /// Publishes one event, again and again until the sink takes it or says that it never will.
    async fn publish(&self, event: &Event) {
        let mut wait = RETRY_BASE;
        loop {
            let error = match self.sink.publish(event).await {
                Ok(()) => {
                    self.counters.published.fetch_add(1, Ordering::Relaxed);
                    if self.impaired.swap(false, Ordering::Relaxed) {
                        tracing::info!("events are published again");
                    }
                    return;
                }
                Err(error) => error,
            };
            if !self.note_failure(event, &error) {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_CAP);
        }
    }

    /// Counts and tells a failure; whether the event can be tried again.
    fn note_failure(&self, event: &Event, error: &events::Error) -> bool {
        let cause = Chain(error);
        if !error.is_retryable() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                id = %event.deliberation, subject = event.subject, error = %cause,
                "an event cannot be published, now or later"
            );
            return false;
        }
        self.counters.retried.fetch_add(1, Ordering::Relaxed);
        if !self.impaired.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %cause,
                "events cannot be published; the journal keeps them until they can"
            );
        }
        true
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("telling", &self.telling)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

struct Waker {
    telling: Telling,
    wake: Arc<Notify>,
}

impl Observer for Waker {
    fn journaled(&self, _: &Accepted, record: &Record) {
        if self.telling.tells(&record.entry) {
            self.wake.notify_one();
        }
    }
}
