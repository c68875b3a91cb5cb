//! A journal in memory, for tests: it can be reopened, and made to fail at a chosen record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::entry::{Entry, Record};
use crate::events::Telling;
use crate::filter::{Facts, StateKind};
use crate::ids::{DeliberationId, Seq};
use crate::journal::{Creation, Error, Existing, IdempotencyKey, Journal, Statistics, Totals};
use crate::listing::{self, Listed, Listing, Place, Query};
use crate::notebook::{Page, damaged};
use crate::outbox::{Ledger, Owed};
use crate::outcome::Verdict;

/// What a crashed [`MemoryJournal`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every call fails with [`Error::Unavailable`], as on a full disk.
    Fail,
    /// No call ever answers, as to a host that was killed before its next call.
    Hang,
    /// As [`Fault::Hang`], and the call that wrote the last record does not answer either, as to a
    /// host that was killed between a durable write and its answer.
    HangUntold,
}

/// A correct journal that lives as long as its last clone: clones share what is stored, so that a
/// test can "restart" a host on it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    deliberations: HashMap<DeliberationId, Deliberation>,
    oldest_first: Vec<DeliberationId>,
    keys: HashMap<(String, String), Existing>,
    totals: Totals,
    records: usize,
    crash: Option<(usize, Fault)>,
    telling: Telling,
}

#[derive(Debug, Default)]
struct Deliberation {
    page: Page,
    /// Up to where its events are acknowledged, and its last entry that is told; `None` when it owes
    /// nothing and has finished, or nothing of it was told yet.
    outbox: Option<(Seq, Seq)>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal that owes events of these entries.
    #[must_use]
    pub fn telling(telling: Telling) -> Self {
        let journal = Self::default();
        journal.lock().telling = telling;
        journal
    }

    /// Takes `records` records, counted over all deliberations from the first on, and faults from
    /// then on. A batch that would go beyond is not written. Faults at once when so many are stored.
    pub fn crash_after(&self, records: usize, fault: Fault) {
        self.lock().crash = Some((records, fault));
    }

    /// Ends the fault. A call that hangs goes on hanging: its caller is dead.
    pub fn revive(&self) {
        self.lock().crash = None;
    }

    /// How many records are stored, over all deliberations.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.lock().records
    }

    /// The records of a deliberation, also while the journal is crashed; none for an unknown id.
    #[must_use]
    pub fn records(&self, id: &DeliberationId) -> Vec<Record> {
        let state = self.lock();
        let deliberation = state.deliberations.get(id);
        deliberation.map_or_else(Vec::new, |deliberation| deliberation.page.records.clone())
    }

    /// The oldest deliberation, also while the journal is crashed.
    #[must_use]
    pub fn first(&self) -> Option<DeliberationId> {
        self.lock().oldest_first.first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics inside the journal")
    }

    /// Runs `call` when the journal works, and faults when it does not.
    async fn call<T>(
        &self,
        call: impl FnOnce(&mut State) -> Result<T, Interruption>,
    ) -> Result<T, Error> {
        let outcome = {
            let mut state = self.lock();
            match state.crash {
                Some((records, fault)) if state.records >= records => {
                    Err(Interruption::Crashed(fault))
                }
                _ => call(&mut state),
            }
        };
        match outcome {
            Ok(answer) => Ok(answer),
            Err(Interruption::Refused(error)) => Err(error),
            Err(Interruption::Crashed(Fault::Fail)) => {
                Err(Error::Unavailable("the test crashed the journal".into()))
            }
            Err(Interruption::Crashed(Fault::Hang | Fault::HangUntold)) => {
                std::future::pending().await
            }
        }
    }
}

/// Why a call did not answer as it should.
enum Interruption {
    Refused(Error),
    Crashed(Fault),
}

impl From<Error> for Interruption {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl State {
    /// Whether the journal crashes before it has taken so many more records.
    fn crash_before(&self, count: usize) -> Result<(), Interruption> {
        match self.crash {
            Some((records, fault)) if self.records + count > records => {
                Err(Interruption::Crashed(fault))
            }
            _ => Ok(()),
        }
    }

    /// Whether the journal crashes before it can tell that it took a record.
    fn crash_untold(&self) -> Result<(), Interruption> {
        match self.crash {
            Some((records, fault @ Fault::HangUntold)) if self.records >= records => {
                Err(Interruption::Crashed(fault))
            }
            _ => Ok(()),
        }
    }

    fn create(
        &mut self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, Interruption> {
        if let Some(key) = key
            && let Some(existing) = self.keys.get(&place_of(key))
        {
            return Ok(Creation::Existing(existing.clone()));
        }
        if let Some(existing) = self.deliberations.get(id) {
            let taken = existing.page.check(id, Seq::START, &[]);
            return taken.map(|()| Creation::New).map_err(Into::into);
        }
        let mut page = Page::default();
        page.append(id, Seq::START, &[Arc::new(accepted.clone())])?;
        if !matches!(accepted.entry, Entry::Accepted(_)) {
            return Err(damaged(id, accepted.seq, "the first entry is not `accepted`").into());
        }
        self.crash_before(1)?;
        if let Some(key) = key {
            let existing = Existing {
                id: id.clone(),
                fingerprint: key.fingerprint,
            };
            self.keys.insert(place_of(key), existing);
        }
        let deliberation = Deliberation { page, outbox: None };
        self.deliberations.insert(id.clone(), deliberation);
        self.oldest_first.push(id.clone());
        self.records += 1;
        self.totals.accepted += 1;
        self.crash_untold()?;
        Ok(Creation::New)
    }

    fn append(
        &mut self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Interruption> {
        let deliberation = self.deliberations.get(id);
        let deliberation = deliberation.ok_or_else(|| Error::NotFound(id.clone()))?;
        deliberation.page.check(id, after, records)?;
        self.crash_before(records.len())?;
        let deliberation = self.deliberations.get_mut(id).expect("it was just found");
        for record in records {
            deliberation.note_told(self.telling, record);
            if let Entry::Finished { verdict, .. } = &record.entry {
                self.totals.duration_ms_sum += record.at_ms;
                *match verdict {
                    Verdict::Completed(_) => &mut self.totals.completed,
                    Verdict::Failed(_) => &mut self.totals.failed,
                    Verdict::Cancelled(_) => &mut self.totals.cancelled,
                } += 1;
            }
        }
        deliberation.page.append(id, after, records)?;
        self.records += records.len();
        self.crash_untold()?;
        Ok(())
    }

    fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, Interruption> {
        let deliberation = self.deliberations.get(id);
        let deliberation = deliberation.ok_or_else(|| Error::NotFound(id.clone()))?;
        Ok(deliberation.page.behind(after))
    }

    fn owed(&self) -> impl Iterator<Item = Owed> {
        self.oldest_first.iter().filter_map(|id| {
            let deliberation = &self.deliberations[id];
            let (acknowledged, due) = deliberation.outbox?;
            (acknowledged < due).then(|| Owed {
                id: id.clone(),
                acknowledged,
                due,
                finished: deliberation.page.is_finished(),
            })
        })
    }

    fn unfinished(&self) -> Vec<DeliberationId> {
        let unfinished = |id: &&DeliberationId| !self.deliberations[*id].page.is_finished();
        self.oldest_first
            .iter()
            .filter(unfinished)
            .cloned()
            .collect()
    }
}

impl State {
    fn page(&self, query: &Query, limit: usize) -> listing::Page {
        let before = query.before.map_or(u64::MAX, |place| place.0);
        let places = self.oldest_first.iter().enumerate().rev();
        let mut found = places
            .map(|(at, id)| (id, at as u64 + 1))
            .filter(|(_, place)| *place < before)
            .filter_map(|(id, place)| self.deliberations[id].listed(Place(place)))
            .filter(|listed| listed.accepted.tenant == query.tenant)
            .filter(|listed| query.filter.matches(&facts_of(listed)));
        let listed: Vec<_> = found.by_ref().take(limit).collect();
        let more = found.next().is_some();
        let last = listed.last().map(|listed| listed.place);
        listing::Page {
            next: last.filter(|_| more),
            listed,
        }
    }
}

/// What a filter looks at.
fn facts_of(listed: &Listed) -> Facts<'_> {
    let end = listed.end.as_deref();
    Facts {
        accepted: &listed.accepted,
        state: match end.map(|end| &end.entry) {
            Some(Entry::Finished { verdict, .. }) => match verdict {
                Verdict::Completed(_) => StateKind::Completed,
                Verdict::Failed(_) => StateKind::Failed,
                Verdict::Cancelled(_) => StateKind::Cancelled,
            },
            _ => StateKind::Running,
        },
        end_at_ms: end.map(|end| end.at_ms),
    }
}

impl Deliberation {
    fn note_told(&mut self, telling: Telling, record: &Record) {
        // Of attempts only the first is told, and a row that is there has seen one.
        let is_start = matches!(record.entry, Entry::Attempt { .. });
        let is_told = telling.tells(&record.entry)
            && !(is_start && telling == Telling::Lifecycle && self.outbox.is_some());
        if is_told {
            let (acknowledged, _) = self.outbox.unwrap_or((Seq::START, Seq::START));
            self.outbox = Some((acknowledged, record.seq));
        }
    }

    fn acknowledge(&mut self, through: Seq) {
        if let Some((acknowledged, due)) = self.outbox {
            let acknowledged = acknowledged.max(through);
            let done = self.page.is_finished() && acknowledged >= due;
            self.outbox = (!done).then_some((acknowledged, due));
        }
    }

    fn listed(&self, place: Place) -> Option<Listed> {
        let Entry::Accepted(accepted) = &self.page.records.first()?.entry else {
            return None;
        };
        let end = self
            .page
            .is_finished()
            .then(|| self.page.records.last().cloned())
            .flatten();
        Some(Listed {
            place,
            accepted: accepted.clone(),
            end: end.map(Box::new),
        })
    }
}

fn place_of(key: &IdempotencyKey) -> (String, String) {
    (key.scope.clone(), key.key.clone())
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, Error> {
        self.call(|state| state.create(id, accepted, key)).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Existing>, Error> {
        self.call(|state| Ok(state.keys.get(&place_of(key)).cloned()))
            .await
    }

    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error> {
        self.call(|state| state.append(id, after, records)).await
    }

    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, Error> {
        self.call(|state| state.read(id, after)).await
    }

    async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error> {
        self.call(|state| Ok(state.unfinished())).await
    }
}

#[async_trait]
impl Listing for MemoryJournal {
    async fn page(&self, query: &Query, limit: usize) -> Result<listing::Page, Error> {
        self.call(|state| Ok(state.page(query, limit))).await
    }
}

#[async_trait]
impl Statistics for MemoryJournal {
    async fn totals(&self) -> Result<Totals, Error> {
        self.call(|state| Ok(state.totals)).await
    }
}

#[async_trait]
impl Ledger for MemoryJournal {
    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        self.call(|state| Ok(state.owed().take(limit).collect()))
            .await
    }

    async fn acknowledge(&self, through: &[(DeliberationId, Seq)]) -> Result<(), Error> {
        self.call(|state| {
            for (id, through) in through {
                if let Some(deliberation) = state.deliberations.get_mut(id) {
                    deliberation.acknowledge(*through);
                }
            }
            Ok(())
        })
        .await
    }

    async fn pending(&self) -> Result<u64, Error> {
        self.call(|state| Ok(state.owed().count() as u64)).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::testkit::journal::{accepted, contract, ledger_contract, listing_contract, records};

    #[tokio::test]
    async fn it_meets_the_contract() {
        contract(async || Arc::new(MemoryJournal::new())).await;
        listing_contract(async || Arc::new(MemoryJournal::new())).await;
    }

    #[tokio::test]
    async fn it_meets_the_contract_of_a_ledger() {
        ledger_contract(async |telling| Arc::new(MemoryJournal::telling(telling))).await;
    }

    /// A journal with one deliberation of one record.
    async fn started() -> (MemoryJournal, DeliberationId) {
        let journal = MemoryJournal::new();
        let id = DeliberationId::generate();
        let first = accepted(&id);
        journal.create(&id, &first, None).await.unwrap();
        (journal, id)
    }

    #[tokio::test]
    async fn it_fails_from_the_chosen_record_on_until_it_is_revived() {
        let (journal, id) = started().await;
        journal.crash_after(3, Fault::Fail);
        let batch = records(Seq(1), 3);
        let refused = journal.append(&id, Seq(1), &batch).await;
        assert!(
            matches!(refused, Err(Error::Unavailable(_))),
            "a batch beyond the crash: {refused:?}"
        );
        assert_eq!(journal.stored(), 1);
        journal.append(&id, Seq(1), &batch[..2]).await.unwrap();
        assert!(journal.read(&id, Seq::START).await.is_err());
        assert_eq!(journal.records(&id).len(), 3);
        journal.revive();
        journal.append(&id, Seq(3), &batch[2..]).await.unwrap();
        assert_eq!(journal.clone().stored(), 4);
    }

    #[tokio::test]
    async fn a_killed_host_gets_no_answer_and_its_last_record_is_durable() {
        for (fault, told) in [(Fault::Hang, true), (Fault::HangUntold, false)] {
            let (journal, id) = started().await;
            journal.crash_after(2, fault);
            let batch = records(Seq(1), 1);
            let answer = journal.append(&id, Seq(1), &batch).now_or_never();
            assert_eq!(answer.is_some(), told, "{fault:?}");
            assert!(journal.totals().now_or_never().is_none(), "{fault:?}");
            journal.revive();
            assert_eq!(
                journal.read(&id, Seq(1)).await.unwrap().len(),
                1,
                "{fault:?}"
            );
        }
    }
}
