//! The registry's file: which components there are, what names stand for, and how that came about.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::canary::Trial;
use conclave_core::channel::{Channels, PluginName, Share};
use conclave_core::ids::Digest;
use conclave_core::params::ParamsSchema;
use conclave_core::plugin::{Descriptor, Kind, Listed, Plugin, PluginRef};
use conclave_core::registry::{Action, Change, HistoryQuery};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::table::{Entry, Table};

/// The schema that this build reads and writes; kept in the file's `user_version`.
const VERSION: i64 = 1;

/// A component is a row for as long as it can be named; its bytes are a file. Channels are one row for
/// each name, so a change of one is whole or not at all. Rows of `changes` are only added.
const TABLES: &str = "
    CREATE TABLE components (
        number INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        summary TEXT NOT NULL,
        params_schema TEXT NOT NULL,
        contract TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        -- JSON
        source TEXT NOT NULL,
        added_at_ms INTEGER NOT NULL,
        added_by TEXT NOT NULL,
        signed_by TEXT
    ) STRICT;
    CREATE TABLE channels (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        -- JSON
        state TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        by TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        action TEXT NOT NULL,
        digest TEXT NOT NULL,
        version TEXT NOT NULL,
        stable_before TEXT,
        stable_after TEXT,
        share INTEGER,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE INDEX changes_of_name ON changes (kind, name);
    CREATE TABLE evidence (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        -- JSON
        state TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
";

/// A person may have the file open in another tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of a damaged value that its error tells.
const DAMAGED_CHARS_MAX: usize = 200;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite says no.
    #[error("the registry's database does not answer")]
    Sqlite(#[from] rusqlite::Error),
    /// A later build wrote it.
    #[error(
        "the registry has the schema {found}, this build knows {VERSION}; run the build that wrote it, or a later one"
    )]
    Later {
        /// The schema that was found.
        found: i64,
    },
    /// A value is not what this build writes.
    #[error("the registry holds `{text}` where {what} should be")]
    Damaged {
        /// What should be there.
        what: &'static str,
        /// How what is there begins.
        text: String,
    },
}

/// One durable step: what is added, removed and set, and the line of history that tells of it.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) name: &'a PluginName,
    pub(super) added: Option<&'a Listed>,
    pub(super) removed: Option<Digest>,
    pub(super) channels: Option<&'a Channels>,
    /// Their numbers are set when they are kept.
    pub(super) changes: Vec<Change>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // What was answered survives power loss.
        connection.pragma_update(None, "synchronous", "full")?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => {
                let tables = format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
                connection.execute_batch(&tables)?;
            }
            VERSION => {}
            found => return Err(Error::Later { found }),
        }
        Ok(Self { connection })
    }

    /// Writes a copy of another registry's file, as it is now, to `to`.
    pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    }

    pub(super) fn load(&self) -> Result<Table, Error> {
        let mut table = Table::default();
        let sql = "SELECT kind, name, state FROM channels";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = PluginName::new(kind(&row.get::<_, String>(0)?)?, row.get::<_, String>(1)?);
            let channels = json("channels", &row.get::<_, String>(2)?)?;
            let components = self.components(&name)?;
            let entry = Entry {
                components,
                channels,
            };
            table = table.with(name, entry);
        }
        Ok(table)
    }

    fn components(&self, name: &PluginName) -> Result<Vec<Listed>, Error> {
        let sql = "SELECT digest, version, summary, params_schema, contract, bytes, source,
                added_at_ms, added_by, signed_by
            FROM components WHERE kind = ?1 AND name = ?2 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![name.kind.to_string(), name.name])?;
        let mut components = Vec::new();
        while let Some(row) = rows.next()? {
            components.push(listed(name, row)?);
        }
        Ok(components)
    }

    /// Keeps a step, whole or not at all; durable when it returns.
    pub(super) fn keep(&mut self, step: &mut Step<'_>) -> Result<(), Error> {
        let transaction = self.connection.transaction()?;
        if let Some(listed) = step.added {
            insert(&transaction, step.name, listed)?;
        }
        if let Some(digest) = step.removed {
            transaction.execute(
                "DELETE FROM components WHERE digest = ?1",
                [digest.to_string()],
            )?;
        }
        let (kind, name) = (step.name.kind.to_string(), &step.name.name);
        if let Some(channels) = step.channels {
            transaction.execute(
                "INSERT INTO channels VALUES (?1, ?2, ?3)
                    ON CONFLICT DO UPDATE SET state = excluded.state",
                params![kind, name, text(channels)],
            )?;
        } else {
            let left = "SELECT 1 FROM components WHERE kind = ?1 AND name = ?2";
            let left = transaction.query_row(left, params![kind, name], |_| Ok(()));
            if left.optional()?.is_none() {
                let gone = "DELETE FROM channels WHERE kind = ?1 AND name = ?2";
                transaction.execute(gone, params![kind, name])?;
            }
        }
        for change in &mut step.changes {
            change.number = note(&transaction, change)?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> Result<Vec<Change>, Error> {
        let sql = "SELECT number, at_ms, by, kind, name, action, digest, version, stable_before,
                stable_after, share, reason
            FROM changes
            WHERE (?1 IS NULL OR (kind = ?1 AND name = ?2)) AND (?3 IS NULL OR number < ?3)
            ORDER BY number DESC LIMIT ?4";
        let of = query.name.as_ref();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![
            of.map(|name| name.kind.to_string()),
            of.map(|name| name.name.as_str()),
            query.before.map(signed),
            i64::try_from(query.limit).unwrap_or(i64::MAX),
        ])?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            changes.push(change(row)?);
        }
        Ok(changes)
    }

    /// What was seen of canaries, as it was kept last. What this build cannot read is left out: it
    /// is evidence, and begins anew.
    pub(super) fn evidence(&self) -> Result<Vec<Trial>, Error> {
        let sql = "SELECT kind, name, state FROM evidence";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut trials = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            match serde_json::from_str(&row.get::<_, String>(2)?) {
                Ok(trial) => trials.push(trial),
                Err(error) => tracing::warn!(
                    kind,
                    name,
                    %error,
                    "what was seen of a canary cannot be read; if it is still tried, its trial begins anew"
                ),
            }
        }
        Ok(trials)
    }

    /// Keeps what was seen of canaries instead of what was kept before. Writes only what differs.
    pub(super) fn keep_evidence(&mut self, trials: &[Trial]) -> Result<(), Error> {
        let transaction = self.connection.transaction()?;
        let mut kept = Vec::new();
        for trial in trials {
            let name = trial.plugin();
            let (kind, name) = (name.kind.to_string(), &name.name);
            transaction.execute(
                "INSERT INTO evidence VALUES (?1, ?2, ?3)
                    ON CONFLICT DO UPDATE SET state = excluded.state
                    WHERE state <> excluded.state",
                params![kind, name, text(trial)],
            )?;
            kept.push(format!("{kind} {name}"));
        }
        transaction.execute(
            "DELETE FROM evidence
                WHERE kind || ' ' || name NOT IN (SELECT value FROM json_each(?1))",
            [text(&kept)],
        )?;
        transaction.commit()?;
        Ok(())
    }
}

fn insert(transaction: &Transaction<'_>, name: &PluginName, listed: &Listed) -> Result<(), Error> {
    let Plugin {
        reference,
        descriptor,
        ..
    } = &*listed.plugin;
    transaction.execute(
        "INSERT INTO components (digest, kind, name, version, summary, params_schema, contract,
            bytes, source, added_at_ms, added_by, signed_by)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            reference.digest.to_string(),
            name.kind.to_string(),
            name.name,
            reference.version,
            descriptor.summary,
            descriptor.params_schema,
            listed.contract,
            signed(listed.bytes),
            text(&listed.source),
            signed(listed.added_at_ms),
            listed.added_by,
            listed.signed_by,
        ],
    )?;
    Ok(())
}

fn note(transaction: &Transaction<'_>, change: &Change) -> Result<u64, Error> {
    transaction.execute(
        "INSERT INTO changes (at_ms, by, kind, name, action, digest, version, stable_before,
            stable_after, share, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            signed(change.at_ms),
            change.by,
            change.name.kind.to_string(),
            change.name.name,
            change.action.as_str(),
            change.digest.to_string(),
            change.version,
            change.stable_before.map(|digest| digest.to_string()),
            change.stable_after.map(|digest| digest.to_string()),
            change.share.map(Share::basis_points),
            change.reason,
        ],
    )?;
    Ok(unsigned(transaction.last_insert_rowid()))
}

fn listed(name: &PluginName, row: &Row<'_>) -> Result<Listed, Error> {
    let descriptor = Descriptor {
        name: name.name.clone(),
        version: row.get(1)?,
        summary: row.get(2)?,
        params_schema: row.get(3)?,
    };
    let reference = PluginRef {
        name: name.name.clone(),
        version: descriptor.version.clone(),
        digest: digest(&row.get::<_, String>(0)?)?,
    };
    // The build that took it had other rules: that is no reason for the host not to start.
    let params = ParamsSchema::parse(&descriptor.params_schema).unwrap_or_else(|error| {
        tracing::error!(
            plugin = %reference, kind = %name.kind, digest = %reference.digest, %error,
            "this build refuses the params-schema of a plugin that an earlier one took: requests for it \
             are refused; promote or name another version"
        );
        ParamsSchema::refused(&error)
    });
    let plugin = Plugin {
        reference,
        kind: name.kind,
        descriptor,
        params,
    };
    Ok(Listed {
        plugin: Arc::new(plugin),
        contract: row.get(4)?,
        bytes: unsigned(row.get(5)?),
        source: json("a source", &row.get::<_, String>(6)?)?,
        added_at_ms: unsigned(row.get(7)?),
        added_by: row.get(8)?,
        signed_by: row.get(9)?,
    })
}

fn change(row: &Row<'_>) -> Result<Change, Error> {
    let optional = |text: Option<String>| text.as_deref().map(digest).transpose();
    let action: String = row.get(5)?;
    let share: Option<u16> = row.get(10)?;
    let share = share.map(|points| {
        Share::try_from(points).map_err(|error| damaged("a share", &error.to_string()))
    });
    Ok(Change {
        number: unsigned(row.get(0)?),
        at_ms: unsigned(row.get(1)?),
        by: row.get(2)?,
        name: PluginName::new(kind(&row.get::<_, String>(3)?)?, row.get::<_, String>(4)?),
        action: Action::named(&action).ok_or_else(|| damaged("an action", &action))?,
        digest: digest(&row.get::<_, String>(6)?)?,
        version: row.get(7)?,
        stable_before: optional(row.get(8)?)?,
        stable_after: optional(row.get(9)?)?,
        share: share.transpose()?,
        reason: row.get(11)?,
    })
}

fn damaged(what: &'static str, text: &str) -> Error {
    Error::Damaged {
        what,
        text: text.chars().take(DAMAGED_CHARS_MAX).collect(),
    }
}

fn kind(text: &str) -> Result<Kind, Error> {
    match text {
        "strategy" => Ok(Kind::Strategy),
        "scorer" => Ok(Kind::Scorer),
        _ => Err(damaged("a kind", text)),
    }
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|_| damaged("a digest", text))
}

fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| damaged(what, text))
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain values have text keys and finite numbers")
}

/// SQLite's integers have a sign; none of these reaches it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
