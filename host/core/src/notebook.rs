//! A journal of one deliberation, in memory: for a rehearsal, which nobody asks for again.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::entry::{Entry, Record};
use crate::ids::{DeliberationId, Seq};
use crate::journal::{Creation, Error, Existing, IdempotencyKey, Journal};
use crate::live::lock;

/// Keeps the records of one deliberation for as long as it lives.
#[derive(Debug)]
pub struct Notebook {
    id: DeliberationId,
    page: Mutex<Page>,
}

impl Notebook {
    /// A journal that holds these records already.
    #[must_use]
    pub fn of(id: DeliberationId, records: Vec<Record>) -> Self {
        let page = Mutex::new(Page { records });
        Self { id, page }
    }

    /// All records up to now.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        lock(&self.page).records.clone()
    }

    fn check(&self, id: &DeliberationId) -> Result<(), Error> {
        if *id == self.id {
            return Ok(());
        }
        Err(Error::NotFound(id.clone()))
    }
}

#[async_trait]
impl Journal for Notebook {
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        _key: Option<&IdempotencyKey>,
    ) -> Result<Creation, Error> {
        self.check(id)?;
        let mut page = lock(&self.page);
        page.append(id, Seq::START, &[Arc::new(accepted.clone())])?;
        Ok(Creation::New)
    }

    async fn find(&self, _key: &IdempotencyKey) -> Result<Option<Existing>, Error> {
        Ok(None)
    }

    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error> {
        self.check(id)?;
        lock(&self.page).append(id, after, records)
    }

    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, Error> {
        self.check(id)?;
        Ok(lock(&self.page).behind(after))
    }

    async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error> {
        let finished = lock(&self.page).is_finished();
        Ok(if finished {
            Vec::new()
        } else {
            vec![self.id.clone()]
        })
    }
}

/// The records of one deliberation, as every journal in memory keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
}

impl Page {
    /// The place of the last record.
    pub(crate) fn last(&self) -> Seq {
        self.records.last().map_or(Seq::START, |record| record.seq)
    }

    pub(crate) fn is_finished(&self) -> bool {
        let last = self.records.last().map(|record| &record.entry);
        matches!(last, Some(Entry::Finished { .. }))
    }

    pub(crate) fn behind(&self, after: Seq) -> Vec<Record> {
        let behind = self.records.iter().filter(|record| record.seq > after);
        behind.cloned().collect()
    }

    /// Whether a batch may be appended.
    ///
    /// # Errors
    /// [`Error::Fenced`] when it does not follow the last place, [`Error::Corrupt`] for a batch that
    /// no session writes: with gaps, or with an entry behind the last one.
    pub(crate) fn check(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error> {
        let (mut expected, mut finished) = (after, false);
        for record in records {
            expected = expected.next();
            if record.seq != expected {
                return Err(damaged(id, record.seq, &format!("its place is {expected}")));
            }
            if finished {
                return Err(damaged(id, record.seq, "it stands behind the last entry"));
            }
            finished = matches!(record.entry, Entry::Finished { .. });
        }
        if self.last() != after || self.is_finished() {
            return Err(Error::Fenced {
                id: id.clone(),
                expected: after,
                actual: self.last(),
            });
        }
        Ok(())
    }

    pub(crate) fn append(
        &mut self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error> {
        self.check(id, after, records)?;
        let records = records.iter().map(|record| Record::clone(record));
        self.records.extend(records);
        Ok(())
    }
}

pub(crate) fn damaged(id: &DeliberationId, seq: Seq, reason: &str) -> Error {
    Error::Corrupt {
        id: id.clone(),
        seq,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Spent, Verdict};

    fn record(seq: u64, entry: Entry) -> Arc<Record> {
        Arc::new(Record {
            seq: Seq(seq),
            at_ms: seq,
            entry,
        })
    }

    #[tokio::test]
    async fn it_takes_what_follows_and_nothing_behind_the_end() {
        let id = DeliberationId::new("deliberation-1");
        let notebook = Notebook::of(id.clone(), Vec::new());
        let paused = record(1, Entry::Paused { wasted_tokens: 0 });
        let finished = record(
            2,
            Entry::Finished {
                verdict: Verdict::Cancelled(String::new()),
                spent: Spent::default(),
            },
        );
        let fenced = notebook
            .append(&id, Seq(1), std::slice::from_ref(&finished))
            .await;
        assert!(matches!(fenced, Err(Error::Fenced { .. })));
        let gap = notebook
            .append(&id, Seq::START, std::slice::from_ref(&finished))
            .await;
        assert!(matches!(gap, Err(Error::Corrupt { .. })));
        assert_eq!(
            notebook.unfinished().await.unwrap(),
            std::slice::from_ref(&id)
        );
        notebook
            .append(&id, Seq::START, &[paused, finished])
            .await
            .unwrap();
        assert_eq!(notebook.read(&id, Seq(1)).await.unwrap().len(), 1);
        assert_eq!(notebook.unfinished().await.unwrap(), []);
        let after = record(3, Entry::Paused { wasted_tokens: 0 });
        assert!(notebook.append(&id, Seq(2), &[after]).await.is_err());
        assert!(
            notebook
                .read(&DeliberationId::new("b"), Seq(1))
                .await
                .is_err()
        );
    }
}
