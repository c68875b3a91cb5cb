//! What one transaction of the writer does: the writes of a group, each applied or refused.

use conclave_core::events::Telling;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::{Error, Existing, IdempotencyKey, Totals};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use crate::sqlite::codec::{Batch, End, State};
use crate::sqlite::summary::Summary;
use crate::sqlite::{keys, outbox};

/// Something to be written.
#[derive(Debug)]
pub(super) enum Write {
    /// A new deliberation.
    Create {
        batch: Batch,
        summary: Box<Summary>,
        key: Option<IdempotencyKey>,
    },
    /// More records.
    Append(Batch),
    /// That events are published up to these places.
    Acknowledge(Vec<(DeliberationId, Seq)>),
    /// Nothing that lasts: it shows whether a write succeeds.
    Probe,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Done {
    /// It is in the transaction.
    Written,
    /// Its key was used before, and nothing was written.
    KeyUsed(Existing),
}

/// Why a write is not in the transaction.
#[derive(Debug)]
pub(super) enum Failure {
    /// It must not be; the others of its group are not concerned. It has changed nothing.
    Refused(Error),
    /// The storage failed: the whole transaction must be rolled back.
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

const CREATE: &str = "
    INSERT INTO deliberations (id, last_seq, accepted_at_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (id) DO NOTHING RETURNING place";
// The condition on `last_seq` is the fence.
const ADVANCE: &str = "
    UPDATE deliberations SET last_seq = ?3
    WHERE id = ?1 AND last_seq = ?2 AND state = 0 RETURNING place";
const FINISH: &str = "
    UPDATE deliberations SET last_seq = ?3, state = ?4, finished_at_ms = accepted_at_ms + ?5
    WHERE id = ?1 AND last_seq = ?2 AND state = 0 RETURNING place";
const LAST_SEQ: &str = "SELECT last_seq FROM deliberations WHERE id = ?1";
const INSERT_BATCH: &str = "
    INSERT INTO batches (deliberation, first_seq, last_seq, body) VALUES (?1, ?2, ?3, ?4)";
const COUNT: &str = "
    UPDATE totals SET accepted = accepted + ?1, completed = completed + ?2, failed = failed + ?3,
    cancelled = cancelled + ?4, duration_ms_sum = duration_ms_sum + ?5";

/// The writes of one transaction.
pub(super) struct Group<'c> {
    connection: &'c Connection,
    telling: Telling,
    advance: CachedStatement<'c>,
    insert_batch: CachedStatement<'c>,
    /// What this group adds to the totals.
    added: Totals,
    /// Whether the totals' row must be written.
    count: bool,
}

impl<'c> Group<'c> {
    /// Begins with the writes of a transaction that was opened on this connection.
    pub(super) fn new(connection: &'c Connection, telling: Telling) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            telling,
            advance: connection.prepare_cached(ADVANCE)?,
            insert_batch: connection.prepare_cached(INSERT_BATCH)?,
            added: Totals::default(),
            count: false,
        })
    }

    /// Applies one write. It checks before it changes anything, so that a refusal needs no undoing.
    pub(super) fn apply(&mut self, write: &Write) -> Result<Done, Failure> {
        match write {
            Write::Create {
                batch,
                summary,
                key,
            } => self.create(batch, summary, key.as_ref()),
            Write::Append(batch) => self.append(batch),
            Write::Acknowledge(through) => {
                outbox::acknowledge(self.connection, through)?;
                Ok(Done::Written)
            }
            Write::Probe => {
                self.count = true;
                Ok(Done::Written)
            }
        }
    }

    /// Writes what concerns the group as a whole, before the commit.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        if self.count {
            let Totals {
                accepted,
                completed,
                failed,
                cancelled,
                duration_ms_sum,
            } = self.added;
            let added = [accepted, completed, failed, cancelled, duration_ms_sum];
            let mut statement = self.connection.prepare_cached(COUNT)?;
            statement.execute(added.map(u64::cast_signed))?;
        }
        Ok(())
    }

    fn create(
        &mut self,
        batch: &Batch,
        summary: &Summary,
        key: Option<&IdempotencyKey>,
    ) -> Result<Done, Failure> {
        if let Some(key) = key
            && let Some(existing) = keys::find(self.connection, key)?
        {
            return Ok(Done::KeyUsed(existing));
        }
        let mut statement = self.connection.prepare_cached(CREATE)?;
        let row = params![
            batch.id.as_str(),
            sql(batch.last),
            summary.accepted_at_ms.cast_signed()
        ];
        let place = statement.query_row(row, |row| row.get(0)).optional()?;
        let Some(place) = place else {
            return Err(self.refusal(batch));
        };
        if let Some(key) = key {
            keys::remember(self.connection, key, place)?;
        }
        summary.insert(self.connection, place)?;
        self.insert(place, batch)?;
        self.count = true;
        self.added.accepted += 1;
        Ok(Done::Written)
    }

    fn append(&mut self, batch: &Batch) -> Result<Done, Failure> {
        let id = batch.id.as_str();
        let (after, last) = (sql(batch.after), sql(batch.last));
        let place = match batch.end {
            None => self
                .advance
                .query_row(params![id, after, last], |row| row.get(0)),
            Some(End { state, at_ms }) => {
                let mut statement = self.connection.prepare_cached(FINISH)?;
                let row = params![id, after, last, state as i64, at_ms.cast_signed()];
                statement.query_row(row, |row| row.get(0))
            }
        };
        let Some(place) = place.optional()? else {
            return Err(self.refusal(batch));
        };
        if !batch.body.is_empty() {
            self.insert(place, batch)?;
            outbox::mark(self.connection, self.telling, place, batch)?;
        }
        if let Some(end) = batch.end {
            self.count = true;
            self.added.duration_ms_sum += end.at_ms;
            *match end.state {
                State::Completed => &mut self.added.completed,
                State::Failed => &mut self.added.failed,
                State::Cancelled => &mut self.added.cancelled,
            } += 1;
        }
        Ok(Done::Written)
    }

    fn insert(&mut self, place: i64, batch: &Batch) -> rusqlite::Result<()> {
        let first = sql(batch.after.next());
        let row = params![place, first, sql(batch.last), batch.body];
        self.insert_batch.execute(row).map(drop)
    }

    /// Why the fence stopped a batch.
    fn refusal(&self, batch: &Batch) -> Failure {
        let statement = self.connection.prepare_cached(LAST_SEQ);
        let actual = statement.and_then(|mut statement| {
            let row = statement.query_row([batch.id.as_str()], |row| row.get(0));
            row.optional()
        });
        match actual {
            Ok(Some(actual)) => Failure::Refused(Error::Fenced {
                id: batch.id.clone(),
                expected: batch.after,
                actual: Seq(i64::cast_unsigned(actual)),
            }),
            Ok(None) => Failure::Refused(Error::NotFound(batch.id.clone())),
            Err(error) => Failure::Storage(error),
        }
    }
}

/// A place as SQLite stores it. Those above 2^63 become negative, and so are found nowhere.
fn sql(seq: Seq) -> i64 {
    seq.0.cast_signed()
}
