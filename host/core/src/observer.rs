//! The port to whoever wants to know of every journal entry: metrics, and the outbox of events.

use std::fmt;
use std::sync::Arc;

use crate::entry::{Accepted, Entry, Record};
use crate::generation::GenerationRequest;
use crate::ids::JobId;

/// Sees what happens in all deliberations.
///
/// Each record is shown once in the life of the host that appended it, in order for each
/// deliberation, when it is durable; those of an earlier life of the host are not shown again.
pub trait Observer: Send + Sync {
    /// Takes note of a record. Called on the session's path: it must not block or wait.
    fn journaled(&self, accepted: &Accepted, record: &Record);

    /// Takes note of what a plugin asks for, in a replay too: the journal holds only the request's
    /// digest. Called as [`Observer::journaled`] is. Most do not want to know.
    fn asked(&self, _job: JobId, _request: &GenerationRequest) {}
}

/// All observers of a host, none by default.
#[derive(Clone, Default)]
pub struct Observers(Arc<[Arc<dyn Observer>]>);

impl Observers {
    /// These observers, told in this order.
    #[must_use]
    pub fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self(observers.into())
    }

    /// Shows a request.
    pub(crate) fn asked(&self, job: JobId, request: &GenerationRequest) {
        for observer in self.0.iter() {
            observer.asked(job, request);
        }
    }

    /// Shows a durable record of the deliberation whose first record is `first`.
    pub(crate) fn journaled(&self, first: &Record, record: &Record) {
        if let Entry::Accepted(accepted) = &first.entry {
            for observer in self.0.iter() {
                observer.journaled(accepted, record);
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}
