//! What was answered survives a kill at any moment.

use futures::FutureExt as _;

use super::*;
use crate::sqlite::files::beside;

/// Copies the files as a kill would leave them, with the log cut to `log_bytes` of it, or all of it
/// followed by garbage.
pub(super) fn copy(path: &Path, name: &str, log: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let copied = path.with_file_name(name);
    std::fs::copy(path, &copied).unwrap();
    let mut bytes = std::fs::read(beside(path, "-wal")).unwrap();
    log(&mut bytes);
    std::fs::write(beside(&copied, "-wal"), bytes).unwrap();
    copied
}

#[tokio::test]
async fn commits_and_checkpoints_are_synced() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let settings = |connection: &rusqlite::Connection| {
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        let number = |name| -> i64 {
            connection
                .pragma_query_value(None, name, |row| row.get(0))
                .unwrap()
        };
        (
            mode,
            number("synchronous"),
            number("fullfsync"),
            number("checkpoint_fullfsync"),
        )
    };
    let full = 2;
    let expected = ("wal".to_owned(), full, 1, 1);
    assert_eq!(journal.writer.inspect(settings).await, expected);
    assert_eq!(
        settings(&schema::open_checkpointer(&path).unwrap()),
        expected
    );
}

#[tokio::test]
async fn a_kill_after_any_answer_loses_nothing_that_was_answered() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 0).await;
    let mut copies = Vec::new();
    for after in (1..30).step_by(3) {
        journal
            .append(&id, Seq(after), &records(Seq(after), 3))
            .await
            .unwrap();
        copies.push((after + 3, copy(&path, &format!("{after}.db"), |_| ())));
    }
    for (answered, copied) in copies {
        let journal = SqliteJournal::open(copied).unwrap();
        let read = journal.read(&id, Seq::START).await.unwrap();
        assert_eq!(read.len() as u64, answered);
        journal
            .append(&id, Seq(answered), &records(Seq(answered), 1))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_torn_end_of_the_log_costs_only_what_was_not_answered() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 4).await;
    let answered_bytes = std::fs::metadata(beside(&path, "-wal")).unwrap().len() as usize;
    journal
        .append(&id, Seq(5), &[large(Seq(6), 9000), large(Seq(7), 9000)])
        .await
        .unwrap();
    let whole = std::fs::metadata(beside(&path, "-wal")).unwrap().len() as usize;
    assert!(
        whole > answered_bytes + 8192,
        "the last commit is several pages"
    );

    for cut in [
        answered_bytes,
        answered_bytes + 1,
        answered_bytes + 5000,
        whole - 1,
    ] {
        let torn = copy(&path, &format!("cut-{cut}.db"), |log| log.truncate(cut));
        let journal = SqliteJournal::open(torn).unwrap();
        assert_eq!(
            journal.read(&id, Seq::START).await.unwrap().len(),
            5,
            "cut to {cut} of {whole}"
        );
        journal
            .append(&id, Seq(5), &records(Seq(5), 1))
            .await
            .unwrap();
    }
    for garbage in [1, 24, 4096, 9000] {
        let torn = copy(&path, &format!("garbage-{garbage}.db"), |log| {
            log.extend_from_within(32..32 + garbage);
        });
        let journal = SqliteJournal::open(torn).unwrap();
        assert_eq!(
            journal.read(&id, Seq::START).await.unwrap().len(),
            7,
            "{garbage} more bytes"
        );
    }
}

#[tokio::test]
async fn dropping_the_journal_writes_what_is_queued() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 0).await;
    let batches: Vec<_> = (1..100).map(|after| records(Seq(after), 1)).collect();
    for (batch, after) in batches.iter().zip(1..) {
        // Asked for, and not waited for.
        let _ = journal.append(&id, Seq(after), batch).now_or_never();
    }
    drop(journal);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.read(&id, Seq::START).await.unwrap().len(), 100);
    drop(journal);
    assert!(
        !beside(&path, "-wal").exists(),
        "the log is empty after a clean end"
    );
}

#[tokio::test]
async fn the_log_does_not_grow_without_end() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 0).await;
    for after in (1..96).map(Seq) {
        let batch = [large(after.next(), 512 << 10)];
        journal.append(&id, after, &batch).await.unwrap();
    }
    let log = std::fs::metadata(beside(&path, "-wal")).unwrap().len();
    assert!(
        log < 36 << 20,
        "the log has {} MiB of 48 that were written",
        log >> 20
    );
    assert_eq!(journal.read(&id, Seq::START).await.unwrap().len(), 96);
}
