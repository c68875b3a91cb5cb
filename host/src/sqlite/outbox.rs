//! Which deliberations owe events: one small row for each that does, or that still runs.

use conclave_core::events::Telling;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::outbox::Owed;
use rusqlite::{Connection, params};

use crate::sqlite::codec::Batch;

/// What version 2 adds.
pub(super) const TABLE: &str = "
    CREATE TABLE outbox (
        -- of the deliberation
        place INTEGER PRIMARY KEY,
        -- the entry up to which its events are published
        acknowledged INTEGER NOT NULL,
        -- the last entry that is told
        due INTEGER NOT NULL
    ) STRICT;
";

/// What one acknowledgement adds to the log, about: rows of one age share a page.
pub(super) const ACKNOWLEDGEMENT_BYTES: usize = 128;

/// Of attempts only the first is told: where there is a row, that has been marked.
const BEGIN: &str = "
    INSERT INTO outbox (place, acknowledged, due) VALUES (?1, 0, ?2)
    ON CONFLICT (place) DO NOTHING";
const OWE: &str = "
    INSERT INTO outbox (place, acknowledged, due) VALUES (?1, 0, ?2)
    ON CONFLICT (place) DO UPDATE SET due = excluded.due";
const ACKNOWLEDGE: &str = "
    UPDATE outbox SET acknowledged = ?2
    WHERE place = (SELECT place FROM deliberations WHERE id = ?1) AND acknowledged < ?2";
const SETTLE: &str = "
    DELETE FROM outbox WHERE acknowledged >= due
    AND place = (SELECT place FROM deliberations WHERE id = ?1 AND state != 0)";
const FORGET_SETTLED: &str = "
    DELETE FROM outbox WHERE acknowledged >= due
    AND place IN (SELECT place FROM deliberations WHERE state != 0)";
const OWED: &str = "
    SELECT id, acknowledged, due, state != 0 FROM outbox JOIN deliberations USING (place)
    WHERE acknowledged < due ORDER BY place LIMIT ?1";
const PENDING: &str = "SELECT count(*) FROM outbox WHERE acknowledged < due";

/// Notes what the deliberation at `place` owes for a batch, within the transaction that writes it.
pub(super) fn mark(
    connection: &Connection,
    telling: Telling,
    place: i64,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let end = batch.end.map(|_| batch.last);
    let (statement, due) = match telling {
        Telling::Nothing => return Ok(()),
        Telling::Lifecycle if end.is_some() => (OWE, end),
        Telling::Lifecycle => (BEGIN, batch.attempt),
        Telling::Progress => (OWE, end.max(batch.emitted).max(batch.attempt)),
    };
    if let Some(due) = due {
        let mut statement = connection.prepare_cached(statement)?;
        statement.execute(params![place, due.0.cast_signed()])?;
    }
    Ok(())
}

/// Takes note of what is published, and forgets deliberations that have ended and owe nothing more.
pub(super) fn acknowledge(
    connection: &Connection,
    through: &[(DeliberationId, Seq)],
) -> rusqlite::Result<()> {
    let mut acknowledge = connection.prepare_cached(ACKNOWLEDGE)?;
    let mut settle = connection.prepare_cached(SETTLE)?;
    for (id, seq) in through {
        acknowledge.execute(params![id.as_str(), seq.0.cast_signed()])?;
        settle.execute([id.as_str()])?;
    }
    Ok(())
}

/// Forgets what ended while nothing was told: its row would stay for ever.
pub(super) fn forget_settled(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(FORGET_SETTLED, []).map(drop)
}

/// The first deliberations that owe events.
pub(super) fn owed(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Owed>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(OWED)?;
    let owed = statement.query_map([limit], |row| {
        let place = |column| row.get(column).map(|place: i64| Seq(place.cast_unsigned()));
        Ok(Owed {
            id: DeliberationId::new(row.get_ref(0)?.as_str()?),
            acknowledged: place(1)?,
            due: place(2)?,
            finished: row.get(3)?,
        })
    })?;
    owed.collect()
}

/// How many deliberations owe events.
pub(super) fn pending(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(PENDING)?;
    statement.query_row([], |row| row.get(0).map(i64::cast_unsigned))
}
