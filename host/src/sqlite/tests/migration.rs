//! Files of earlier builds.

use conclave_core::filter::Filter;
use conclave_core::ids::Tenant;
use conclave_core::listing::Query;

use super::*;

/// Takes a file back to what the build before this schema wrote.
fn downgrade(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("DROP TABLE summaries; DROP TABLE outbox; PRAGMA user_version = 1")
        .unwrap();
}

async fn listed(journal: &SqliteJournal, filter: &str) -> Vec<DeliberationId> {
    let query = Query {
        // Whose the samples are.
        tenant: Tenant::new("research"),
        filter: Filter::parse(filter).unwrap(),
        before: None,
    };
    let page = journal.page(&query, 10).await.unwrap();
    page.listed.into_iter().map(|one| one.accepted.id).collect()
}

#[tokio::test]
async fn a_file_of_version_1_is_listed_and_filtered_once_it_was_opened() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let running = start(&journal, 3).await;
    let ended = start(&journal, 3).await;
    let end = finished(Seq(5), 700, Verdict::Cancelled(String::new()));
    journal.append(&ended, Seq(4), &[end]).await.unwrap();
    let damaged = start(&journal, 1).await;
    drop(journal);
    downgrade(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute(
            "UPDATE batches SET body = x'00' WHERE deliberation = 3 AND first_seq = 1",
            [],
        )
        .unwrap();
    drop(connection);

    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(listed(&journal, "").await, [ended.clone(), running.clone()]);
    assert_eq!(
        listed(&journal, "labels:team AND state = RUNNING").await,
        [running]
    );
    assert_eq!(listed(&journal, "end_time:*").await, [ended]);
    assert!(journal.read(&damaged, Seq::START).await.is_err());
    let later = start(&journal, 1).await;
    assert_eq!(listed(&journal, "priority = 4").await[0], later);
    drop(journal);
    SqliteJournal::open(&path).unwrap();
}

#[tokio::test]
async fn a_damaged_deliberation_is_left_out_of_the_list_and_no_other() {
    let (_directory, path) = place();
    let journal = SqliteJournal::open(&path).unwrap();
    let sound = start(&journal, 1).await;
    start(&journal, 1).await;
    let damage = "UPDATE batches SET body = x'00' WHERE deliberation = 2 AND first_seq = 1";
    journal
        .writer
        .inspect(move |connection| connection.execute(damage, []).unwrap())
        .await;
    assert_eq!(listed(&journal, "").await, [sound]);
}
