//! Nothing leaves the host before it is durable, and a journal that fails is no deliberation's fault.

use std::sync::Arc;

use conclave_core::entry::{Entry, Record};
use conclave_core::follow;
use conclave_core::ids::{DeliberationId, JobId, Seq};
use conclave_core::journal::Journal as _;
use conclave_core::live::Update;
use conclave_core::testkit::host::Host;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::journal::{Fault, MemoryJournal};
use conclave_core::testkit::runtime::ScriptedRuntime;
use conclave_core::view::State;

use crate::support::{SECOND, ask_once, host, host_on, sent, until, winner};

fn answering() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::new(|_, _| {
        Script::answer("seven").after(10 * SECOND)
    }))
}

/// A running deliberation whose journal takes no more than `records` records.
async fn crashing(
    records: usize,
    fault: Fault,
    inference: &Arc<ScriptedInference>,
) -> (Host, DeliberationId) {
    let journal = MemoryJournal::new();
    journal.crash_after(records, fault);
    let host = host_on(&journal, inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    (host, id)
}

#[tokio::test(start_paused = true)]
async fn no_generation_is_sent_before_its_entries_are_durable() {
    let inference = answering();
    let (host, id) = crashing(1, Fault::Hang, &inference).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(sent(&inference), []);
    assert_eq!(host.records(&id).len(), 1);
    assert_eq!(host.follow.active().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_sent_before_its_attempt_is_durable() {
    let inference = Arc::new(ScriptedInference::new(|_, _| {
        Script::fail(crate::support::overloaded(Some(SECOND)))
    }));
    // Accepted, submitted, first attempt.
    let (_, _) = crashing(3, Fault::Hang, &inference).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(sent(&inference), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn no_watcher_sees_what_is_not_durable() {
    let inference = Arc::new(ScriptedInference::new(|_, _| {
        Script::fail(crate::support::overloaded(Some(SECOND)))
    }));
    let host = host(&inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    let mut watcher = host.follow.watch(&id, Seq::START).await.expect("known");
    // Accepted, submitted, first attempt.
    host.journal.crash_after(3, Fault::Hang);
    let mut seen = Vec::new();
    let quiet = async {
        while let Ok(Some(Update::Record(record))) = watcher.next().await {
            seen.push(Record::clone(&record));
        }
    };
    let ended = tokio::time::timeout(60 * SECOND, quiet).await;
    assert!(ended.is_err(), "the journal hangs");
    assert_eq!(seen, host.records(&id));
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_outcome_is_given_before_it_is_durable() {
    let (host, id) = crashing(4, Fault::Hang, &answering()).await;
    let end = tokio::time::timeout(60 * SECOND, host.follow.wait(&id)).await;
    assert!(
        end.is_err(),
        "it ended in {:?}",
        end.map(|view| view.map(|view| view.state))
    );
}

#[tokio::test(start_paused = true)]
async fn a_deliberation_rests_while_the_journal_fails_and_goes_on_after() {
    let inference = answering();
    let (host, id) = crashing(1, Fault::Fail, &inference).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(sent(&inference), []);
    assert_eq!(host.follow.active().len(), 1, "it is still held");
    host.journal.revive();
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(winner(&view), "seven");
    assert_eq!(sent(&inference), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_journal_did_not_take_is_asked_for_again() {
    let inference = answering();
    let (host, id) = crashing(3, Fault::Fail, &inference).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(sent(&inference), [(1, 1)]);
    host.journal.revive();
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(winner(&view), "seven");
    assert_eq!(sent(&inference), [(1, 1), (1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_when_the_journal_fails_is_aborted() {
    let inference = Arc::new(ScriptedInference::new(|request, call| {
        match (request.id.job, call) {
            (JobId(1), _) => Script::answer("seven").after(10 * SECOND),
            (_, 2) => Script::hang(),
            _ => Script::answer("eight"),
        }
    }));
    let runtime = ScriptedRuntime::new(|_, guest| async move {
        let jobs = ["a", "b"].map(|agent| crate::support::ask(&guest, agent, "question"));
        for job in jobs {
            let _ = guest.wait(job?).await?;
        }
        Ok(crate::support::answer("both"))
    });
    let host = host(&inference, runtime).await;
    let id = host.accept(|_| ()).await;
    until(&host, &id, |entry| {
        matches!(entry, Entry::Attempt { job: JobId(2), .. })
    })
    .await;
    host.journal.crash_after(host.journal.stored(), Fault::Fail);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    host.journal.revive();
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(winner(&view), "both");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_while_the_journal_fails_is_fulfilled_when_it_works_again() {
    let (host, id) = crashing(3, Fault::Fail, &answering()).await;
    tokio::time::sleep(20 * SECOND).await;
    let cancel = host.follow.cancel(&id, "enough".to_owned());
    let revive = async {
        tokio::time::sleep(20 * SECOND).await;
        host.journal.revive();
    };
    let (view, ()) = futures::join!(cancel, revive);
    let state = view.expect("it is cancelled").state;
    assert_eq!(state, State::Cancelled("enough".to_owned()));
    assert!(host.run.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_fenced_out_lets_the_deliberation_rest() {
    let inference = answering();
    let host = host(&inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    until(&host, &id, |entry| matches!(entry, Entry::Attempt { .. })).await;
    // Another host has taken it over.
    let records = host.records(&id);
    let last = records.last().expect("it has records");
    let foreign = Record {
        seq: last.seq.next(),
        at_ms: last.at_ms,
        entry: Entry::Paused { wasted_tokens: 0 },
    };
    let foreign = [Arc::new(foreign)];
    let written = host.journal.append(&id, last.seq, &foreign).await;
    written.expect("it is the first");
    let end = host.follow.wait(&id).await;
    assert!(matches!(end, Err(follow::Error::Resting(_))), "{end:?}");
    assert_eq!(host.records(&id).len(), records.len() + 1);
}
