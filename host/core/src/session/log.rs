//! The session's end of its journal: what was appended, and how much of it is durable.
//!
//! Appending does not wait. A writer task hands batches to the journal, and whoever wants to let
//! something leave the host first awaits [`Log::durable`] (*output commit*). What nobody waits for
//! lingers a moment, so that a deliberation makes few durable writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::entry::{Entry, Record};
use crate::ids::{DeliberationId, JobId, Seq};
use crate::journal::{Error, Journal};
use crate::live::{Handle, Update, lock};
use crate::observer::Observers;
use crate::tally::Tally;

/// Pieces of answers that may wait for the entries before them to be durable; more are dropped.
const TOKENS_WAITING_MAX: usize = 1024;

/// Entries and tokens that are written, and then published, at once. A plugin can append thousands in
/// one go: in between, the journal takes what other sessions have, and the thread other tasks.
const BATCH_MAX: usize = 256;

/// How long an entry may wait for company while nobody waits for it: about one durable write on a
/// slow disk. Answers of one wave of generations, and what the plugin makes of them, come within it.
/// A crash costs what was in flight when it comes, this long or that of a durable write.
const LINGER: Duration = Duration::from_millis(5);

pub(super) struct Log {
    id: DeliberationId,
    clock: Clock,
    accepted_at_ms: u64,
    inner: Mutex<Inner>,
    wake: Notify,
    durable: watch::Sender<Durable>,
}

struct Inner {
    last: Seq,
    last_at_ms: u64,
    tally: Tally,
    /// Records, and between them the tokens that may be shown once the records before them are durable.
    waiting: Vec<Update>,
    /// Somebody waits until everything through here is durable.
    wanted: Seq,
    /// The writer lets entries linger, and wants to know only when there is a reason to hurry.
    lingering: bool,
    sealed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Durable {
    Through(Seq),
    Failed,
}

impl Durable {
    /// Whether there is nothing to wait for any more: the place is durable, or never will be.
    fn reached(self, place: Seq) -> bool {
        match self {
            Self::Through(seq) => seq >= place,
            Self::Failed => true,
        }
    }
}

/// What the writer does next.
enum Next {
    /// Write these.
    Write(Vec<Update>),
    /// Let them linger.
    Linger(Instant),
    /// Wait for something to be appended.
    Wait,
    /// End.
    End,
}

/// The journal does not take what the session appends; the session must rest.
#[derive(Debug)]
pub(super) struct Unwritable;

impl Inner {
    /// Appends an entry; `None` once the log is sealed.
    fn push(&mut self, entry: Entry, now_ms: u64) -> Option<Arc<Record>> {
        if self.sealed {
            return None;
        }
        self.tally.observe(&entry);
        self.last = self.last.next();
        // Time never runs backwards in a journal, whatever the wall clock did between two hosts.
        self.last_at_ms = self.last_at_ms.max(now_ms);
        let record = Arc::new(Record {
            seq: self.last,
            at_ms: self.last_at_ms,
            entry,
        });
        self.waiting.push(Update::Record(Arc::clone(&record)));
        Some(record)
    }

    fn next(&mut self, now: Instant, linger_until: Option<Instant>, is_watched: bool) -> Next {
        self.lingering = false;
        if self.waiting.is_empty() {
            return if self.sealed { Next::End } else { Next::Wait };
        }
        let first = self.waiting.iter().find_map(|update| match update {
            Update::Record(record) => Some(record.seq),
            Update::Tokens { .. } => None,
        });
        let is_wanted = first.is_none_or(|first| self.wanted >= first);
        let until = linger_until.unwrap_or(now + LINGER);
        if is_wanted || is_watched || self.sealed || now >= until {
            let later = self.waiting.split_off(self.waiting.len().min(BATCH_MAX));
            return Next::Write(std::mem::replace(&mut self.waiting, later));
        }
        self.lingering = true;
        Next::Linger(until)
    }
}

impl Log {
    /// Continues behind these records, all of which are durable.
    pub(super) fn continuing(
        id: DeliberationId,
        clock: Clock,
        accepted_at_ms: u64,
        records: &[Record],
    ) -> Self {
        let last = records.last();
        let seq = last.map_or(Seq::START, |record| record.seq);
        Self {
            id,
            clock,
            accepted_at_ms,
            inner: Mutex::new(Inner {
                last: seq,
                last_at_ms: last.map_or(0, |record| record.at_ms),
                tally: Tally::of(records.iter().map(|record| &record.entry)),
                waiting: Vec::new(),
                wanted: seq,
                lingering: false,
                sealed: false,
            }),
            wake: Notify::new(),
            durable: watch::Sender::new(Durable::Through(seq)),
        }
    }

    /// Milliseconds since acceptance, now.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.unix_ms().saturating_sub(self.accepted_at_ms)
    }

    /// Appends an entry; `None` once the log is sealed.
    pub(super) fn append(&self, entry: Entry) -> Option<Arc<Record>> {
        let now_ms = self.now_ms();
        let mut inner = lock(&self.inner);
        let record = inner.push(entry, now_ms);
        let lingering = inner.lingering;
        drop(inner);
        if !lingering {
            self.wake.notify_one();
        }
        record
    }

    /// Appends the last entry of this run of the session. Nothing comes behind it: a generation whose
    /// task was aborted may still be about to append.
    pub(super) fn seal(&self, entry: Entry) -> Option<Arc<Record>> {
        let now_ms = self.now_ms();
        let mut inner = lock(&self.inner);
        let record = inner.push(entry, now_ms);
        inner.sealed = true;
        drop(inner);
        self.wake.notify_one();
        record
    }

    /// Ends this run of the session without an entry.
    pub(super) fn close(&self) {
        lock(&self.inner).sealed = true;
        self.wake.notify_one();
    }

    /// Shows a piece of an answer to watchers, behind the entries that were appended before it.
    pub(super) fn tokens(&self, job: JobId, attempt: u32, text: &str) {
        let mut inner = lock(&self.inner);
        if inner.waiting.len() < TOKENS_WAITING_MAX && !inner.sealed {
            inner.waiting.push(Update::Tokens {
                job,
                attempt,
                text: text.into(),
            });
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// The place of the last entry.
    pub(super) fn last(&self) -> Seq {
        lock(&self.inner).last
    }

    /// What all entries so far come to.
    pub(super) fn tally(&self) -> Tally {
        lock(&self.inner).tally.clone()
    }

    /// Waits until everything that was appended up to now is durable.
    pub(super) async fn durable(&self) -> Result<(), Unwritable> {
        let mut durable = self.durable.subscribe();
        let last = {
            let mut inner = lock(&self.inner);
            inner.wanted = inner.last;
            inner.last
        };
        if !durable.borrow().reached(last) {
            self.wake.notify_one();
        }
        let reached = durable.wait_for(|durable| durable.reached(last)).await;
        match *reached.expect("the sender is a field of self") {
            Durable::Through(_) => Ok(()),
            Durable::Failed => Err(Unwritable),
        }
    }

    /// Waits until the journal refuses an append.
    pub(super) async fn unwritable(&self) {
        let mut durable = self.durable.subscribe();
        let failed = |durable: &Durable| matches!(durable, Durable::Failed);
        // The sender is a field of self, so this only ends by a failure.
        let _ = durable.wait_for(failed).await;
    }

    /// Writes batches until the log is sealed and empty. Watchers see a record when it is durable.
    pub(super) async fn write(
        &self,
        journal: &dyn Journal,
        watchers: &Handle,
        observers: &Observers,
    ) -> Result<(), Error> {
        let mut linger_until = None;
        loop {
            let now = self.clock.now();
            let next = lock(&self.inner).next(now, linger_until, watchers.is_watched());
            let updates = match next {
                Next::Write(updates) => updates,
                Next::Linger(until) => {
                    linger_until = Some(until);
                    // Whichever comes first, it is time to look again.
                    let _ = self.clock.timeout_at(until, self.wake.notified()).await;
                    continue;
                }
                Next::Wait => {
                    self.wake.notified().await;
                    continue;
                }
                Next::End => return Ok(()),
            };
            linger_until = None;
            if let Err(error) = self.write_batch(journal, &updates).await {
                lock(&self.inner).sealed = true;
                self.durable.send_replace(Durable::Failed);
                return Err(error);
            }
            for update in updates {
                if let Update::Record(record) = &update {
                    observers.journaled(watchers.accepted(), record);
                }
                watchers.publish(update);
            }
        }
    }

    async fn write_batch(&self, journal: &dyn Journal, updates: &[Update]) -> Result<(), Error> {
        let records: Vec<_> = updates
            .iter()
            .filter_map(|update| match update {
                Update::Record(record) => Some(Arc::clone(record)),
                Update::Tokens { .. } => None,
            })
            .collect();
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        let (after, through) = (Seq(first.seq.0 - 1), last.seq);
        journal.append(&self.id, after, &records).await?;
        self.durable.send_replace(Durable::Through(through));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_written_in_batches_that_others_come_between() {
        let mut inner = Inner {
            last: Seq::START,
            last_at_ms: 0,
            tally: Tally::of([]),
            waiting: Vec::new(),
            wanted: Seq::START,
            lingering: false,
            sealed: false,
        };
        for number in 0..600 {
            let reason = number.to_string();
            inner.push(Entry::CancelRequested { reason }, number);
        }
        inner.sealed = true;
        let mut written = Vec::new();
        while let Next::Write(updates) = inner.next(Instant::now(), None, false) {
            assert!(updates.len() <= BATCH_MAX, "{}", updates.len());
            for update in updates {
                if let Update::Record(record) = update {
                    written.push(record.seq.0);
                }
            }
        }
        assert_eq!(written, (1..=600).collect::<Vec<_>>());
    }
}
