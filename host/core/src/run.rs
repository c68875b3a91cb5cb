//! Takes accepted deliberations to their verdict.

use crate::chain::Chain;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use crate::entry::{Entry, Record};
use crate::ids::{DeliberationId, Digest, Seq};
use crate::journal::{self, Creation, IdempotencyKey};
use crate::live::{Handle, Live, Standing, Wish};
use crate::outcome::{Cause, CauseKind, Spent, Verdict};
use crate::session::{End, Ports, Session, Unopenable, open_work};
use crate::span;

/// How long a session rests before it is resumed, when the journal did not take its entries.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Runs sessions, each in a task of its own.
#[derive(Debug)]
pub struct RunDeliberation {
    ports: Ports,
    live: Live,
    places: Arc<Semaphore>,
    places_max: usize,
}

/// The host holds as many deliberations as it may.
#[derive(Debug, thiserror::Error)]
#[error("the host holds {0} unfinished deliberations, `limits.deliberations_max` allows no more")]
pub struct Full(pub usize);

/// A place for one deliberation, given back when it ends.
#[derive(Debug)]
pub struct Place(
    #[expect(dead_code, reason = "dropping it gives the place back")] OwnedSemaphorePermit,
);

/// Deliberations that the journal holds and that have not finished.
#[derive(Debug, Default)]
pub struct Unfinished {
    readable: Vec<(DeliberationId, Vec<Record>)>,
    corrupt: Vec<(DeliberationId, String)>,
    unsupported: usize,
}

/// What the deliberations that are resumed will ask for: all else that a host before has left is of no use.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Names of work, as [`Request::work_id`](crate::inference::Request::work_id) has them.
    pub work: HashSet<String>,
    /// The deliberations.
    pub deliberations: HashSet<DeliberationId>,
}

impl Unfinished {
    /// The plugins that these deliberations are pinned to; `None` when that cannot be told, because
    /// another build wrote some of them.
    #[must_use]
    pub fn pinned(&self) -> Option<Vec<Digest>> {
        if self.unsupported > 0 {
            return None;
        }
        let accepted = self.readable.iter().filter_map(|(_, records)| {
            match records.first().map(|record| &record.entry) {
                Some(Entry::Accepted(accepted)) => Some(accepted),
                _ => None,
            }
        });
        let digests = accepted.flat_map(|it| [it.strategy.digest, it.scorer.digest]);
        Some(digests.collect())
    }

    /// The work that a host before had under way for them, by the names that backends know it under, with
    /// the deliberations themselves; `None` when that cannot be told, as with [`Unfinished::pinned`].
    #[must_use]
    pub fn claims(&self) -> Option<Claims> {
        if self.unsupported > 0 {
            return None;
        }
        let work = self.readable.iter();
        let work = work.flat_map(|(id, records)| open_work(id, records));
        Some(Claims {
            work: work.collect(),
            deliberations: self.readable.iter().map(|(id, _)| id.clone()).collect(),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readable.len() + self.corrupt.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RunDeliberation {
    /// Runs at most `places_max` deliberations at once.
    #[must_use]
    pub fn new(ports: Ports, live: Live, places_max: usize) -> Arc<Self> {
        Arc::new(Self {
            ports,
            live,
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
        })
    }

    /// The deliberations that it holds.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Takes a place for a new deliberation.
    ///
    /// # Errors
    /// [`Full`] when there is none.
    pub fn place(&self) -> Result<Place, Full> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(Place).map_err(|_| Full(self.places_max))
    }

    /// Journals a deliberation's first record, and runs it. Goes on when its future is dropped: what
    /// the journal took is run.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn accept(
        self: &Arc<Self>,
        id: &DeliberationId,
        accepted: Arc<Record>,
        key: Option<IdempotencyKey>,
        place: Place,
    ) -> Result<Creation, journal::Error> {
        let (run, id) = (Arc::clone(self), id.clone());
        let task = self.ports.tasks.spawn("submit", async move {
            // Known before it is durable, so that a second submit with its key finds it.
            let handle = run.live.insert(&id, Arc::clone(&accepted));
            let created = run.ports.journal.create(&id, &accepted, key.as_ref()).await;
            match &created {
                Ok(Creation::New) => {
                    handle.note_accepted();
                    let observers = &run.ports.observers;
                    observers.journaled(handle.accepted(), handle.accepted());
                    run.start(id, handle, place);
                }
                Ok(Creation::Existing(_)) | Err(_) => run.live.remove(&id),
            }
            created
        });
        task.await
            .unwrap_or_else(|error| Err(journal::Error::Unavailable(error.into())))
    }

    fn start(self: &Arc<Self>, id: DeliberationId, handle: Arc<Handle>, place: Place) {
        let records = vec![handle.accepted().clone()];
        let run = Arc::clone(self);
        self.ports.tasks.spawn("deliberation", async move {
            run.to_its_end(&id, &handle, records).await;
            drop(place);
        });
    }

    /// Reads what did not finish before the last stop of a host.
    ///
    /// # Errors
    /// When the journal cannot be read. A damaged deliberation is no error: it fails when resumed.
    pub async fn unfinished(&self) -> Result<Unfinished, journal::Error> {
        let mut unfinished = Unfinished::default();
        for id in self.ports.journal.unfinished().await? {
            match self.ports.journal.read(&id, Seq::START).await {
                Ok(records) if records.is_empty() => {
                    unfinished
                        .corrupt
                        .push((id, "it holds no entry".to_owned()));
                }
                Ok(records) => unfinished.readable.push((id, records)),
                Err(error @ journal::Error::Corrupt { .. }) => {
                    unfinished.corrupt.push((id, error.to_string()));
                }
                Err(error @ journal::Error::Unsupported { .. }) => {
                    tracing::error!(%id, error = %Chain(&error), "a deliberation rests");
                    unfinished.unsupported += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(unfinished)
    }

    /// Goes on with unfinished deliberations. They are known to watchers when this returns, and run
    /// as places are free.
    pub async fn resume(self: &Arc<Self>, unfinished: Unfinished) {
        for (id, reason) in unfinished.corrupt {
            self.fail_corrupt(&id, reason).await;
        }
        for (id, records) in unfinished.readable {
            let Some(accepted) = records.first().cloned() else {
                continue;
            };
            let handle = self.live.insert(&id, Arc::new(accepted));
            handle.note_accepted();
            let run = Arc::clone(self);
            self.ports.tasks.spawn("deliberation", async move {
                let place = tokio::select! {
                    place = Arc::clone(&run.places).acquire_owned() => Some(place),
                    wish = handle.wished() => match wish {
                        // It ends at once, and needs no place for it.
                        Wish::Cancel(_) => None,
                        Wish::Pause | Wish::Run => return run.let_rest(&id, &handle),
                    },
                };
                run.to_its_end(&id, &handle, records).await;
                drop(place);
            });
        }
    }

    /// Runs the session, and runs it again from its journal while that does not take its entries.
    async fn to_its_end(&self, id: &DeliberationId, handle: &Arc<Handle>, records: Vec<Record>) {
        let mut records = Some(records);
        loop {
            let records = match records.take() {
                Some(records) => records,
                None => match self.read_again(id, handle).await {
                    Some(records) => records,
                    None => return,
                },
            };
            if let Some(finished) = finished(&records) {
                return self.conclude(id, handle, finished);
            }
            match self.run_session(handle, records).await {
                Ok(End::Finished(record)) => return self.conclude(id, handle, record),
                Ok(End::Paused) => return self.let_rest(id, handle),
                Ok(End::Unwritable(error)) if error.is_retryable() => {
                    tracing::error!(%id, error = %Chain(&error), "the journal takes no entries; the deliberation rests");
                }
                Ok(End::Unwritable(error)) => {
                    tracing::error!(%id, error = %Chain(&error), "the deliberation rests on this host");
                    return self.let_rest(id, handle);
                }
                Err(reason) => {
                    self.fail_corrupt(id, reason).await;
                    return self.let_rest(id, handle);
                }
            }
        }
    }

    /// One run of the session; the error is why it can never run.
    async fn run_session(&self, handle: &Arc<Handle>, records: Vec<Record>) -> Result<End, String> {
        let ports = self.ports.clone();
        let session = match Session::open(ports, Arc::clone(handle), records) {
            Ok(session) => session,
            Err(error @ Unopenable::Corrupt) => return Err(error.to_string()),
            Err(error @ Unopenable::Semantics(_)) => {
                tracing::error!(error = %Chain(&error), "a session rests");
                return Ok(End::Paused);
            }
        };
        let span = self.ports.spans.of(handle.accepted());
        let run = AssertUnwindSafe(session.run()).catch_unwind();
        let run = run.instrument(span.clone()).await;
        if let Ok(End::Finished(last)) = &run {
            span::note_end(&span, last);
        }
        Ok(run.unwrap_or_else(|_| {
            tracing::error!("a session panicked; it rests until the host starts again");
            session.give_up();
            End::Paused
        }))
    }

    /// Reads the journal once it answers; `None` when the deliberation shall rest instead.
    async fn read_again(&self, id: &DeliberationId, handle: &Arc<Handle>) -> Option<Vec<Record>> {
        loop {
            tokio::select! {
                () = self.ports.clock.sleep(JOURNAL_RETRY) => {}
                // A wish to cancel is fulfilled by the session, once the journal takes that.
                () = handle.paused() => {
                    self.let_rest(id, handle);
                    return None;
                }
            }
            match self.ports.journal.read(id, Seq::START).await {
                Ok(records) => return Some(records),
                Err(error) if error.is_retryable() => {}
                Err(error @ journal::Error::Unsupported { .. }) => {
                    tracing::error!(%id, error = %Chain(&error), "a deliberation rests");
                    self.let_rest(id, handle);
                    return None;
                }
                Err(error) => {
                    self.fail_corrupt(id, error.to_string()).await;
                    self.let_rest(id, handle);
                    return None;
                }
            }
        }
    }

    fn conclude(&self, id: &DeliberationId, handle: &Handle, last: Arc<Record>) {
        self.live.remove(id);
        handle.stand(Standing::Finished(last));
    }

    fn let_rest(&self, id: &DeliberationId, handle: &Handle) {
        self.live.remove(id);
        handle.stand(Standing::Paused);
    }

    /// Ends a deliberation whose journal is damaged, behind whatever it holds.
    async fn fail_corrupt(&self, id: &DeliberationId, reason: String) {
        tracing::error!(%id, reason, "the journal of a deliberation is damaged; it fails");
        let journal = &self.ports.journal;
        // The journal says where it ends when it is asked to write where it does not.
        let Err(journal::Error::Fenced { actual, .. }) =
            journal.append(id, Seq(u64::MAX - 1), &[]).await
        else {
            return;
        };
        let message = format!("the journal of the deliberation is damaged: {reason}");
        let accepted = self.live.get(id);
        let accepted_at_ms = accepted
            .as_ref()
            .and_then(|handle| match &handle.accepted().entry {
                Entry::Accepted(accepted) => Some(accepted.accepted_at_ms),
                _ => None,
            });
        let now_ms = self.ports.clock.unix_ms();
        let record = Record {
            seq: actual.next(),
            at_ms: accepted_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms)),
            entry: Entry::Finished {
                verdict: Verdict::Failed(Cause::new(CauseKind::JournalCorrupt, message)),
                spent: Spent::default(),
            },
        };
        let record = Arc::new(record);
        if let Err(error) = journal.append(id, actual, &[Arc::clone(&record)]).await {
            tracing::error!(%id, error = %Chain(&error), "the failure could not be journaled");
        } else if let Some(handle) = accepted {
            self.ports.observers.journaled(handle.accepted(), &record);
        }
    }
}

fn finished(records: &[Record]) -> Option<Arc<Record>> {
    let last = records.last()?;
    matches!(last.entry, Entry::Finished { .. }).then(|| Arc::new(last.clone()))
}
