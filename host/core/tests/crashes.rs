//! A host may die after any entry: what it resumes must come to the same end, and nothing that is in
//! the journal may be paid for again.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::{Entry, Record};
use conclave_core::ids::{DeliberationId, JobId, Seq};
use conclave_core::inference::Request;
use conclave_core::journal::Journal as _;
use conclave_core::outcome::{Candidate, Proposal, Verdict};
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::{Event, Guest};
use conclave_core::testkit::host::{Host, prompt};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::{Fault, MemoryJournal};
use conclave_core::testkit::runtime::{ScriptedRuntime, proposal, score};
use proptest::prelude::*;

/// Does everything that a strategy can do: parallel and single generations, a set, cancels, timers,
/// randomness, budget, progress, and a scorer that asks a model.
async fn busy(task: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let set = guest.job_set();
    let mut seeds = Vec::new();
    for agent in &task.task.agents {
        for _ in 0..2 {
            let mut request = prompt(agent.id.as_str(), "answer");
            request.sampling.seed = Some(guest.random_u32());
            seeds.push(request.sampling.seed);
            let job = guest.submit(request)?.expect("within limits");
            let _ = guest.add(set, job);
        }
    }
    let budget = guest.remaining()?;
    guest.emit(
        "budget".to_owned(),
        format!("{}", budget.generations.unwrap_or(0)),
    )?;
    let mut candidates = Vec::new();
    while candidates.len() < 4 {
        match guest.next(set, Some(40)).await? {
            Event::Completed { job, outcome, .. } => {
                let content = outcome.map_or_else(|failure| failure.to_string(), |done| done.text);
                candidates.push(candidate(&content, job));
            }
            Event::TimedOut => guest.emit("waited".to_owned(), guest.elapsed_ms().to_string())?,
            Event::Empty => break,
        }
    }
    let rest = guest.cancel_rest(set)?;
    guest.sleep_until(guest.elapsed_ms() + 25).await?;
    let last = guest
        .submit(prompt("a", "last word"))?
        .expect("within limits");
    let last_text = guest
        .wait(last)
        .await?
        .map_or_else(|failure| failure.to_string(), |done| done.text);
    candidates.push(candidate(&last_text, last));
    let scores = guest
        .score(candidates.clone())
        .await?
        .expect("the scorer answers");
    let mut proposal = proposal(candidates, scores);
    proposal.metadata = BTreeMap::from([
        ("cancelled".to_owned(), rest.to_string()),
        ("seeds".to_owned(), format!("{seeds:?}")),
    ]);
    Ok(proposal)
}

fn candidate(content: &str, job: JobId) -> Candidate {
    Candidate {
        agent: conclave_core::ids::AgentId::new("a"),
        content: content.to_owned(),
        reasoning: None,
        jobs: vec![job],
    }
}

/// Asks a model about each candidate.
async fn judge(
    _: PluginTask,
    candidates: Vec<Candidate>,
    guest: Guest,
) -> Result<Vec<conclave_core::outcome::Score>, Error> {
    let mut scores = Vec::new();
    for candidate in &candidates {
        let job = guest
            .submit(prompt("", &candidate.content))?
            .expect("within limits");
        let text = guest
            .wait(job)
            .await?
            .map_or_else(|failure| failure.to_string(), |done| done.text);
        scores.push(score(
            f64::from(u32::try_from(text.len()).unwrap_or(0) % 10) / 10.0,
        ));
    }
    Ok(scores)
}

fn runtime() -> Arc<ScriptedRuntime> {
    Arc::new(ScriptedRuntime::new(busy).with_scorer(judge))
}

/// Answers by what is asked, each after a time of its own, so that the same request has the same
/// answer on every host.
fn model(delays: Vec<u64>) -> impl Fn(&Request, u32) -> Script + Send + Sync + 'static {
    move |request, _| {
        let job = request.id.job.0;
        let delay = delays[job as usize % delays.len()];
        Script::answer(&format!("answer {job} to {}", request.messages[0].content))
            .after(Duration::from_millis(delay))
    }
}

/// A deliberation from its start to its end: the whole journal.
async fn undisturbed(delays: &[u64]) -> (DeliberationId, Vec<Record>) {
    let journal = MemoryJournal::new();
    let inference = Arc::new(ScriptedInference::new(model(delays.to_vec())));
    let host = Host::start(&journal, inference, runtime()).await;
    let id = host.accept(|_| ()).await;
    host.follow.wait(&id).await.expect("it finishes");
    let records = host.records(&id);
    (id, records)
}

fn verdict(records: &[Record]) -> &Verdict {
    match &records.last().expect("it has records").entry {
        Entry::Finished { verdict, .. } => verdict,
        other => panic!("not finished: {}", other.describe()),
    }
}

fn completed(records: &[Record]) -> BTreeSet<JobId> {
    let jobs = records.iter().filter_map(|record| match &record.entry {
        Entry::Completed { job, .. } => Some(*job),
        _ => None,
    });
    jobs.collect()
}

/// The journal as a kill after `entries` entries leaves it.
async fn cut(records: &[Record], entries: usize) -> MemoryJournal {
    let journal = MemoryJournal::new();
    let id = match &records[0].entry {
        Entry::Accepted(accepted) => accepted.id.clone(),
        _ => panic!("the first entry is the acceptance"),
    };
    journal.create(&id, &records[0], None).await.unwrap();
    let rest: Vec<_> = records[1..entries].iter().cloned().map(Arc::new).collect();
    if !rest.is_empty() {
        journal.append(&id, Seq(1), &rest).await.unwrap();
    }
    journal
}

fn check_resumed(whole: &[Record], resumed: &[Record], kept: usize, sent: &[JobId]) {
    let durable = completed(&whole[..kept]);
    for job in sent {
        assert!(
            !durable.contains(job),
            "cut at {kept}: generation {job} was paid for twice"
        );
    }
    let once: BTreeSet<_> = sent.iter().collect();
    assert_eq!(
        once.len(),
        sent.len(),
        "cut at {kept}: a generation was sent twice"
    );
    assert_eq!(
        resumed[..kept],
        whole[..kept],
        "cut at {kept}: history was changed"
    );
    let Verdict::Completed(outcome) = verdict(resumed) else {
        panic!("cut at {kept}: {:?}", verdict(resumed));
    };
    assert!(!outcome.proposal.ranked.is_empty());
}

async fn resume_after_each_entry(delays: &[u64]) {
    let (id, whole) = undisturbed(delays).await;
    for kept in 1..whole.len() {
        let journal = cut(&whole, kept).await;
        let inference = Arc::new(ScriptedInference::new(model(delays.to_vec())));
        let host = Host::start(&journal, inference.clone(), runtime()).await;
        host.follow.wait(&id).await.expect("it finishes");
        let sent: Vec<_> = inference
            .calls()
            .iter()
            .map(|call| call.request.id.job)
            .collect();
        let resumed = host.records(&id);
        check_resumed(&whole, &resumed, kept, &sent);
        assert_eq!(
            seeds(verdict(&resumed)),
            seeds(verdict(&whole)),
            "cut at {kept}"
        );
    }
}

fn seeds(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Completed(outcome) => outcome.proposal.metadata.get("seeds").cloned(),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_after_any_entry_pays_nothing_twice(delays in prop::collection::vec(1_u64..120, 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(resume_after_each_entry(&delays));
    }
}

/// Answers at once, so that the order in which results come is that in which they were asked for, and
/// every run has one and the same journal.
#[tokio::test(start_paused = true)]
async fn a_kill_after_any_entry_changes_no_outcome() {
    let (id, whole) = undisturbed(&[10, 20, 30, 40, 50, 60, 70]).await;
    for kept in 1..whole.len() {
        let journal = cut(&whole, kept).await;
        let inference = Arc::new(ScriptedInference::new(model(vec![
            10, 20, 30, 40, 50, 60, 70,
        ])));
        let host = Host::start(&journal, inference, runtime()).await;
        host.follow.wait(&id).await.expect("it finishes");
        let resumed = host.records(&id);
        assert_eq!(winner(&resumed), winner(&whole), "cut at {kept}");
        let seqs: Vec<_> = resumed.iter().map(|record| record.seq.0).collect();
        assert_eq!(
            seqs,
            (1..=resumed.len() as u64).collect::<Vec<_>>(),
            "event ids have gaps"
        );
    }
}

fn winner(records: &[Record]) -> String {
    match verdict(records) {
        Verdict::Completed(outcome) => outcome.winner().candidate.content.clone(),
        other => panic!("{other:?}"),
    }
}

/// The journal itself dies under a running host, between a write and its answer or before it.
#[tokio::test(start_paused = true)]
async fn a_host_that_dies_while_it_writes_is_resumed() {
    let delays = [30, 10, 50, 20];
    let (_, whole) = undisturbed(&delays).await;
    for fault in [Fault::Hang, Fault::HangUntold] {
        for dies_at in 2..whole.len() {
            let journal = MemoryJournal::new();
            let first = Arc::new(ScriptedInference::new(model(delays.to_vec())));
            let host = Host::start(&journal, first.clone(), runtime()).await;
            let id = host.accept(|_| ()).await;
            journal.crash_after(dies_at, fault);
            let end = tokio::time::timeout(Duration::from_secs(60), host.follow.wait(&id)).await;
            journal.revive();
            if end.is_ok() {
                continue;
            }
            let kept = host.records(&id);
            drop(host);
            let second = Arc::new(ScriptedInference::new(model(delays.to_vec())));
            let host = Host::start(&journal, second.clone(), runtime()).await;
            host.follow.wait(&id).await.expect("it finishes");
            let sent: Vec<_> = second
                .calls()
                .iter()
                .map(|call| call.request.id.job)
                .collect();
            let resumed = host.records(&id);
            check_resumed(&kept, &resumed, kept.len(), &sent);
            // What was sent before the crash was in the journal before it was sent.
            for call in first.calls() {
                let attempt = |record: &Record| matches!(record.entry, Entry::Attempt { job, .. } if job == call.request.id.job);
                assert!(kept.iter().any(attempt), "sent before it was durable");
            }
        }
    }
}
