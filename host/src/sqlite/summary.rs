//! What lists are filtered by: one row for each deliberation.

use conclave_core::chain::Chain;
use conclave_core::entry::Accepted;
use conclave_core::ids::DeliberationId;
use rusqlite::{Connection, params};

use crate::sqlite::codec;

const INSERT: &str = "
    INSERT INTO summaries
    (place, tenant, task_id, role, strategy, scorer, correlation_id, priority, labels)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const FIRST_BATCHES: &str = "
    SELECT place, id, body FROM deliberations JOIN batches ON deliberation = place AND first_seq = 1";

/// A row of the table `summaries`, without its place.
#[derive(Debug)]
pub(super) struct Summary {
    /// Stands in the deliberation's own row.
    pub(super) accepted_at_ms: u64,
    tenant: String,
    task_id: String,
    role: String,
    strategy: String,
    scorer: String,
    correlation_id: String,
    priority: u8,
    labels: String,
}

impl Summary {
    /// The summary of what was accepted.
    pub(super) fn of(accepted: &Accepted) -> Self {
        let request = &accepted.request;
        Self {
            accepted_at_ms: accepted.accepted_at_ms,
            tenant: accepted.tenant.to_string(),
            task_id: request.task.id.clone(),
            role: request.task.role.clone(),
            strategy: accepted.strategy.name.clone(),
            scorer: accepted.scorer.name.clone(),
            correlation_id: request.correlation_id.clone().unwrap_or_default(),
            priority: request.priority.get(),
            labels: serde_json::to_string(&request.labels).expect("texts are JSON"),
        }
    }

    /// Writes the row of the deliberation at `place`.
    pub(super) fn insert(&self, connection: &Connection, place: i64) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(INSERT)?;
        let row = params![
            place,
            self.tenant,
            self.task_id,
            self.role,
            self.strategy,
            self.scorer,
            self.correlation_id,
            self.priority,
            self.labels,
        ];
        statement.execute(row).map(drop)
    }
}

/// Writes the rows of all deliberations, from their first records. One that cannot be read is left
/// out: it would not be shown in a list either.
pub(super) fn summarise_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(FIRST_BATCHES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = DeliberationId::new(row.get_ref(1)?.as_str()?);
        let body = row.get_ref(2)?.as_bytes()?;
        let first = codec::decode_first(&id, body);
        match first.as_ref().map(|first| codec::accepted(&id, first)) {
            Ok(Ok(accepted)) => Summary::of(accepted).insert(connection, row.get(0)?)?,
            Ok(Err(error)) => left_out(&id, &error),
            Err(error) => left_out(&id, error),
        }
    }
    Ok(())
}

/// Tells of a deliberation that no list shows.
pub(super) fn left_out(id: &DeliberationId, error: &conclave_core::journal::Error) {
    tracing::warn!(
        %id,
        error = %Chain(error),
        "a deliberation cannot be listed"
    );
}
