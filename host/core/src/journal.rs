//! The journal: the append-only record of every deliberation, from which it can be replayed.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entry::Record;
use crate::ids::{DeliberationId, Digest, Seq};

/// What makes a submit idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Where the key is unique, for example a method's name.
    pub scope: String,
    /// The client's key.
    pub key: String,
    /// The digest of the request: the same key with another request is a conflict.
    pub fingerprint: Digest,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The deliberation.
    pub id: DeliberationId,
    /// The digest of the request that the key was first used with.
    pub fingerprint: Digest,
}

/// What [`Journal::create`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The deliberation is new.
    New,
    /// The key was used before, for this deliberation; nothing was written.
    Existing(Existing),
}

/// Keeps what happened.
///
/// What a method has answered is durable: it survives kill -9 and power loss. What it has not
/// answered may or may not be. A batch is written whole or not at all.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Starts a deliberation with its first record, and remembers the key. Atomic: of two calls with
    /// one key, at most one creates.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the id is taken.
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, Error>;

    /// What a key stands for, if it was used before; its fingerprint is not looked at.
    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Existing>, Error>;

    /// Appends records, whose places follow `after` without gaps; one append of a deliberation at a
    /// time. An empty batch only checks the place.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the journal's last place is not `after`: another writer was here.
    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error>;

    /// The records behind `after`, in order; none when there are no more.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, [`Error::Corrupt`] when a record is damaged,
    /// [`Error::Unsupported`] when another build wrote it.
    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, Error>;

    /// The ids of the deliberations without a [`Finished`](crate::entry::Entry::Finished) record, oldest first.
    async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error>;
}

/// How deliberations ended so far; survives a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Accepted in all.
    pub accepted: u64,
    /// Completed with an answer.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Sum of the time from acceptance to the end, of those that ended, in milliseconds.
    pub duration_ms_sum: u64,
}

/// Counts deliberations. Every one is counted once, however often it is read.
#[async_trait]
pub trait Statistics: Send + Sync {
    /// The totals up to now.
    async fn totals(&self) -> Result<Totals, Error>;
}

/// Why the journal did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No deliberation has the id.
    #[error("no deliberation `{0}`")]
    NotFound(DeliberationId),
    /// Another writer appended.
    #[error("`{id}` is at entry {actual}, not at {expected}: another host has taken it over")]
    Fenced {
        /// Which deliberation.
        id: DeliberationId,
        /// Where the caller thought that it was.
        expected: Seq,
        /// Where it is.
        actual: Seq,
    },
    /// A record is damaged.
    #[error("entry {seq} of `{id}` is damaged: {reason}")]
    Corrupt {
        /// Which deliberation.
        id: DeliberationId,
        /// Which record.
        seq: Seq,
        /// How it shows.
        reason: String,
    },
    /// A record is sound, and of another build: that one, or a later one, must go on with it.
    #[error("entry {seq} of `{id}` was written by another build: {reason}")]
    Unsupported {
        /// Which deliberation.
        id: DeliberationId,
        /// Which record.
        seq: Seq,
        /// What this build does not know.
        reason: String,
    },
    /// The storage does not answer, or is full.
    #[error("the journal is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
