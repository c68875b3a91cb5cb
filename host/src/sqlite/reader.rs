//! Reads the journal on connections of its own, off the async threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use conclave_core::entry::Record;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::{Error, Totals};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::sqlite::{codec, schema, storage_error, unavailable};

/// Reads that run at once. Each takes a thread and 2 MiB of cache; they are short, and more than the
/// machine has cores for would only wait for each other.
const READERS_MAX: usize = 4;

const FIND: &str = "SELECT place, last_seq FROM deliberations WHERE id = ?1";
const BATCHES: &str = "
    SELECT first_seq, last_seq, body FROM batches
    WHERE deliberation = ?1 AND last_seq > ?2 ORDER BY last_seq";
const UNFINISHED: &str = "SELECT id FROM deliberations WHERE state = 0 ORDER BY place";
const TOTALS: &str = "SELECT accepted, completed, failed, cancelled, duration_ms_sum FROM totals";

/// The readers' connections, opened when they are needed first.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the journal at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
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

    /// The ids of the deliberations that go on, oldest first.
    pub(super) async fn unfinished(&self) -> Result<Vec<DeliberationId>, Error> {
        self.run(|connection| unfinished(connection).map_err(unavailable))
            .await
    }

    /// How deliberations ended so far.
    pub(super) async fn totals(&self) -> Result<Totals, Error> {
        self.run(|connection| totals(connection).map_err(unavailable))
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
    // One transaction: what is appended meanwhile is seen by neither statement.
    let transaction = connection.transaction()?;
    let mut find = transaction.prepare_cached(FIND)?;
    let found = find.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
    let found: Option<(i64, i64)> = found.optional()?;
    let (place, end) = found.ok_or_else(|| Error::NotFound(id.clone()))?;
    let end = Seq(end.cast_unsigned());
    if after >= end {
        return Ok(());
    }
    let mut batches = transaction.prepare_cached(BATCHES)?;
    let mut rows = batches.query([place, after.0.cast_signed()])?;
    let mut last = after;
    while let Some(row) = rows.next()? {
        let place = |column| row.get(column).map(|place: i64| Seq(place.cast_unsigned()));
        let (first, row_last) = (place(0)?, place(1)?);
        // `after` may stand within the first batch.
        let follows = first == last.next() || (last == after && first <= after);
        if !follows {
            let reason = format!("it is missing; entry {first} comes next");
            return Err(codec::corrupt(id, last.next(), reason).into());
        }
        let body = row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?;
        codec::decode(id, first..=row_last, body, after, records)?;
        last = row_last;
    }
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
