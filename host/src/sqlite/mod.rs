//! The journal in one SQLite file: the default for one host.
//!
//! One thread writes. It commits everything that was queued while the last commit was under way as
//! one transaction (group commit), so that the cost of a durable write is shared, and answers after
//! the commit. Readers have connections of their own and never wait for the writer.

mod checkpoint;
mod codec;
mod files;
mod keys;
mod listing;
mod outbox;
mod reader;
mod schema;
mod summary;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::entry::Record;
use conclave_core::events::Telling;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::{
    Creation, Error, Existing, IdempotencyKey, Journal, Statistics, Totals,
};
use conclave_core::listing::{Listing, Page, Query};
use conclave_core::outbox::{Ledger, Owed};

use crate::sqlite::codec::Batch;
pub(crate) use crate::sqlite::files::open_private;
use crate::sqlite::reader::Readers;
use crate::sqlite::summary::Summary;
use crate::sqlite::transaction::{Done, Write};
use crate::sqlite::writer::Writer;
pub use crate::sqlite::writer::{Commit, OnCommit};

/// Why a journal file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another journal of this one, has it open.
    #[error(
        "`{}` is in use by another host: stop that one, or give this one a data directory of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// A later build wrote it.
    #[error(
        "`{}` has schema version {found}, this build knows {known}: start the build that wrote it, or a later one",
        path.display()
    )]
    NewerSchema {
        /// The journal file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The latest schema version that this build can read.
        known: i64,
    },
    /// A file or directory cannot be created, opened or locked.
    #[error("cannot open `{}`", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite does not take it for a journal.
    #[error("cannot open `{}` as a journal", path.display())]
    Database {
        /// The journal file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// A journal in one file, and two beside it that SQLite keeps while it is open.
///
/// Dropping it writes what is queued, waits for the writer's thread and releases the file.
#[derive(Debug)]
pub struct SqliteJournal {
    // Dropped in this order: the file may be opened again only when nobody writes to it.
    readers: Readers,
    writer: Writer,
    _lock: File,
}

impl SqliteJournal {
    /// Opens the journal at `path`, and creates it with its directories when there is none. It is
    /// for this user's eyes only, and for one host at a time. It owes no events.
    ///
    /// # Errors
    /// When another host has it open, a later build wrote it, or it cannot be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Telling::Nothing, Box::new(|_| ()))
    }

    /// As [`SqliteJournal::open`]; it owes events of the entries that are told, and tells of every
    /// commit.
    ///
    /// # Errors
    /// As [`SqliteJournal::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        telling: Telling,
        on_commit: OnCommit,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let lock = files::claim(path)?;
        let failed = |source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let connection = schema::open_writer(path)?;
        let checkpoints = schema::open_checkpointer(path).map_err(failed)?;
        outbox::forget_settled(&connection).map_err(failed)?;
        let writer = Writer::start(connection, checkpoints, telling, on_commit);
        let writer = writer.map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            readers: Readers::new(path),
            writer,
            _lock: lock,
        })
    }

    /// Writes that wait for a commit.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.writer.queued()
    }

    /// Whether the last write succeeded.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.writer.last_write_succeeded()
    }

    /// Whether the journal takes writes: whether the last one succeeded. If it did not, a small one
    /// is tried, so that a host that turned unready on a full disk finds that there is room again.
    pub async fn healthy(&self) -> bool {
        self.writer.healthy().await
    }
}

/// A journal's file, to be read only: a host may write to it meanwhile.
#[derive(Debug)]
pub struct SqliteRecords {
    readers: Readers,
}

impl SqliteRecords {
    /// The journal at `path`, which is opened when it is read first.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            readers: Readers::new(path.as_ref()),
        }
    }

    /// All records of a deliberation up to now.
    ///
    /// # Errors
    /// As [`Journal::read`]; [`Error::Unavailable`] when there is no journal.
    pub async fn read(&self, id: &DeliberationId) -> Result<Vec<Record>, Error> {
        self.readers.records(id.clone(), Seq::START).await
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, Error> {
        let write = Write::Create {
            summary: Box::new(Summary::of(codec::accepted(id, accepted)?)),
            batch: Batch::encode(id, Seq::START, [accepted])?,
            key: key.cloned(),
        };
        Ok(match self.writer.write(write).await? {
            Done::Written => Creation::New,
            Done::KeyUsed(existing) => Creation::Existing(existing),
        })
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Existing>, Error> {
        self.readers.existing(key.clone()).await
    }

    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), Error> {
        let batch = Batch::encode(id, after, records.iter().map(AsRef::as_ref))?;
        self.writer.write(Write::Append(batch)).await.map(drop)
    }

    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, Error> {
        self.readers.records(id.clone(), after).await
    }

    async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error> {
        self.readers.unfinished().await
    }
}

#[async_trait]
impl Listing for SqliteJournal {
    async fn page(&self, query: &Query, limit: usize) -> Result<Page, Error> {
        self.readers.page(query.clone(), limit).await
    }
}

#[async_trait]
impl Statistics for SqliteJournal {
    async fn totals(&self) -> Result<Totals, Error> {
        self.readers.totals().await
    }
}

#[async_trait]
impl Ledger for SqliteJournal {
    async fn owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        self.readers.owed(limit).await
    }

    async fn acknowledge(&self, through: &[(DeliberationId, Seq)]) -> Result<(), Error> {
        let write = Write::Acknowledge(through.to_vec());
        self.writer.write(write).await.map(drop)
    }

    async fn pending(&self) -> Result<u64, Error> {
        self.readers.pending().await
    }
}

/// What a failure of the storage means to a caller: damage concerns the one deliberation, anything
/// else the journal.
fn storage_error(id: &DeliberationId, seq: Seq, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};

    let damaged = match &error {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            true
        }
        error => matches!(
            error.sqlite_error_code(),
            Some(DatabaseCorrupt | NotADatabase)
        ),
    };
    if damaged {
        let reason = format!("the file is damaged where it is kept: {error}");
        return codec::corrupt(id, seq, reason);
    }
    unavailable(error)
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(error.into())
}
