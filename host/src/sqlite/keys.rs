//! The clients' keys, and the deliberations that they stand for.

use conclave_core::ids::DeliberationId;
use conclave_core::journal::{Existing, IdempotencyKey};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, params};

const FIND: &str = "
    SELECT id, fingerprint FROM idempotency
    JOIN deliberations ON place = deliberation WHERE scope = ?1 AND key = ?2";
const REMEMBER: &str =
    "INSERT INTO idempotency (scope, key, fingerprint, deliberation) VALUES (?1, ?2, ?3, ?4)";

/// What the key stands for.
pub(super) fn find(
    connection: &Connection,
    key: &IdempotencyKey,
) -> rusqlite::Result<Option<Existing>> {
    let mut statement = connection.prepare_cached(FIND)?;
    let existing = statement.query_row([&key.scope, &key.key], |row| {
        let fingerprint: String = row.get(1)?;
        Ok(Existing {
            id: DeliberationId::new(row.get_ref(0)?.as_str()?),
            fingerprint: fingerprint.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
            })?,
        })
    });
    existing.optional()
}

/// Lets the key stand for the deliberation at `place`.
pub(super) fn remember(
    connection: &Connection,
    key: &IdempotencyKey,
    place: i64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(REMEMBER)?;
    let fingerprint = key.fingerprint.to_string();
    let row = params![key.scope, key.key, fingerprint, place];
    statement.execute(row).map(drop)
}
