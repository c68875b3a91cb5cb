//! What the SQLite journal adds to the contract of every journal.

mod durability;
mod failures;
mod migration;
mod outbox;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use conclave_core::entry::{Entry, Record};
use conclave_core::ids::{Actor, DeliberationId, Seq};
use conclave_core::journal::{Creation, Existing, IdempotencyKey, Journal as _, Statistics as _};
use conclave_core::outcome::Verdict;
use conclave_core::testkit::journal::{accepted, contract, finished, listing_contract, records};
use tempfile::TempDir;

use super::*;

/// A directory with the path of a journal in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    (directory, path)
}

/// Starts a deliberation and appends so many records.
async fn start(journal: &SqliteJournal, count: u64) -> DeliberationId {
    let id = DeliberationId::generate();
    journal.create(&id, &accepted(&id), None).await.unwrap();
    journal
        .append(&id, Seq(1), &records(Seq(1), count))
        .await
        .unwrap();
    id
}

/// A record of about so many bytes.
fn large(seq: Seq, bytes: usize) -> Arc<Record> {
    Arc::new(Record {
        seq,
        at_ms: 1,
        entry: Entry::Emitted {
            actor: Actor::STRATEGY,
            kind: "large".to_owned(),
            payload: "x".repeat(bytes),
        },
    })
}

#[tokio::test]
async fn it_meets_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    let open = async || {
        number.set(number.get() + 1);
        let path = directory.path().join(format!("{}.db", number.get()));
        Arc::new(SqliteJournal::open(path).unwrap())
    };
    contract(&open).await;
    listing_contract(&open).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let (_directory, path) = place();
    let key = IdempotencyKey {
        scope: "submit".to_owned(),
        key: "k".to_owned(),
        fingerprint: conclave_core::ids::Digest::of(b"request"),
    };
    let journal = SqliteJournal::open(&path).unwrap();
    let keyed = DeliberationId::generate();
    journal
        .create(&keyed, &accepted(&keyed), Some(&key))
        .await
        .unwrap();
    let ended = start(&journal, 3).await;
    let end = finished(Seq(5), 700, Verdict::Cancelled(String::new()));
    journal.append(&ended, Seq(4), &[end]).await.unwrap();
    let before = (
        journal.read(&ended, Seq::START).await.unwrap(),
        journal.totals().await.unwrap(),
    );
    drop(journal);

    let journal = SqliteJournal::open(&path).unwrap();
    let after = (
        journal.read(&ended, Seq::START).await.unwrap(),
        journal.totals().await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(
        journal.unfinished().await.unwrap(),
        std::slice::from_ref(&keyed)
    );
    let existing = Creation::Existing(Existing {
        id: keyed,
        fingerprint: key.fingerprint,
    });
    let id = DeliberationId::generate();
    assert_eq!(
        journal
            .create(&id, &accepted(&id), Some(&key))
            .await
            .unwrap(),
        existing
    );
}

#[test]
fn a_journal_is_opened_once_at_a_time() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(&refused, OpenError::InUse(named) if *named == path));
    assert_eq!(
        refused.to_string(),
        format!(
            "`{}` is in use by another host: stop that one, or give this one a data directory of its own",
            path.display()
        )
    );
    drop(journal);
    SqliteJournal::open(&path).unwrap();
}

#[test]
fn a_journal_of_a_later_build_is_refused_and_left_as_it_is() {
    let (_directory, path) = place();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE later (x); PRAGMA user_version = 9")
        .unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("has schema version 9, this build knows 2"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_journal_is_refused() {
    let (directory, path) = place();
    std::fs::write(&path, "no database\n".repeat(1000)).unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused:?}");
    let refused = SqliteJournal::open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::File { .. }), "{refused:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_its_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("new").join("data");
    let journal = SqliteJournal::open(data.join("journal.db")).unwrap();
    start(&journal, 1).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(data.parent().unwrap()), 0o700);
    let files: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(
        files.len(),
        4,
        "the journal, its log, the log's index and the lock: {files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
