//! What the outbox has in hand: which deliberations are being told, and what is to be acknowledged.

use crate::chain::Chain;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DELIBERATIONS_AT_ONCE, FLUSH, Outbox, Owed};
use crate::ids::{DeliberationId, Seq};
use crate::journal;

/// How often the ledger is read when nothing wakes the outbox: it finds what ended without an observer,
/// and tries again what could not be read.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long an acknowledgement may wait for others, so that many are one write. Losing one costs a
/// publication that its readers recognise.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(100);

/// So many do not wait.
const ACKNOWLEDGED_AT_ONCE: usize = 256;

type Delivery<'a> = BoxFuture<'a, (DeliberationId, Result<Seq, journal::Error>)>;

pub(super) struct Round<'a> {
    outbox: &'a Outbox,
    deliveries: FuturesUnordered<Delivery<'a>>,
    /// Being told, or told and not acknowledged yet: at most one delivery each.
    in_hand: HashSet<DeliberationId>,
    /// They cannot be told now; they are left alone until the next slow look.
    resting: HashSet<DeliberationId>,
    told: Vec<(DeliberationId, Seq)>,
    /// When what is told must be acknowledged.
    acknowledge_at: Option<Instant>,
    /// Whether the ledger may owe what is not in hand.
    look: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(outbox: &'a Outbox) -> Self {
        Self {
            outbox,
            deliveries: FuturesUnordered::new(),
            in_hand: HashSet::new(),
            resting: HashSet::new(),
            told: Vec::new(),
            acknowledge_at: None,
            look: true,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut slow = tokio::time::interval(LOOK_EVERY);
        let mut end = None;
        loop {
            if self.told.len() >= ACKNOWLEDGED_AT_ONCE {
                self.acknowledge().await;
            }
            if self.look && self.deliveries.len() < DELIBERATIONS_AT_ONCE {
                self.take_up().await;
            }
            if end.is_some() && self.deliveries.is_empty() {
                break;
            }
            tokio::select! {
                Some((id, done)) = self.deliveries.next() => self.note(id, done),
                () = until(self.acknowledge_at) => self.acknowledge().await,
                () = self.outbox.wake.notified() => self.look = true,
                _ = slow.tick() => {
                    self.resting.clear();
                    self.look = true;
                }
                () = stop.cancelled(), if end.is_none() => {
                    end = Some(Instant::now() + FLUSH);
                    // What is in hand may owe more, behind what is told of it.
                    self.acknowledge().await;
                }
                () = until(end) => break,
            }
        }
        self.acknowledge().await;
    }

    /// Begins to tell what is owed and not in hand.
    async fn take_up(&mut self) {
        self.look = false;
        let known = self.in_hand.len() + self.resting.len();
        let owed = self.outbox.ledger.owed(known + DELIBERATIONS_AT_ONCE);
        let owed = match self.beside(owed).await {
            Ok(owed) => owed,
            Err(error) => {
                tracing::warn!(
                    error = %Chain(&error),
                    "what events are owed cannot be read; it is tried again"
                );
                return;
            }
        };
        for owed in owed {
            if self.in_hand.contains(&owed.id) || self.resting.contains(&owed.id) {
                continue;
            }
            if self.deliveries.len() >= DELIBERATIONS_AT_ONCE {
                self.look = true;
                return;
            }
            self.in_hand.insert(owed.id.clone());
            self.deliveries.push(deliver(self.outbox, owed).boxed());
        }
    }

    /// Awaits something while the deliveries go on: one that is not polled may hold what is waited for,
    /// a reader of the journal.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some((id, done)) = self.deliveries.next() => self.note(id, done),
            }
        }
    }

    fn note(&mut self, id: DeliberationId, done: Result<Seq, journal::Error>) {
        match done {
            Ok(through) => {
                self.told.push((id, through));
                self.acknowledge_at
                    .get_or_insert_with(|| Instant::now() + ACKNOWLEDGE_AFTER);
            }
            Err(error) => {
                tracing::warn!(
                    %id, error = %Chain(&error),
                    "the events of a deliberation cannot be told now"
                );
                self.in_hand.remove(&id);
                self.resting.insert(id);
            }
        }
    }

    /// Acknowledges what is told. If the journal does not take that, it is told again: readers know it
    /// by its key.
    async fn acknowledge(&mut self) {
        self.acknowledge_at = None;
        if self.told.is_empty() {
            return;
        }
        let told = std::mem::take(&mut self.told);
        let acknowledged = self.outbox.ledger.acknowledge(&told);
        let acknowledged = self.beside(acknowledged).await;
        let failed = acknowledged.is_err();
        if let Err(error) = acknowledged {
            tracing::warn!(
                error = %Chain(&error),
                "published events could not be acknowledged; they will be published again"
            );
        }
        for (id, _) in told {
            self.in_hand.remove(&id);
            // At the next slow look, so that a full disk makes no storm of events.
            if failed {
                self.resting.insert(id);
            }
        }
        // What was told of while it was in hand may owe more.
        self.look = true;
    }
}

async fn deliver(outbox: &Outbox, owed: Owed) -> (DeliberationId, Result<Seq, journal::Error>) {
    let done = outbox.deliver(&owed).await;
    (owed.id, done)
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
