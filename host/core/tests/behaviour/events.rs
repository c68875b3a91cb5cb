//! A host may die after any entry: the events that are told, over all of its lives, are those of the
//! journal, each at least once and in its order.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::events::{self, Event, Events, Telling};
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::observer::Observers;
use conclave_core::outbox::Outbox;
use conclave_core::outcome::{Candidate, Proposal};
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::host::{Host, prompt, terms};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::{Fault, MemoryJournal};
use conclave_core::testkit::runtime::{ScriptedRuntime, proposal};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

/// Asks each agent in turn, and tells of each answer.
async fn in_turn(task: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let mut candidates = Vec::new();
    for agent in task.task.agents {
        let job = guest.submit(prompt(agent.id.as_str(), "answer"))?;
        let job = job.expect("within limits");
        let answer = guest.wait(job).await?;
        guest.emit("answer".to_owned(), candidates.len().to_string())?;
        if let Ok(generation) = answer {
            candidates.push(Candidate {
                agent: agent.id,
                content: generation.text,
                reasoning: None,
                jobs: vec![job],
            });
        }
    }
    let scores = guest.score(candidates.clone()).await?;
    Ok(proposal(candidates, scores.expect("the scorer answers")))
}

/// Remembers, and takes its time.
#[derive(Default)]
struct Sink {
    taken: Mutex<Vec<Event>>,
    delay_ms: u64,
}

#[async_trait]
impl Events for Sink {
    async fn publish(&self, event: &Event) -> Result<(), events::Error> {
        tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
        self.taken.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// A host's life on a journal, until its deliberation has ended and nothing is owed, or for a minute.
async fn live(journal: &MemoryJournal, sink: &Arc<Sink>, delay_ms: u64) -> Option<DeliberationId> {
    let port = Arc::new(journal.clone());
    let outbox = Outbox::new(port.clone(), port, sink.clone(), Telling::Progress);
    let inference = ScriptedInference::new(move |_, _| {
        Script::answer("yes").after(Duration::from_millis(delay_ms))
    });
    let host = Host::observed(
        journal,
        Arc::new(inference),
        Arc::new(ScriptedRuntime::new(in_turn)),
        terms(),
        Observers::new(vec![outbox.observer()]),
    );
    let life = async {
        let unfinished = host.run.unfinished().await.unwrap();
        let id = match journal.first() {
            Some(id) => id,
            None => host.accept(|_| ()).await,
        };
        host.run.resume(unfinished).await;
        host.follow.wait(&id).await.unwrap();
        while outbox.pending().await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        id
    };
    tokio::select! {
        ended = tokio::time::timeout(Duration::from_secs(60), life) => ended.ok(),
        () = outbox.run(CancellationToken::new()) => None,
    }
}

/// What was told: each event in the order in which it was told first.
fn told(sink: &Sink) -> Vec<Event> {
    let mut told: Vec<Event> = Vec::new();
    for event in sink.taken.lock().unwrap().iter() {
        match told.iter().find(|before| before.key == event.key) {
            // Byte by byte, so that whoever keeps either has the same.
            Some(before) => assert_eq!(before, event),
            None => told.push(event.clone()),
        }
    }
    told
}

async fn die_after_each_entry(delay_ms: u64, sink_ms: u64) {
    let whole = MemoryJournal::telling(Telling::Progress);
    let sink = Arc::new(Sink::default());
    let id = live(&whole, &sink, delay_ms).await.expect("it ends");
    let expected: Vec<_> = told(&sink).into_iter().map(|event| event.subject).collect();
    assert_eq!(expected.len(), 1 + 3 + 3 + 1, "{expected:?}");

    for entries in 1..=whole.records(&id).len() {
        for fault in [Fault::Hang, Fault::HangUntold] {
            let journal = MemoryJournal::telling(Telling::Progress);
            let sink = Arc::new(Sink {
                delay_ms: sink_ms,
                ..Sink::default()
            });
            journal.crash_after(entries, fault);
            live(&journal, &sink, delay_ms).await;
            journal.revive();
            let id = live(&journal, &sink, delay_ms).await.expect("it ends");
            let records = journal.records(&id);
            assert_eq!(
                told(&sink),
                events::of(&records, Seq::START, Telling::Progress),
                "killed after {entries}, {fault:?}"
            );
            let subjects: Vec<_> = told(&sink).into_iter().map(|event| event.subject).collect();
            assert_eq!(subjects, expected, "killed after {entries}, {fault:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_after_any_entry_changes_no_event_and_loses_none(delay_ms in 1_u64..120, sink_ms in 0_u64..200) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(die_after_each_entry(delay_ms, sink_ms));
    }
}
