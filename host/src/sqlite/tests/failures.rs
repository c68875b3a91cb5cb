//! What fails does so alone, and is told.

use std::sync::mpsc::{SyncSender, sync_channel};

use conclave_core::journal::Error;
use futures::future::{join, join_all};

use super::*;

/// Changes one byte behind each place where `text` stands in the file.
fn damage(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let places = bytes.windows(text.len()).enumerate();
    let found: Vec<_> = places
        .filter(|(_, here)| *here == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "`{text}` stands in the file");
    for at in found {
        bytes[at + text.len()] ^= 0x04;
    }
    std::fs::write(path, bytes).unwrap();
}

/// Lets the writer wait until something is sent, so that what is asked meanwhile becomes one group.
async fn hold(journal: &SqliteJournal) -> SyncSender<()> {
    let (release, released) = sync_channel(1);
    let (started, holds) = tokio::sync::oneshot::channel();
    let hold = journal.writer.inspect(move |_| {
        let _ = started.send(());
        let _ = released.recv();
    });
    // Only the closure's start is waited for.
    tokio::select! {
        biased;
        () = hold => unreachable!("nothing was sent yet"),
        holds = holds => holds.unwrap(),
    }
    release
}

#[tokio::test]
async fn a_flipped_byte_fails_its_deliberation_and_no_other() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        let id = start(&journal, 2).await;
        let mut marked = Record::clone(&records(Seq(3), 1)[0]);
        if let Entry::Emitted { payload, .. } = &mut marked.entry {
            *payload = format!("marker-{number}-abcdef");
        }
        journal
            .append(&id, Seq(3), &[Arc::new(marked)])
            .await
            .unwrap();
        journal
            .append(&id, Seq(4), &records(Seq(4), 2))
            .await
            .unwrap();
        ids.push(id);
    }
    drop(journal);
    damage(&path, "marker-2-");

    let journal = SqliteJournal::open(&path).unwrap();
    for id in &ids {
        let answer = journal.read(id, Seq::START).await;
        if *id == ids[2] {
            let Err(Error::Corrupt {
                id: named,
                seq,
                reason,
            }) = answer
            else {
                panic!("the damage must be found: {answer:?}");
            };
            assert_eq!((&named, seq), (id, Seq(4)));
            assert!(reason.contains("checksum"), "{reason}");
            assert_eq!(
                journal.read(id, Seq(4)).await.unwrap().len(),
                2,
                "what is behind it is whole"
            );
        } else {
            assert_eq!(answer.unwrap().len(), 6);
            journal
                .append(id, Seq(6), &records(Seq(6), 1))
                .await
                .unwrap();
        }
    }
    assert_eq!(journal.unfinished().await.unwrap(), ids);
    assert!(journal.healthy().await);
}

#[tokio::test]
async fn a_lost_row_is_a_damaged_record() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 2).await;
    journal
        .append(&id, Seq(3), &records(Seq(3), 2))
        .await
        .unwrap();
    journal
        .append(&id, Seq(5), &records(Seq(5), 2))
        .await
        .unwrap();
    for (lost, seq) in [(5, 4), (7, 4), (1, 1)] {
        let sql = format!("DELETE FROM batches WHERE last_seq = {lost}");
        journal
            .writer
            .inspect(move |connection| connection.execute(&sql, []).unwrap())
            .await;
        let answer = journal.read(&id, Seq::START).await;
        assert!(
            matches!(&answer, Err(Error::Corrupt { seq: at, .. }) if at.0 == seq),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_fenced_batch_in_a_group_fails_alone() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let ids = join_all((0..20).map(|_| start(&journal, 1))).await;
    let release = hold(&journal).await;
    let appends = ids.iter().enumerate().map(async |(number, id)| {
        let after = Seq(if number == 7 { 1 } else { 2 });
        journal.append(id, after, &records(after, 2)).await
    });
    let (answers, _) = join(join_all(appends), async { release.send(()).unwrap() }).await;
    for (number, (answer, id)) in answers.iter().zip(&ids).enumerate() {
        let stored = journal.read(id, Seq::START).await.unwrap().len();
        if number == 7 {
            assert!(
                matches!(answer, Err(Error::Fenced { actual: Seq(2), .. })),
                "{answer:?}"
            );
            assert_eq!(stored, 2);
        } else {
            assert!(answer.is_ok(), "{answer:?}");
            assert_eq!(stored, 4);
        }
    }
}

#[tokio::test]
async fn a_batch_that_the_storage_refuses_fails_alone() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let ids = join_all((0..20).map(|_| start(&journal, 1))).await;
    let refuse = "CREATE TEMP TRIGGER refuse BEFORE INSERT ON batches WHEN new.deliberation = 8
        BEGIN SELECT RAISE(ROLLBACK, 'the disk has a bad block'); END";
    journal
        .writer
        .inspect(|connection| connection.execute_batch(refuse).unwrap())
        .await;
    let release = hold(&journal).await;
    let appends = ids
        .iter()
        .map(async |id| journal.append(id, Seq(2), &records(Seq(2), 2)).await);
    let (answers, _) = join(join_all(appends), async { release.send(()).unwrap() }).await;
    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(
        matches!(failed[..], [Err(Error::Unavailable(_))]),
        "{failed:?}"
    );
    for (answer, id) in answers.iter().zip(&ids) {
        let stored = journal.read(id, Seq::START).await.unwrap().len();
        assert_eq!(stored, if answer.is_ok() { 4 } else { 2 });
    }
    assert!(journal.healthy().await, "the last write succeeded");
}

#[tokio::test]
async fn a_full_disk_makes_it_unhealthy_until_there_is_room() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let id = start(&journal, 1).await;
    assert!(journal.healthy().await);
    let pages_max = |pages: &'static str| {
        move |connection: &rusqlite::Connection| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            connection
                .query_row(&sql, [], |row| row.get::<_, i64>(0))
                .unwrap();
        }
    };
    // The least that SQLite takes is what the file has.
    journal.writer.inspect(pages_max("1")).await;
    let batch = [large(Seq(3), 100_000)];
    for _ in 0..2 {
        let answer = journal.append(&id, Seq(2), &batch).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        assert!(answer.unwrap_err().is_retryable());
    }
    assert!(!journal.writer.last_write_succeeded());
    assert_eq!(journal.read(&id, Seq::START).await.unwrap().len(), 2);
    journal.writer.inspect(pages_max("1000000")).await;
    assert!(journal.healthy().await);
    assert!(journal.writer.last_write_succeeded());
    journal.append(&id, Seq(2), &batch).await.unwrap();
    assert_eq!(journal.read(&id, Seq(2)).await.unwrap().len(), 1);
}
