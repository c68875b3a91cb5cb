//! What is owed is in the transaction that makes it durable.

use conclave_core::entry::{Entry, Record};
use conclave_core::events::Telling;
use conclave_core::ids::{DeliberationId, JobId, Seq};
use conclave_core::journal::Journal as _;
use conclave_core::outbox::Ledger as _;
use conclave_core::outcome::Verdict;
use conclave_core::testkit::journal::{accepted, finished, ledger_contract};

use super::*;

/// A journal that owes events of these entries.
fn owing(path: impl AsRef<Path>, telling: Telling) -> Result<SqliteJournal, OpenError> {
    SqliteJournal::open_with(path, telling, Box::new(|_| ()))
}

fn attempt(seq: u64) -> Arc<Record> {
    Arc::new(Record {
        seq: Seq(seq),
        at_ms: seq,
        entry: Entry::Attempt {
            job: JobId(1),
            attempt: 1,
            after: None,
            temperature: None,
        },
    })
}

fn rows(connection: &rusqlite::Connection) -> i64 {
    let count = connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0));
    count.unwrap()
}

#[tokio::test]
async fn it_meets_the_contract_of_a_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    let open = async |telling| {
        number.set(number.get() + 1);
        let path = directory.path().join(format!("{}.db", number.get()));
        Arc::new(owing(path, telling).unwrap())
    };
    ledger_contract(open).await;
}

#[tokio::test]
async fn what_is_owed_is_there_after_a_kill_and_gone_once_it_is_acknowledged() {
    let (_directory, path) = place();
    let journal = owing(&path, Telling::Lifecycle).unwrap();
    let id = start(&journal, 0).await;
    let end = finished(Seq(3), 700, Verdict::Cancelled(String::new()));
    journal.append(&id, Seq(1), &[attempt(2)]).await.unwrap();
    journal.append(&id, Seq(2), &[end]).await.unwrap();
    // The files as a kill would leave them.
    let copied = durability::copy(&path, "killed.db", |_| ());
    let killed = owing(copied, Telling::Lifecycle).unwrap();
    let owed = killed.owed(10).await.unwrap();
    assert_eq!(
        (owed.len(), owed[0].due, owed[0].finished),
        (1, Seq(3), true)
    );
    killed.acknowledge(&[(id, Seq(3))]).await.unwrap();
    assert_eq!(killed.writer.inspect(rows).await, 0);
}

#[tokio::test]
async fn what_ended_while_nothing_was_told_leaves_no_row() {
    let (_directory, path) = place();
    let journal = owing(&path, Telling::Lifecycle).unwrap();
    let id = start(&journal, 0).await;
    journal.append(&id, Seq(1), &[attempt(2)]).await.unwrap();
    journal.acknowledge(&[(id.clone(), Seq(2))]).await.unwrap();
    assert_eq!(journal.writer.inspect(rows).await, 1, "it still runs");
    drop(journal);
    let journal = SqliteJournal::open(&path).unwrap();
    let end = finished(Seq(3), 700, Verdict::Cancelled(String::new()));
    journal.append(&id, Seq(2), &[end]).await.unwrap();
    drop(journal);
    let journal = owing(&path, Telling::Lifecycle).unwrap();
    assert_eq!(journal.writer.inspect(rows).await, 0);
}

#[tokio::test]
async fn a_file_of_version_1_is_brought_to_this_version_with_what_it_holds() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = DeliberationId::generate();
    journal.create(&id, &accepted(&id), None).await.unwrap();
    drop(journal);
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch("DROP TABLE outbox; DROP TABLE summaries; PRAGMA user_version = 1")
        .unwrap();
    drop(old);

    let journal = owing(&path, Telling::Lifecycle).unwrap();
    assert_eq!(journal.read(&id, Seq::START).await.unwrap().len(), 1);
    // It runs on: what was sent before is told with the next attempt.
    journal.append(&id, Seq(1), &[attempt(2)]).await.unwrap();
    assert_eq!(journal.owed(10).await.unwrap().len(), 1);
    drop(journal);
    SqliteJournal::open(&path).unwrap();
}
