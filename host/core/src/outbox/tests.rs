//! What is owed is published at least once, in order, whatever the sink and the journal do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;

use tokio::time::Instant;

use super::*;
use crate::entry::Entry;
use crate::ids::{Digest, JobId};
use crate::live::lock;
use crate::outcome::Verdict;
use crate::testkit::journal::{Fault, MemoryJournal, accepted, finished};

/// A sink that remembers, and can be down.
#[derive(Default)]
struct Sink {
    taken: Mutex<Vec<(DeliberationId, Digest, String)>>,
    down: AtomicBool,
    refuses: Mutex<Option<String>>,
    in_flight: Mutex<BTreeSet<DeliberationId>>,
    in_flight_most: AtomicUsize,
    stirred: Notify,
}

impl Sink {
    fn subjects(&self, id: &DeliberationId) -> Vec<String> {
        let taken = lock(&self.taken);
        let of = taken.iter().filter(|(of, _, _)| of == id);
        of.map(|(_, _, subject)| subject.clone()).collect()
    }

    fn count(&self) -> usize {
        lock(&self.taken).len()
    }

    async fn until(&self, count: usize) {
        while self.count() < count {
            self.stirred.notified().await;
        }
    }
}

#[async_trait]
impl Events for Sink {
    async fn publish(&self, event: &Event) -> Result<(), events::Error> {
        let alone = lock(&self.in_flight).insert(event.deliberation.clone());
        assert!(alone, "one event of a deliberation is on its way at a time");
        let count = lock(&self.in_flight).len();
        self.in_flight_most.fetch_max(count, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        lock(&self.in_flight).remove(&event.deliberation);
        if self.down.load(Ordering::Relaxed) {
            return Err(events::Error::Unavailable("it is down".into()));
        }
        if lock(&self.refuses).as_ref() == Some(&event.subject) {
            return Err(events::Error::Refused {
                subject: event.subject.clone(),
                source: "it is too large".into(),
            });
        }
        let taken = (event.deliberation.clone(), event.key, event.subject.clone());
        lock(&self.taken).push(taken);
        self.stirred.notify_one();
        Ok(())
    }
}

const ALL: [&str; 3] = [
    "ray.deliberation.started",
    "agent.response.failed",
    "orchestration.deliberation.failed",
];

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

async fn start(journal: &MemoryJournal) -> DeliberationId {
    let id = DeliberationId::generate();
    journal.create(&id, &accepted(&id), None).await.unwrap();
    journal.append(&id, Seq(1), &[attempt(2)]).await.unwrap();
    id
}

async fn end(journal: &MemoryJournal, id: &DeliberationId) {
    let end = finished(Seq(3), 30, Verdict::Cancelled(String::new()));
    journal.append(id, Seq(2), &[end]).await.unwrap();
}

fn outbox(journal: &MemoryJournal, sink: &Arc<Sink>) -> Outbox {
    let port = Arc::new(journal.clone());
    Outbox::new(port.clone(), port, sink.clone(), Telling::Lifecycle)
}

/// Runs the outbox until `done`, and then to its end.
async fn run_until(outbox: &Outbox, done: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    let stopped = async {
        done.await;
        stop.cancel();
    };
    tokio::join!(outbox.run(stop.clone()), stopped);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_at_the_start_is_published_in_order_and_acknowledged() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    let mut ids = Vec::new();
    for _ in 0..150 {
        let id = start(&journal).await;
        end(&journal, &id).await;
        ids.push(id);
    }
    let outbox = outbox(&journal, &sink);
    assert_eq!(outbox.pending().await.unwrap(), 150);
    run_until(&outbox, sink.until(450)).await;
    for id in &ids {
        assert_eq!(sink.subjects(id), ALL);
    }
    assert_eq!(outbox.pending().await.unwrap(), 0);
    assert_eq!(outbox.counters().published.load(Ordering::Relaxed), 450);
    let most = sink.in_flight_most.load(Ordering::Relaxed);
    assert!(most > 1 && most <= DELIBERATIONS_AT_ONCE, "{most}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_while_the_start_is_told_is_told_behind_it() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    let outbox = outbox(&journal, &sink);
    let id = start(&journal).await;
    let ends = async {
        // The start is on its way.
        while lock(&sink.in_flight).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        end(&journal, &id).await;
        let woken = Instant::now();
        let record = journal.records(&id).pop().unwrap();
        let Entry::Accepted(accepted) = &journal.records(&id)[0].entry else {
            unreachable!("it is the first entry");
        };
        outbox.observer().journaled(accepted, &record);
        sink.until(3).await;
        assert!(woken.elapsed() < Duration::from_secs(1), "it was woken");
    };
    run_until(&outbox, ends).await;
    assert_eq!(sink.subjects(&id), ALL);
    assert_eq!(outbox.pending().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_events_and_loses_none() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    sink.down.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for _ in 0..100 {
        let id = start(&journal).await;
        end(&journal, &id).await;
        ids.push(id);
    }
    let outbox = outbox(&journal, &sink);
    let outage = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(sink.count(), 0);
        assert_eq!(outbox.pending().await.unwrap(), 100);
        let retried = outbox.counters().retried.load(Ordering::Relaxed);
        let attempts = retried / DELIBERATIONS_AT_ONCE as u64;
        assert!(
            (100..200).contains(&attempts),
            "waits grow, to their bound: {attempts}"
        );
        sink.down.store(false, Ordering::Relaxed);
        sink.until(300).await;
    };
    run_until(&outbox, outage).await;
    for id in &ids {
        assert_eq!(sink.subjects(id), ALL);
    }
    assert_eq!(outbox.pending().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_no_sink_will_take_does_not_hold_up_the_next() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    *lock(&sink.refuses) = Some("agent.response.failed".to_owned());
    let id = start(&journal).await;
    end(&journal, &id).await;
    let outbox = outbox(&journal, &sink);
    run_until(&outbox, sink.until(2)).await;
    assert_eq!(sink.subjects(&id), [ALL[0], ALL[2]]);
    assert_eq!(outbox.counters().refused.load(Ordering::Relaxed), 1);
    assert_eq!(outbox.pending().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_sink_is_down_is_short_and_forgets_nothing() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    sink.down.store(true, Ordering::Relaxed);
    let id = start(&journal).await;
    let first = outbox(&journal, &sink);
    let started = Instant::now();
    run_until(&first, std::future::ready(())).await;
    assert!(started.elapsed() <= FLUSH, "{:?}", started.elapsed());
    end(&journal, &id).await;
    sink.down.store(false, Ordering::Relaxed);
    let second = outbox(&journal, &sink);
    run_until(&second, sink.until(3)).await;
    assert_eq!(sink.subjects(&id), ALL);
}

#[tokio::test(start_paused = true)]
async fn events_whose_acknowledgement_is_lost_are_published_again_as_the_same_events() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    let id = start(&journal).await;
    end(&journal, &id).await;
    // The journal dies when all is published.
    let first = outbox(&journal, &sink);
    let dies = async {
        sink.until(3).await;
        journal.crash_after(0, Fault::Fail);
    };
    run_until(&first, dies).await;
    journal.revive();
    assert_eq!(first.pending().await.unwrap(), 1);
    let second = outbox(&journal, &sink);
    run_until(&second, sink.until(6)).await;
    let mut keys: BTreeMap<_, usize> = BTreeMap::new();
    for (_, key, _) in lock(&sink.taken).iter() {
        *keys.entry(*key).or_default() += 1;
    }
    assert_eq!(keys.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(second.pending().await.unwrap(), 0);
}

/// As [`MemoryJournal`], but one deliberation cannot be read.
struct Damaged {
    journal: MemoryJournal,
    id: DeliberationId,
}

#[async_trait]
impl Journal for Damaged {
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&journal::IdempotencyKey>,
    ) -> Result<journal::Creation, journal::Error> {
        self.journal.create(id, accepted, key).await
    }

    async fn find(
        &self,
        key: &journal::IdempotencyKey,
    ) -> Result<Option<journal::Existing>, journal::Error> {
        self.journal.find(key).await
    }

    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), journal::Error> {
        self.journal.append(id, after, records).await
    }

    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, journal::Error> {
        if *id == self.id {
            return Err(journal::Error::Corrupt {
                id: id.clone(),
                seq: Seq(2),
                reason: "its checksum is wrong".to_owned(),
            });
        }
        self.journal.read(id, after).await
    }

    async fn unfinished(&self) -> Result<Vec<DeliberationId>, journal::Error> {
        self.journal.unfinished().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_deliberation_tells_its_failure_and_holds_up_no_other() {
    let journal = MemoryJournal::telling(Telling::Lifecycle);
    let sink = Arc::new(Sink::default());
    let id = start(&journal).await;
    let other = start(&journal).await;
    let damaged = Damaged {
        journal: journal.clone(),
        id: id.clone(),
    };
    let ledger = Arc::new(journal.clone());
    let outbox = Outbox::new(Arc::new(damaged), ledger, sink.clone(), Telling::Lifecycle);
    let told = async {
        sink.until(1).await;
        assert_eq!(sink.subjects(&other), ALL[..1]);
        // Until it has ended, it is not known what became of it.
        assert_eq!(sink.subjects(&id), [] as [&str; 0]);
        end(&journal, &id).await;
        sink.until(2).await;
    };
    run_until(&outbox, told).await;
    assert_eq!(sink.subjects(&id), ALL[2..]);
    assert_eq!(outbox.pending().await.unwrap(), 0);
}
