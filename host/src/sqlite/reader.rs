//! Reads the journal on connections of its own, off the async threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use conclave_core::entry::Record;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::{Error, Existing, IdempotencyKey, Totals};
use conclave_core::listing::{Page, Query};
use conclave_core::outbox::Owed;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::sqlite::{codec, keys, listing, outbox, schema, storage_error, unavailable};

/// Reads that run at once. Each takes a thread and 2 MiB of cache; they are short, and more than the
/// machine has cores for would only wait for each other.
const READERS_MAX: usize = 4;

// One statement, and so one transaction: what is appended meanwhile is not seen in part. The
// deliberation's row comes without a batch when there is none behind.
const BATCHES: &str = "
    SELECT deliberations.last_seq, first_seq, batches.last_seq, body FROM deliberations
    LEFT JOIN batches ON deliberation = place AND batches.last_seq > ?2
    WHERE id = ?1 ORDER BY batches.last_seq";
const UNFINISHED: &str = "SELECT id FROM deliberations WHERE state = 0 ORDER BY place";
const TOTALS: &str = "SELECT accepted, completed, failed, cancelled, duration_ms_sum FROM totals";

/// The readers' connections, opened when they are needed first.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    /// Lists read much: they leave readers to who asks for one deliberation.
    lists: Semaphore,
}

impl Readers {
    /// Readers of the journal at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            lists: Semaphore::new(READERS_MAX / 2),
        }
    }

    /// The records of a deliberation behind `after`.
    pub(super) async fn records(
        &self,
        id: DeliberationId,
        after: Seq,
    ) -> Result<Vec<Record>, Error> {
        self.run(move |connection| records(connection, &id, after))
            .await
    }

    /// What a key stands for.
    pub(super) async fn existing(&self, key: IdempotencyKey) -> Result<Option<Existing>, Error> {
        self.run(move |connection| keys::find(connection, &key).map_err(unavailable))
            .await
    }

    /// The ids of the deliberations that go on, oldest first.
    pub(super) async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error> {
        self.run(|connection| unfinished(connection).map_err(unavailable))
            .await
    }

    /// Some of the deliberations that a query asks for.
    pub(super) async fn page(&self, query: Query, limit: usize) -> Result<Page, Error> {
        let _place = self.lists.acquire().await.map_err(unavailable)?;
        self.run(move |connection| listing::page(connection, &query, limit).map_err(unavailable))
            .await
    }

    /// How deliberations ended so far.
    pub(super) async fn totals(&self) -> Result<Totals, Error> {
        self.run(|connection| totals(connection).map_err(unavailable))
            .await
    }

    /// The deliberations that owe events.
    pub(super) async fn owed(&self, limit: usize) -> Result<Vec<Owed>, Error> {
        self.run(move |connection| outbox::owed(connection, limit).map_err(unavailable))
            .await
    }

    /// How many those are.
    pub(super) async fn pending(&self) -> Result<u64, Error> {
        self.run(|connection| outbox::pending(connection).map_err(unavailable))
            .await
    }

    /// Runs `read` on a thread that may block. Goes on to its end when the caller goes away.
    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(unavailable)?;
        let idle = Arc::clone(&self.idle);
        let path = self.path.clone();
        let answer = spawn_blocking(move || {
            let pooled = idle.lock().expect("nothing panics under this lock").pop();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => schema::open_reader(&path).map_err(unavailable)?,
            };
            let answer = read(&mut connection);
            idle.lock()
                .expect("nothing panics under this lock")
                .push(connection);
            drop(permit);
            answer
        });
        answer.await.map_err(unavailable)?
    }
}

fn records(
    connection: &mut Connection,
    id: &DeliberationId,
    after: Seq,
) -> Result<Vec<Record>, Error> {
    // What cannot be read is behind what was read: the damage is there.
    let mut records: Vec<Record> = Vec::new();
    let read = read_records(connection, id, after, &mut records);
    read.map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Storage(error) => {
            let last = records.last().map_or(after, |record| record.seq);
            storage_error(id, last.next(), error)
        }
    })?;
    Ok(records)
}

enum Failure {
    Refused(Error),
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

fn read_records(
    connection: &mut Connection,
    id: &DeliberationId,
    after: Seq,
    records: &mut Vec<Record>,
) -> Result<(), Failure> {
    let mut batches = connection.prepare_cached(BATCHES)?;
    let mut rows = batches.query(params![id.as_str(), after.0.cast_signed()])?;
    let mut end = None;
    let mut last = after;
    while let Some(row) = rows.next()? {
        let place = |column| row.get(column).map(|place: i64| Seq(place.cast_unsigned()));
        let row_end = place(0)?;
        end = Some(row_end);
        if after >= row_end {
            return Ok(());
        }
        if row.get_ref(1)? == ValueRef::Null {
            break;
        }
        let (first, row_last) = (place(1)?, place(2)?);
        // `after` may stand within the first batch.
        let follows = first == last.next() || (last == after && first <= after);
        if !follows {
            let reason = format!("it is missing; entry {first} comes next");
            return Err(codec::corrupt(id, last.next(), reason).into());
        }
        let body = row.get_ref(3)?.as_bytes().map_err(rusqlite::Error::from)?;
        codec::decode(id, first..=row_last, body, after, records)?;
        last = row_last;
    }
    let end = end.ok_or_else(|| Error::NotFound(id.clone()))?;
    if last != end {
        let reason = format!("it is missing; {end} were written");
        return Err(codec::corrupt(id, last.next(), reason).into());
    }
    Ok(())
}

fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<DeliberationId>> {
    let mut statement = connection.prepare_cached(UNFINISHED)?;
    let ids = statement.query_map([], |row| Ok(DeliberationId::new(row.get_ref(0)?.as_str()?)))?;
    ids.collect()
}

fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let mut statement = connection.prepare_cached(TOTALS)?;
    statement.query_row([], |row| {
        let column = |at| row.get(at).map(i64::cast_unsigned);
        Ok(Totals {
            accepted: column(0)?,
            completed: column(1)?,
            failed: column(2)?,
            cancelled: column(3)?,
            duration_ms_sum: column(4)?,
        })
    })
}
