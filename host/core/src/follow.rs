//! Reads deliberations: once, live, or at their end.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::entry::{Entry, Record};
use crate::ids::{DeliberationId, Seq, Tenant};
use crate::journal::{self, Journal, Statistics, Totals};
use crate::live::{Handle, Live, Standing, Update, Wish};
use crate::view::View;

/// Why a deliberation cannot be read or followed further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal did not give it.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// It has no such entry.
    #[error("`{id}` has no entry {after} yet")]
    BeyondEnd {
        /// The deliberation.
        id: DeliberationId,
        /// Behind which entry it was to be watched.
        after: Seq,
    },
    /// It has not finished and does not run here now.
    #[error("`{0}` rests: the host is stopping, or has not resumed it yet; ask again")]
    Resting(DeliberationId),
}

/// Reads, watches, waits for and cancels the deliberations of one tenant. Another's are unknown ids
/// to it.
#[derive(Clone)]
pub struct FollowDeliberation {
    journal: Arc<dyn Journal>,
    statistics: Arc<dyn Statistics>,
    live: Live,
    tenant: Tenant,
}

impl FollowDeliberation {
    /// Follows what the journal holds and what runs here, of the default tenant.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, statistics: Arc<dyn Statistics>, live: Live) -> Self {
        Self {
            journal,
            statistics,
            live,
            tenant: Tenant::default(),
        }
    }

    /// Follows the same, of this tenant.
    #[must_use]
    pub fn of(&self, tenant: &Tenant) -> Self {
        Self {
            tenant: tenant.clone(),
            ..self.clone()
        }
    }

    /// The deliberation as it is now.
    ///
    /// # Errors
    /// [`journal::Error::NotFound`] for an unknown id.
    pub async fn get(&self, id: &DeliberationId) -> Result<View, Error> {
        let records = self.records(id).await?;
        View::of(&records).ok_or_else(|| corrupt(id))
    }

    /// All records of a deliberation of the tenant.
    async fn records(&self, id: &DeliberationId) -> Result<Vec<Record>, Error> {
        let records = self.journal.read(id, Seq::START).await?;
        match records.first().map(|record| &record.entry) {
            Some(Entry::Accepted(accepted)) if accepted.tenant == self.tenant => Ok(records),
            Some(Entry::Accepted(_)) => Err(journal::Error::NotFound(id.clone()).into()),
            // Whose it is cannot be told: that it is damaged says nothing of what it holds.
            _ => Err(corrupt(id)),
        }
    }

    /// The handle of a deliberation of the tenant that this host holds.
    fn held(&self, id: &DeliberationId) -> Option<Arc<Handle>> {
        let handle = self.live.get(id)?;
        self.owns(&handle).then_some(handle)
    }

    fn owns(&self, handle: &Handle) -> bool {
        matches!(&handle.accepted().entry, Entry::Accepted(accepted) if accepted.tenant == self.tenant)
    }

    /// A deliberation that this host holds, as it was accepted.
    #[must_use]
    pub fn accepted(&self, id: &DeliberationId) -> Option<View> {
        let handle = self.held(id)?;
        View::of(std::slice::from_ref(handle.accepted()))
    }

    /// Whether the deliberation has come to this entry; to the start it always has.
    ///
    /// # Errors
    /// [`journal::Error::NotFound`] for an unknown id, [`Error::BeyondEnd`] when it has not.
    pub async fn has_reached(&self, id: &DeliberationId, entry: Seq) -> Result<(), Error> {
        if entry == Seq::START {
            return Ok(());
        }
        let records = self.records(id).await?;
        if records.last().is_none_or(|last| last.seq < entry) {
            let (id, after) = (id.clone(), entry);
            return Err(Error::BeyondEnd { id, after });
        }
        Ok(())
    }

    /// Everything behind `after`, in order, as it comes; ends behind the last record.
    ///
    /// # Errors
    /// [`journal::Error::NotFound`] for an unknown id.
    pub async fn watch(&self, id: &DeliberationId, after: Seq) -> Result<Watcher, Error> {
        // In this order: what happens in between is seen twice and shown once, never missed.
        let updates = self.held(id).map(|handle| handle.subscribe());
        let mut backlog = VecDeque::from(self.records(id).await?);
        backlog.retain(|record| record.seq > after);
        Ok(Watcher {
            journal: Arc::clone(&self.journal),
            id: id.clone(),
            updates,
            backlog,
            last: after,
            finished: false,
        })
    }

    /// Waits for the outcome. Dropping the future stops only the waiting.
    ///
    /// # Errors
    /// [`journal::Error::NotFound`] for an unknown id, [`Error::Resting`] when the host stops.
    pub async fn wait(&self, id: &DeliberationId) -> Result<View, Error> {
        if let Some(handle) = self.held(id)
            && let Standing::Finished(last) = handle.ended().await
            && let Entry::Accepted(accepted) = &handle.accepted().entry
            && let Some(view) = View::ended(accepted, &last)
        {
            return Ok(view);
        }
        let view = self.get(id).await?;
        if view.is_finished() {
            Ok(view)
        } else {
            Err(Error::Resting(id.clone()))
        }
    }

    /// Cancels a deliberation, aborts its generations in the engine, and waits until that is durable.
    /// One that has finished stays as it is.
    ///
    /// # Errors
    /// As [`FollowDeliberation::wait`].
    pub async fn cancel(&self, id: &DeliberationId, reason: String) -> Result<View, Error> {
        if let Some(handle) = self.held(id) {
            handle.wish(Wish::Cancel(reason));
        }
        self.wait(id).await
    }

    /// How deliberations of all tenants ended so far.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn totals(&self) -> Result<Totals, Error> {
        Ok(self.statistics.totals().await?)
    }

    /// The deliberations of the tenant that run here, oldest first.
    #[must_use]
    pub fn active(&self) -> Vec<(DeliberationId, Arc<Handle>)> {
        let mut active = self.live.all();
        active.retain(|(_, handle)| {
            self.owns(handle)
                && handle.is_accepted()
                && matches!(handle.standing(), Standing::Running)
        });
        active
    }
}

impl std::fmt::Debug for FollowDeliberation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowDeliberation").finish_non_exhaustive()
    }
}

/// Sees one deliberation's updates in order.
pub struct Watcher {
    journal: Arc<dyn Journal>,
    id: DeliberationId,
    updates: Option<broadcast::Receiver<Update>>,
    backlog: VecDeque<Record>,
    last: Seq,
    finished: bool,
}

impl Watcher {
    /// The next update; `None` behind the last record. Records come once each, without gaps; tokens
    /// are dropped when the watcher is slow.
    ///
    /// # Errors
    /// [`Error::Resting`] when the deliberation does not go on here: watch again behind the last
    /// record that was seen.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if self.finished {
                return Ok(None);
            }
            if let Some(record) = self.backlog.pop_front() {
                return Ok(Some(self.show(Arc::new(record))));
            }
            let Some(updates) = &mut self.updates else {
                let records = self.journal.read(&self.id, Seq::START).await?;
                let finished = records.last().is_some_and(is_last);
                let unseen = records.into_iter().filter(|record| record.seq > self.last);
                self.backlog = unseen.collect();
                match (self.backlog.is_empty(), finished) {
                    (false, _) => continue,
                    (true, true) => return Ok(None),
                    (true, false) => return Err(Error::Resting(self.id.clone())),
                }
            };
            match updates.recv().await {
                Ok(Update::Record(record)) if record.seq <= self.last => {}
                Ok(Update::Record(record)) if record.seq == self.last.next() => {
                    return Ok(Some(self.show(record)));
                }
                Ok(tokens @ Update::Tokens { .. }) => return Ok(Some(tokens)),
                Ok(Update::Record(_)) | Err(RecvError::Lagged(_)) => self.read_on().await?,
                Err(RecvError::Closed) => {
                    self.updates = None;
                    self.read_on().await?;
                }
            }
        }
    }

    fn show(&mut self, record: Arc<Record>) -> Update {
        self.last = record.seq;
        self.finished = is_last(&record);
        Update::Record(record)
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        self.backlog = self.journal.read(&self.id, self.last).await?.into();
        Ok(())
    }
}

fn corrupt(id: &DeliberationId) -> Error {
    let (id, seq) = (id.clone(), Seq::START.next());
    let reason = "the first entry is not `accepted`".to_owned();
    journal::Error::Corrupt { id, seq, reason }.into()
}

fn is_last(record: &Record) -> bool {
    matches!(record.entry, Entry::Finished { .. })
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
