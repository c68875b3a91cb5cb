//! The tables, and how connections to them are set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::sqlite::{OpenError, outbox, summary};

/// The latest schema that this build reads and writes; kept in the file's `user_version`.
const VERSION: i64 = 2;

/// The tables of version 1.
///
/// The records of one batch are one row, and rows are stored in the order of their arrival: so a
/// group of batches fills few pages, and each page is written about once. A table ordered by
/// deliberation would write one page for each deliberation in each commit.
const TABLES: &str = "
    CREATE TABLE deliberations (
        place INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        last_seq INTEGER NOT NULL,
        -- 0 unfinished, 1 completed, 2 failed, 3 cancelled
        state INTEGER NOT NULL DEFAULT 0,
        accepted_at_ms INTEGER NOT NULL,
        finished_at_ms INTEGER
    ) STRICT;
    CREATE INDEX deliberations_unfinished ON deliberations (state) WHERE state = 0;

    CREATE TABLE batches (
        arrival INTEGER PRIMARY KEY,
        deliberation INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        -- a line for each record: format version, checksum, JSON
        body BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX batches_in_order ON batches (deliberation, last_seq);

    CREATE TABLE idempotency (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        deliberation INTEGER NOT NULL,
        PRIMARY KEY (scope, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE totals (
        accepted INTEGER NOT NULL,
        completed INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        duration_ms_sum INTEGER NOT NULL
    ) STRICT;
    INSERT INTO totals VALUES (0, 0, 0, 0, 0);
";

/// What version 2 adds.
///
/// A row of `summaries` is written with its deliberation and never changes: it holds what lists are
/// filtered by. The index leads to a tenant's rows in the order of their places, since SQLite ends each
/// of its entries with the row's place.
const TABLES_OF_2: &str = "
    CREATE TABLE summaries (
        place INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        task_id TEXT NOT NULL,
        role TEXT NOT NULL,
        strategy TEXT NOT NULL,
        scorer TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        priority INTEGER NOT NULL,
        -- a JSON object
        labels TEXT NOT NULL
    ) STRICT;
    CREATE INDEX summaries_of_tenant ON summaries (tenant);
";

/// How long a connection waits for a lock. None is held for long within a host; a person may have
/// the file open in another tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The log's file is cut to this size when it was larger and starts over.
const LOG_BYTES_KEPT: i64 = 32 << 20;

/// Opens the writer's connection and brings the tables to this build's version.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let found = user_version(&connection).map_err(failed)?;
    if found > VERSION {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    set_durable(&connection).map_err(failed)?;
    migrate(&mut connection, found).map_err(failed)?;
    Ok(connection)
}

/// Opens the connection that moves the log into the file.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set_durable(&connection)?;
    Ok(connection)
}

/// Opens a connection that can only read.
///
/// Pages are not mapped into memory: a disk error would then end the process instead of the read.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // In KiB, when negative: records are read once, only the inner pages are worth keeping.
    connection.pragma_update(None, "cache_size", -2_048)?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Makes a commit durable before it is answered: in WAL mode, FULL syncs the log at each commit.
fn set_durable(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        let reason = format!("the file system allows journal mode `{mode}`, it must allow `wal`");
        return Err(rusqlite::Error::SqliteFailure(code, Some(reason)));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain sync does not reach the disk; elsewhere these change nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // `checkpoint` decides when, so that no commit waits for it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    // In KiB, when negative: holds the inner pages and the tail of every table.
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(())
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the tables from the version that was found to this build's, whole or not at all.
fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    if found == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;

    if found < 1 {
        transaction.execute_batch(TABLES)?;
    }
    if found < 2 {
        transaction.execute_batch(TABLES_OF_2)?;
        transaction.execute_batch(outbox::TABLE)?;
        summary::summarise_all(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    if found > 0 {
        tracing::info!(
            from = found,
            to = VERSION,
            "the journal was brought to a newer schema"
        );
    }
    Ok(())
}
