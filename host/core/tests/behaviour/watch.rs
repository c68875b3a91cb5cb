//! Whoever follows a deliberation sees each of its records once, in order, from any place on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::entry::{Entry, Record};
use conclave_core::follow::{self, FollowDeliberation, Watcher};
use conclave_core::ids::{DeliberationId, JobId, Seq};
use conclave_core::journal::{self, Creation, Existing, IdempotencyKey, Journal};
use conclave_core::live::Update;
use conclave_core::outcome::Proposal;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::{Event, Guest};
use conclave_core::testkit::host::{Host, terms};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{SECOND, answer, ask, ask_once, host, host_on, overloaded, until};

/// Asks everybody, and says so.
async fn poll(task: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let set = guest.job_set();
    for agent in &task.task.agents {
        let _ = guest.add(set, ask(&guest, agent.id.as_str(), "question")?);
    }
    while let Event::Completed { job, .. } = guest.next(set, None).await? {
        guest.emit("heard".to_owned(), job.to_string())?;
    }
    Ok(answer("done"))
}

pub(crate) async fn polling() -> (Host, DeliberationId) {
    let inference = Arc::new(ScriptedInference::new(|request, _| {
        let wait = Duration::from_secs(request.id.job.0.into());
        Script::answer("it is prime").after(wait).between(SECOND)
    }));
    let host = host(&inference, ScriptedRuntime::new(poll)).await;
    let id = host.accept(|_| ()).await;
    (host, id)
}

/// Everything up to the end: records, and pieces of answers.
async fn all(mut watcher: Watcher) -> (Vec<Record>, Vec<(JobId, u32, String)>) {
    let (mut records, mut tokens) = (Vec::new(), Vec::new());
    while let Some(update) = watcher.next().await.expect("it goes on") {
        match update {
            Update::Record(record) => records.push(Record::clone(&record)),
            Update::Tokens { job, attempt, text } => tokens.push((job, attempt, text.to_string())),
        }
    }
    (records, tokens)
}

async fn watch(host: &Host, id: &DeliberationId, after: Seq) -> Watcher {
    host.follow.watch(id, after).await.expect("it is known")
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_every_record_once_while_it_runs_and_after() {
    let (host, id) = polling().await;
    let early = watch(&host, &id, Seq::START).await;
    let late = async {
        tokio::time::sleep(2 * SECOND).await;
        all(watch(&host, &id, Seq::START).await).await
    };
    let ((early, tokens), (late, _)) = futures::join!(all(early), late);
    let records = host.records(&id);
    assert_eq!(early, records);
    assert_eq!(late, records);
    let (after, none) = all(watch(&host, &id, Seq::START).await).await;
    assert_eq!(after, records);
    assert!(none.is_empty());
    let places: Vec<_> = records.iter().map(|record| record.seq.0).collect();
    assert_eq!(places, (1..=records.len() as u64).collect::<Vec<_>>());
    assert!(matches!(
        records.last().map(|last| &last.entry),
        Some(Entry::Finished { .. })
    ));
    let of_first = tokens.iter().filter(|(job, ..)| *job == JobId(1));
    let text: String = of_first.map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(text, "it is prime");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_resumes_gets_exactly_the_rest() {
    let (host, id) = polling().await;
    host.follow.wait(&id).await.expect("it finishes");
    let records = host.records(&id);
    for seen in 0..=records.len() {
        let (rest, _) = all(watch(&host, &id, Seq(seen as u64)).await).await;
        assert_eq!(rest, records[seen..], "after {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_reached_when_it_is_there() {
    let (host, id) = polling().await;
    host.follow.wait(&id).await.expect("it finishes");
    let last = host.records(&id).len() as u64;
    for entry in [0, 1, last] {
        let reached = host.follow.has_reached(&id, Seq(entry)).await;
        reached.expect("it is there");
    }
    let after = Seq(last + 1);
    let refused = host.follow.has_reached(&id, after).await;
    let refused = refused.expect_err("it is no entry");
    assert!(
        matches!(refused, follow::Error::BeyondEnd { .. }),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_reconnects_after_every_record_misses_none() {
    let (host, id) = polling().await;
    let mut seen: Vec<Record> = Vec::new();
    loop {
        let last = seen.last().map_or(Seq::START, |record| record.seq);
        let mut watcher = watch(&host, &id, last).await;
        let update = loop {
            match watcher.next().await.expect("it goes on") {
                Some(Update::Tokens { .. }) => {}
                Some(Update::Record(record)) => break Some(Record::clone(&record)),
                None => break None,
            }
        };
        match update {
            Some(record) => seen.push(record),
            None => break,
        }
    }
    assert_eq!(seen, host.records(&id));
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_loses_tokens_and_never_records() {
    // Early records stand behind more tokens than are kept for a watcher.
    let words = |job: JobId| 1000 * job.0 as usize;
    let inference = Arc::new(ScriptedInference::new(move |request, _| {
        let tokens = vec!["word "; words(request.id.job)];
        Script::tokens(tokens).between(Duration::from_millis(1))
    }));
    let host = host(&inference, ScriptedRuntime::new(poll)).await;
    let id = host.accept(|_| ()).await;
    let mut slow = watch(&host, &id, Seq::START).await;
    let mut records = Vec::new();
    if let Some(Update::Record(record)) = slow.next().await.expect("it goes on") {
        records.push(Record::clone(&record));
    }
    host.follow.wait(&id).await.expect("it finishes");
    let (rest, tokens) = all(slow).await;
    records.extend(rest);
    assert_eq!(records, host.records(&id));
    assert!(tokens.len() < 6000, "{}", tokens.len());
}

#[tokio::test(start_paused = true)]
async fn tokens_begin_again_under_the_number_of_the_next_attempt() {
    let scripts = [
        Script::tokens(["it ", "is"])
            .after(SECOND)
            .then_fail(overloaded(Some(SECOND))),
        Script::tokens(["a ", "prime"]),
    ];
    let inference = Arc::new(ScriptedInference::in_turn(scripts));
    let host = host(&inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    let mut watcher = watch(&host, &id, Seq::START).await;
    let mut seen = Vec::new();
    while let Some(update) = watcher.next().await.expect("it goes on") {
        match update {
            Update::Tokens { job, attempt, text } => seen.push(format!("{job}.{attempt} {text}")),
            Update::Record(record) => match record.entry {
                Entry::Attempt { attempt, .. } => seen.push(format!("attempt {attempt}")),
                Entry::Completed { .. } => seen.push("completed".to_owned()),
                _ => {}
            },
        }
    }
    let first = ["attempt 1", "1.1 it ", "1.1 is"];
    let second = ["attempt 2", "1.2 a ", "1.2 prime", "completed"];
    assert_eq!(seen, [first.as_slice(), second.as_slice()].concat());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_outlives_a_restart_of_its_host() {
    let (old, id) = polling().await;
    let mut watcher = watch(&old, &id, Seq::START).await;
    until(&old, &id, |entry| matches!(entry, Entry::Emitted { .. })).await;
    old.run.live().pause_all();
    let mut seen = Vec::new();
    let error = loop {
        match watcher.next().await {
            Ok(Some(Update::Record(record))) => seen.push(Record::clone(&record)),
            Ok(Some(Update::Tokens { .. })) => {}
            Ok(None) => unreachable!("it has not finished"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, follow::Error::Resting(_)), "{error}");
    assert_eq!(seen, old.records(&id));
    let answering = Arc::new(ScriptedInference::answering("seven"));
    let new = host_on(&old.journal, &answering, ScriptedRuntime::new(poll)).await;
    let last = seen.last().expect("it saw records").seq;
    seen.extend(all(watch(&new, &id, last).await).await.0);
    assert_eq!(seen, new.records(&id));
}

/// Between the start of a host and its resuming, a client may already watch.
#[tokio::test(start_paused = true)]
async fn a_watcher_of_what_is_not_resumed_yet_misses_nothing() {
    let (old, id) = polling().await;
    until(&old, &id, |entry| matches!(entry, Entry::Emitted { .. })).await;
    old.run.live().pause_all();
    assert!(old.follow.wait(&id).await.is_err());
    let answering = Arc::new(ScriptedInference::answering("seven"));
    let runtime = Arc::new(ScriptedRuntime::new(poll));
    let new = Host::idle(&old.journal, answering, runtime, terms());
    let watcher = watch(&new, &id, Seq::START).await;
    new.run
        .resume(new.run.unfinished().await.expect("readable"))
        .await;
    new.follow.wait(&id).await.expect("it finishes");
    assert_eq!(all(watcher).await.0, new.records(&id));
}

/// A journal that takes its time to answer.
struct SlowJournal(MemoryJournal);

#[async_trait]
impl Journal for SlowJournal {
    async fn create(
        &self,
        id: &DeliberationId,
        accepted: &Record,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, journal::Error> {
        self.0.create(id, accepted, key).await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Existing>, journal::Error> {
        self.0.find(key).await
    }

    async fn append(
        &self,
        id: &DeliberationId,
        after: Seq,
        records: &[Arc<Record>],
    ) -> Result<(), journal::Error> {
        self.0.append(id, after, records).await
    }

    async fn read(&self, id: &DeliberationId, after: Seq) -> Result<Vec<Record>, journal::Error> {
        let records = self.0.read(id, after).await;
        tokio::time::sleep(60 * SECOND).await;
        records
    }

    async fn unfinished(&self) -> Result<Vec<DeliberationId>, journal::Error> {
        self.0.unfinished().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_journal_is_read_is_not_missed() {
    let (host, id) = polling().await;
    let slow = Arc::new(SlowJournal(host.journal.clone()));
    let totals = Arc::new(host.journal.clone());
    let follow = FollowDeliberation::new(slow, totals, host.run.live().clone());
    let watcher = follow.watch(&id, Seq::START).await.expect("it is known");
    assert!(
        host.run.live().is_empty(),
        "it has finished in the meantime"
    );
    assert_eq!(all(watcher).await.0, host.records(&id));
}
