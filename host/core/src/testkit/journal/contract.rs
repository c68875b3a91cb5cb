//! What every journal promises, as checks that an adapter's tests call.

use std::collections::HashSet;
use std::mem::discriminant;
use std::sync::Arc;

use futures::future::join_all;

use super::samples::{accepted, every_entry, finished, records, verdicts};
use crate::entry::{Entry, Record};
use crate::ids::{DeliberationId, Digest, Seq};
use crate::journal::{Creation, Error, Existing, IdempotencyKey, Journal, Statistics, Totals};

/// Runs every check, each on a journal of its own, which `open` must give empty.
///
/// # Panics
/// When the journal breaks its contract; the place of the panic is in the check.
pub async fn contract<J: Journal + Statistics>(open: impl AsyncFn() -> Arc<J>) {
    every_entry_reads_back_as_it_was_written(&*open().await).await;
    places_have_no_gaps(&*open().await).await;
    an_append_at_another_place_is_fenced(&*open().await).await;
    an_unknown_id_is_not_found(&*open().await).await;
    an_id_is_created_once(&*open().await).await;
    a_batch_is_written_whole_or_not_at_all(&*open().await).await;
    a_finished_deliberation_takes_no_more(&*open().await).await;
    a_key_creates_once(&*open().await).await;
    of_concurrent_creates_with_one_key_one_is_new(&*open().await).await;
    the_unfinished_are_listed_oldest_first(&*open().await).await;
    the_totals_count_each_once(&*open().await).await;
    sessions_keep_their_order_under_concurrent_appends(&*open().await).await;
}

/// Starts a deliberation without a key.
async fn start(journal: &impl Journal) -> DeliberationId {
    let id = DeliberationId::generate();
    let creation = journal.create(&id, &accepted(&id), None).await;
    assert_eq!(
        creation.expect("the journal takes a new deliberation"),
        Creation::New
    );
    id
}

async fn append(journal: &impl Journal, id: &DeliberationId, after: Seq, batch: &[Arc<Record>]) {
    let answer = journal.append(id, after, batch).await;
    answer.expect("the journal takes a batch that follows its last place");
}

async fn read(journal: &impl Journal, id: &DeliberationId, after: Seq) -> Vec<Record> {
    let answer = journal.read(id, after).await;
    answer.expect("the journal reads what it took")
}

/// Asserts that a call was fenced, and tells where the journal said that it is.
fn fenced<T: std::fmt::Debug>(answer: Result<T, Error>) -> Seq {
    let actual = match &answer {
        Err(Error::Fenced { actual, .. }) => Some(*actual),
        _ => None,
    };
    let answer = answer.map(drop);
    actual.unwrap_or_else(|| unreachable!("the call must be fenced, it was answered {answer:?}"))
}

fn key(scope: &str, key: &str, request: &[u8]) -> IdempotencyKey {
    IdempotencyKey {
        scope: scope.to_owned(),
        key: key.to_owned(),
        fingerprint: Digest::of(request),
    }
}

/// Every variant of [`Entry`], with every number in it, survives; also when read from the middle.
pub async fn every_entry_reads_back_as_it_was_written(journal: &impl Journal) {
    let id = DeliberationId::generate();
    let written = every_entry(&id);
    let kinds: HashSet<_> = written
        .iter()
        .map(|record| discriminant(&record.entry))
        .collect();
    assert_eq!(kinds.len(), 14, "the samples must hold each kind of entry");
    let creation = journal.create(&id, &written[0], None).await;
    assert_eq!(
        creation.expect("the journal takes a new deliberation"),
        Creation::New
    );
    append(journal, &id, Seq(1), &written[1..4]).await;
    append(journal, &id, Seq(4), &written[4..]).await;
    for after in 0..=written.len() {
        let read = read(journal, &id, Seq(after as u64)).await;
        assert_eq!(read.len(), written.len() - after, "behind {after}");
        for (read, written) in read.iter().zip(&written[after..]) {
            assert_eq!(read, &**written);
            assert_eq!(
                format!("{read:?}"),
                format!("{written:?}"),
                "numbers that are equal may still differ: -0 and 0"
            );
        }
    }
    assert!(read(journal, &id, Seq(u64::MAX)).await.is_empty());
}

/// Records must follow `after`, in order and without gaps: others are refused and not written.
pub async fn places_have_no_gaps(journal: &impl Journal) {
    let id = start(journal).await;
    let batch = records(Seq(1), 3);
    let gap = [Arc::clone(&batch[0]), Arc::clone(&batch[2])];
    let twice = [Arc::clone(&batch[0]), Arc::clone(&batch[0])];
    for wrong in [&gap[..], &twice, &batch[1..]] {
        let answer = journal.append(&id, Seq(1), wrong).await;
        assert!(matches!(answer, Err(Error::Corrupt { .. })), "{answer:?}");
    }
    let other = DeliberationId::generate();
    let mut second = accepted(&other);
    second.seq = Seq(2);
    for wrong in [&second, &*records(Seq::START, 1)[0]] {
        let answer = journal.create(&other, wrong, None).await;
        assert!(matches!(answer, Err(Error::Corrupt { .. })), "{answer:?}");
    }
    append(journal, &id, Seq(1), &batch).await;
    append(journal, &id, Seq(4), &records(Seq(4), 2)).await;
    let places: Vec<_> = read(journal, &id, Seq::START)
        .await
        .iter()
        .map(|record| record.seq.0)
        .collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
}

/// An append whose `after` is not the journal's last place changes nothing.
pub async fn an_append_at_another_place_is_fenced(journal: &impl Journal) {
    let id = start(journal).await;
    append(journal, &id, Seq(1), &records(Seq(1), 2)).await;
    for after in [0, 1, 2, 4, 100] {
        let answer = journal
            .append(&id, Seq(after), &records(Seq(after), 1))
            .await;
        assert_eq!(fenced(answer), Seq(3), "after {after}");
    }
    assert_eq!(
        fenced(journal.append(&id, Seq(2), &[]).await),
        Seq(3),
        "an empty batch is fenced too"
    );
    append(journal, &id, Seq(3), &[]).await;
    assert_eq!(read(journal, &id, Seq::START).await.len(), 3);
    append(journal, &id, Seq(3), &records(Seq(3), 1)).await;
}

/// What was never created is neither appended to nor read.
pub async fn an_unknown_id_is_not_found(journal: &(impl Journal + Statistics)) {
    let id = DeliberationId::generate();
    for after in [0, 1] {
        let answer = journal
            .append(&id, Seq(after), &records(Seq(after), 1))
            .await;
        assert!(
            matches!(&answer, Err(Error::NotFound(unknown)) if *unknown == id),
            "{answer:?}"
        );
    }
    let answer = journal.read(&id, Seq::START).await;
    assert!(
        matches!(&answer, Err(Error::NotFound(unknown)) if *unknown == id),
        "{answer:?}"
    );
    assert_eq!(
        journal.totals().await.expect("the journal counts"),
        Totals::default()
    );
}

/// An id is new once; a second create leaves the first as it is and its key unused.
pub async fn an_id_is_created_once(journal: &(impl Journal + Statistics)) {
    let id = start(journal).await;
    append(journal, &id, Seq(1), &records(Seq(1), 1)).await;
    let unused = key("submit", "k", b"request");
    for key in [None, Some(&unused)] {
        assert_eq!(
            fenced(journal.create(&id, &accepted(&id), key).await),
            Seq(2)
        );
    }
    assert_eq!(read(journal, &id, Seq::START).await.len(), 2);
    assert_eq!(
        journal.totals().await.expect("the journal counts").accepted,
        1
    );
    let other = DeliberationId::generate();
    let creation = journal
        .create(&other, &accepted(&other), Some(&unused))
        .await;
    assert_eq!(creation.expect("the key is free"), Creation::New);
}

/// A batch that is refused leaves no record behind, not even its good ones.
pub async fn a_batch_is_written_whole_or_not_at_all(journal: &(impl Journal + Statistics)) {
    let id = start(journal).await;
    let mut batch = records(Seq(1), 20);
    batch[19] = Arc::new(Record {
        seq: Seq(22),
        ..Record::clone(&batch[19])
    });
    let answer = journal.append(&id, Seq(1), &batch).await;
    assert!(answer.is_err(), "{answer:?}");
    let [verdict, ..] = verdicts();
    let mut ended = records(Seq(1), 3);
    ended[1] = finished(Seq(3), 9, verdict);
    let answer = journal.append(&id, Seq(1), &ended).await;
    assert!(
        matches!(answer, Err(Error::Corrupt { .. })),
        "behind the last entry: {answer:?}"
    );
    assert_eq!(read(journal, &id, Seq(1)).await, []);
    assert_eq!(
        journal
            .totals()
            .await
            .expect("the journal counts")
            .completed,
        0
    );
    append(journal, &id, Seq(1), &records(Seq(1), 20)).await;
    assert_eq!(read(journal, &id, Seq(1)).await.len(), 20);
}

/// Nothing follows [`Entry::Finished`]; what was written stays readable.
pub async fn a_finished_deliberation_takes_no_more(journal: &(impl Journal + Statistics)) {
    for verdict in verdicts() {
        let id = start(journal).await;
        append(
            journal,
            &id,
            Seq(1),
            &[finished(Seq(2), 5, verdict.clone())],
        )
        .await;
        let again = [finished(Seq(3), 6, verdict)];
        for batch in [&records(Seq(2), 1)[..], &again] {
            assert_eq!(fenced(journal.append(&id, Seq(2), batch).await), Seq(2));
        }
        assert_eq!(read(journal, &id, Seq::START).await.len(), 2);
    }
    let totals = journal.totals().await.expect("the journal counts");
    assert_eq!(totals.completed + totals.failed + totals.cancelled, 3);
}

/// A key stands for the deliberation that it created first, within its scope.
pub async fn a_key_creates_once(journal: &(impl Journal + Statistics)) {
    let [first, second, third] = [(); 3].map(|()| DeliberationId::generate());
    let create = async |id, key| {
        let creation = journal.create(id, &accepted(id), Some(&key)).await;
        creation.expect("a key is no error")
    };
    assert_eq!(
        create(&first, key("submit", "k", b"one")).await,
        Creation::New
    );
    let known = Existing {
        id: first.clone(),
        fingerprint: Digest::of(b"one"),
    };
    let find = async |scope, name| {
        let found = journal.find(&key(scope, name, b"two")).await;
        found.expect("a key is no error")
    };
    assert_eq!(find("submit", "k").await, Some(known.clone()));
    assert_eq!(find("import", "k").await, None);
    let existing = Creation::Existing(known);
    for (id, request) in [(&first, b"one"), (&second, b"one"), (&second, b"two")] {
        assert_eq!(create(id, key("submit", "k", request)).await, existing);
    }
    let answer = journal.read(&second, Seq::START).await;
    assert!(
        matches!(answer, Err(Error::NotFound(_))),
        "nothing is written: {answer:?}"
    );
    assert_eq!(
        journal.unfinished().await.expect("the journal lists"),
        std::slice::from_ref(&first)
    );
    assert_eq!(
        create(&second, key("import", "k", b"two")).await,
        Creation::New
    );
    assert_eq!(
        create(&third, key("submit", "K", b"two")).await,
        Creation::New
    );
    assert_eq!(
        create(&DeliberationId::generate(), key("submit", "k", b"one")).await,
        existing
    );
    assert_eq!(
        journal.totals().await.expect("the journal counts").accepted,
        3
    );
}

/// However many clients race with one key, one deliberation comes of it, and all learn which.
pub async fn of_concurrent_creates_with_one_key_one_is_new(journal: &impl Journal) {
    for round in 0..8 {
        let key = &key("submit", &format!("k{round}"), b"request");
        let ids: Vec<_> = (0..8).map(|_| DeliberationId::generate()).collect();
        let creations = join_all(ids.iter().map(async |id| {
            let creation = journal.create(id, &accepted(id), Some(key)).await;
            creation.expect("a key is no error")
        }))
        .await;
        let new: Vec<_> = creations
            .iter()
            .zip(&ids)
            .filter(|(creation, _)| **creation == Creation::New)
            .collect();
        assert_eq!(new.len(), 1, "{creations:?}");
        let winner = new[0].1;
        for (creation, id) in creations.iter().zip(&ids) {
            match creation {
                Creation::New => assert_eq!(read(journal, id, Seq::START).await.len(), 1),
                Creation::Existing(existing) => assert_eq!(existing.id, *winner),
            }
        }
    }
}

/// Recovery meets the deliberations in the order of their acceptance, and only those that go on.
pub async fn the_unfinished_are_listed_oldest_first(journal: &impl Journal) {
    let unfinished = async || journal.unfinished().await.expect("the journal lists");
    assert_eq!(unfinished().await, []);
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(start(journal).await);
    }
    assert_eq!(unfinished().await, ids);
    for (index, verdict) in [(11, 0), (0, 1), (5, 2)] {
        append(journal, &ids[index], Seq(1), &records(Seq(1), 1)).await;
        append(
            journal,
            &ids[index],
            Seq(2),
            &[finished(Seq(3), 1, verdicts()[verdict].clone())],
        )
        .await;
    }
    append(journal, &ids[3], Seq(1), &records(Seq(1), 2)).await;
    let left: Vec<_> = (0..12)
        .filter(|index| ![11, 0, 5].contains(index))
        .map(|index| ids[index].clone())
        .collect();
    assert_eq!(unfinished().await, left);
}

/// Each deliberation is counted when it is accepted and when it ends, with how long it took.
pub async fn the_totals_count_each_once(journal: &(impl Journal + Statistics)) {
    let totals = async || journal.totals().await.expect("the journal counts");
    assert_eq!(totals().await, Totals::default());
    let mut ends = verdicts().to_vec();
    ends.extend([ends[0].clone(), ends[0].clone(), ends[1].clone()]);
    let mut duration_ms_sum = 0;
    for (verdict, number) in ends.into_iter().zip(1..) {
        let id = start(journal).await;
        let after = Seq(1 + number);
        append(journal, &id, Seq(1), &records(Seq(1), number)).await;
        let batch = [finished(after.next(), 1000 * number, verdict)];
        append(journal, &id, after, &batch).await;
        duration_ms_sum += 1000 * number;
        fenced(journal.append(&id, after, &batch).await);
        read(journal, &id, Seq::START).await;
    }
    start(journal).await;
    let expected = Totals {
        accepted: 7,
        completed: 3,
        failed: 2,
        cancelled: 1,
        duration_ms_sum,
    };
    assert_eq!(totals().await, expected);
    assert_eq!(
        totals().await,
        expected,
        "counting again counts nothing twice"
    );
}

/// Appends of many sessions at once mix, but each session's records stay in its own order.
pub async fn sessions_keep_their_order_under_concurrent_appends(
    journal: &(impl Journal + Statistics),
) {
    let sessions = 40;
    let session = async |number: u64| {
        let id = start(journal).await;
        let mut after = Seq(1);
        let mut written = vec![Arc::new(accepted(&id))];
        for batch in 0..10 {
            let batch = records(after, (number + batch) % 4);
            append(journal, &id, after, &batch).await;
            after = Seq(after.0 + batch.len() as u64);
            written.extend(batch);
            if number.is_multiple_of(5) {
                assert_eq!(
                    read(journal, &id, Seq::START).await.len(),
                    written.len(),
                    "what was answered is read"
                );
            }
        }
        if number.is_multiple_of(2) {
            let [verdict, ..] = verdicts();
            written.push(finished(after.next(), 1, verdict));
            append(journal, &id, after, &written[written.len() - 1..]).await;
        }
        (id, written)
    };
    let all = join_all((0..sessions).map(session)).await;
    for (id, written) in &all {
        let read = read(journal, id, Seq::START).await;
        assert!(read.iter().eq(written.iter().map(AsRef::as_ref)), "{id}");
        let ended = matches!(
            written.last().map(|record| &record.entry),
            Some(Entry::Finished { .. })
        );
        let listed = journal
            .unfinished()
            .await
            .expect("the journal lists")
            .contains(id);
        assert_ne!(ended, listed, "{id}");
    }
    let totals = journal.totals().await.expect("the journal counts");
    assert_eq!(
        (totals.accepted, totals.completed),
        (sessions, sessions / 2)
    );
}
