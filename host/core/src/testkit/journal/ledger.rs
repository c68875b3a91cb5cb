//! What every ledger of owed events promises, as checks that an adapter's tests call.

use std::sync::Arc;

use super::samples::{accepted, finished};
use crate::entry::{Entry, Record};
use crate::events::Telling;
use crate::ids::{Actor, DeliberationId, JobId, Seq};
use crate::journal::Journal;
use crate::outbox::{Ledger, Owed};
use crate::outcome::Verdict;

/// Runs every check, each on a journal of its own, which `open` must give empty.
///
/// # Panics
/// When the ledger breaks its contract; the place of the panic is in the check.
pub async fn ledger_contract<J: Journal + Ledger>(open: impl AsyncFn(Telling) -> Arc<J>) {
    a_first_attempt_and_an_end_are_owed(&*open(Telling::Lifecycle).await).await;
    progress_is_owed_where_it_is_told(&*open(Telling::Progress).await).await;
    nothing_is_owed_where_nothing_is_told(&*open(Telling::Nothing).await).await;
    a_start_and_an_end_in_one_batch_are_owed_together(&*open(Telling::Lifecycle).await).await;
    the_oldest_is_owed_first(&*open(Telling::Lifecycle).await).await;
    a_batch_that_is_refused_is_not_owed(&*open(Telling::Lifecycle).await).await;
}

const ANSWERS: &str = "the ledger answers";

async fn start(journal: &impl Journal) -> DeliberationId {
    let id = DeliberationId::generate();
    let creation = journal.create(&id, &accepted(&id), None).await;
    creation.expect("the journal takes a new deliberation");
    id
}

async fn append(journal: &impl Journal, id: &DeliberationId, batch: &[Arc<Record>]) {
    let after = Seq(batch[0].seq.0 - 1);
    let answer = journal.append(id, after, batch).await;
    answer.expect("the journal takes a batch that follows its last place");
}

fn attempt(seq: u64) -> Arc<Record> {
    record(
        seq,
        Entry::Attempt {
            job: JobId(1),
            attempt: 1,
            after: None,
            temperature: None,
        },
    )
}

fn emitted(seq: u64) -> Arc<Record> {
    record(
        seq,
        Entry::Emitted {
            actor: Actor::STRATEGY,
            kind: "vote".to_owned(),
            payload: "1".to_owned(),
        },
    )
}

fn quiet(seq: u64) -> Arc<Record> {
    record(
        seq,
        Entry::Timer {
            actor: Actor::STRATEGY,
            until_ms: 1,
        },
    )
}

fn record(seq: u64, entry: Entry) -> Arc<Record> {
    Arc::new(Record {
        seq: Seq(seq),
        at_ms: seq,
        entry,
    })
}

fn end(seq: u64) -> Arc<Record> {
    finished(Seq(seq), seq, Verdict::Cancelled(String::new()))
}

fn owed(id: &DeliberationId, acknowledged: u64, due: u64, finished: bool) -> Owed {
    Owed {
        id: id.clone(),
        acknowledged: Seq(acknowledged),
        due: Seq(due),
        finished,
    }
}

async fn owes(ledger: &impl Ledger) -> Vec<Owed> {
    let all = ledger.owed(100).await.expect(ANSWERS);
    let pending = ledger.pending().await.expect(ANSWERS);
    assert_eq!(pending, all.len() as u64);
    all
}

async fn acknowledge(ledger: &impl Ledger, id: &DeliberationId, through: u64) {
    let through = [(id.clone(), Seq(through))];
    ledger.acknowledge(&through).await.expect(ANSWERS);
}

async fn a_first_attempt_and_an_end_are_owed<J: Journal + Ledger>(journal: &J) {
    let id = start(journal).await;
    append(journal, &id, &[quiet(2)]).await;
    assert_eq!(owes(journal).await, []);
    append(journal, &id, &[attempt(3), attempt(4)]).await;
    let due = owes(journal).await;
    assert!(
        matches!(&due[..], [one] if one.acknowledged == Seq::START && one.due >= Seq(3) && !one.finished),
        "{due:?}"
    );
    // It is told of up to the last entry that was there.
    acknowledge(journal, &id, 4).await;
    assert_eq!(owes(journal).await, []);
    append(journal, &id, &[attempt(5), emitted(6)]).await;
    assert_eq!(owes(journal).await, [], "only the first attempt is told");
    append(journal, &id, &[end(7)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 4, 7, true)]);
    // One that is late or unknown changes nothing.
    acknowledge(journal, &id, 3).await;
    acknowledge(journal, &DeliberationId::generate(), 9).await;
    assert_eq!(owes(journal).await, [owed(&id, 4, 7, true)]);
    acknowledge(journal, &id, 7).await;
    assert_eq!(owes(journal).await, []);
    acknowledge(journal, &id, 7).await;
    assert_eq!(owes(journal).await, []);
}

async fn progress_is_owed_where_it_is_told<J: Journal + Ledger>(journal: &J) {
    let id = start(journal).await;
    append(journal, &id, &[emitted(2)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 0, 2, false)]);
    acknowledge(journal, &id, 2).await;
    append(journal, &id, &[attempt(3)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 2, 3, false)]);
    append(journal, &id, &[emitted(4), quiet(5)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 2, 4, false)]);
    acknowledge(journal, &id, 5).await;
    append(journal, &id, &[emitted(6), end(7)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 5, 7, true)]);
}

async fn nothing_is_owed_where_nothing_is_told<J: Journal + Ledger>(journal: &J) {
    let id = start(journal).await;
    append(journal, &id, &[attempt(2), emitted(3), end(4)]).await;
    assert_eq!(owes(journal).await, []);
}

async fn a_start_and_an_end_in_one_batch_are_owed_together<J: Journal + Ledger>(journal: &J) {
    let id = start(journal).await;
    append(journal, &id, &[attempt(2), end(3)]).await;
    assert_eq!(owes(journal).await, [owed(&id, 0, 3, true)]);
}

async fn the_oldest_is_owed_first<J: Journal + Ledger>(journal: &J) {
    let ids = [
        start(journal).await,
        start(journal).await,
        start(journal).await,
    ];
    for id in ids.iter().rev() {
        append(journal, id, &[attempt(2)]).await;
    }
    let first = journal.owed(2).await.expect(ANSWERS);
    let first: Vec<_> = first.into_iter().map(|owed| owed.id).collect();
    assert_eq!(first, ids[..2]);
    assert_eq!(journal.pending().await.expect(ANSWERS), 3);
}

async fn a_batch_that_is_refused_is_not_owed<J: Journal + Ledger>(journal: &J) {
    let id = start(journal).await;
    let refused = journal.append(&id, Seq(4), &[attempt(5)]).await;
    assert!(refused.is_err(), "it does not follow");
    assert_eq!(owes(journal).await, []);
}
