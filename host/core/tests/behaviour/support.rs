//! What the tests share: small strategies, cut journals, and questions to a journal.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_core::clock::Clock;
use conclave_core::endpoint::Endpoint;
use conclave_core::entry::{Entry, Record};
use conclave_core::generation::{Failure, Generation};
use conclave_core::ids::{AgentId, DeliberationId, JobId, Seq};
use conclave_core::inference;
use conclave_core::journal::Journal as _;
use conclave_core::limits::Limits;
use conclave_core::outcome::{Candidate, Cause, Proposal, Spent, Verdict};
use conclave_core::retry::Retry;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::{Guest, Ports, Stopped};
use conclave_core::slots::InFlight;
use conclave_core::tasks::Tasks;
use conclave_core::testkit::host::{Host, prompt, terms};
use conclave_core::testkit::inference::ScriptedInference;
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::testkit::runtime::{ScriptedRuntime, proposal, score};
use conclave_core::view::{State, View};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What plugins told their test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn note(&self, what: impl Display) {
        let mut notes = self.0.lock().expect("nobody panics with the lock");
        notes.push(what.to_string());
    }

    /// What was noted since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with the lock"))
    }
}

pub(crate) async fn host(inference: &Arc<ScriptedInference>, runtime: ScriptedRuntime) -> Host {
    host_on(&MemoryJournal::new(), inference, runtime).await
}

pub(crate) async fn host_on(
    journal: &MemoryJournal,
    inference: &Arc<ScriptedInference>,
    runtime: ScriptedRuntime,
) -> Host {
    Host::start(journal, inference.clone(), Arc::new(runtime)).await
}

/// A host whose deliberations have these limits.
pub(crate) fn limited(
    limits: Limits,
    inference: &Arc<ScriptedInference>,
    runtime: ScriptedRuntime,
) -> Host {
    let mut terms = terms();
    terms.limits = limits;
    let journal = MemoryJournal::new();
    Host::idle(&journal, inference.clone(), Arc::new(runtime), terms)
}

/// The ports of a host of one's own.
pub(crate) fn ports(
    journal: &MemoryJournal,
    inference: &Arc<ScriptedInference>,
    runtime: ScriptedRuntime,
) -> Ports {
    Ports {
        journal: Arc::new(journal.clone()),
        inference: inference.clone(),
        runtime: Arc::new(runtime),
        clock: Clock::system(),
        tasks: Tasks::default(),
        observers: conclave_core::observer::Observers::default(),
        spans: conclave_core::span::SessionSpans::default(),
        retry: Retry::default(),
        in_flight: InFlight::new(1024),
    }
}

/// Runs one deliberation of [`draft`](conclave_core::testkit::host::draft) to its end.
pub(crate) async fn run(
    inference: &Arc<ScriptedInference>,
    runtime: ScriptedRuntime,
) -> (View, Vec<Record>) {
    let host = host(inference, runtime).await;
    let id = host.accept(|_| ()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    (view, host.records(&id))
}

/// Resumes the first `kept` of these records on a new host, to the end.
pub(crate) async fn resume(
    whole: &[Record],
    kept: usize,
    inference: &Arc<ScriptedInference>,
    runtime: ScriptedRuntime,
) -> (View, Vec<Record>) {
    let journal = cut(whole, kept, Duration::ZERO).await;
    let host = host_on(&journal, inference, runtime).await;
    let id = id_of(whole);
    let view = host.follow.wait(&id).await.expect("it finishes");
    let records = host.records(&id);
    assert_eq!(records[..kept], whole[..kept], "history was changed");
    (view, records)
}

/// A journal that holds the first `kept` of these records, written so much earlier.
pub(crate) async fn cut(whole: &[Record], kept: usize, earlier: Duration) -> MemoryJournal {
    let journal = MemoryJournal::new();
    let id = id_of(whole);
    let mut first = whole[0].clone();
    if let Entry::Accepted(accepted) = &mut first.entry {
        accepted.accepted_at_ms -= u64::try_from(earlier.as_millis()).expect("a short time");
    }
    let created = journal.create(&id, &first, None).await;
    created.expect("the journal takes it");
    let rest: Vec<_> = whole[1..kept].iter().cloned().map(Arc::new).collect();
    let appended = journal.append(&id, Seq(1), &rest).await;
    appended.expect("the journal takes them");
    journal
}

pub(crate) fn id_of(records: &[Record]) -> DeliberationId {
    match &records[0].entry {
        Entry::Accepted(accepted) => accepted.id.clone(),
        other => unreachable!("the first entry is {}", other.describe()),
    }
}

/// How many records there are up to the first that fits, and with it.
pub(crate) fn through(records: &[Record], fits: impl Fn(&Entry) -> bool) -> usize {
    let place = records.iter().position(|record| fits(&record.entry));
    place.expect("the journal holds such an entry") + 1
}

/// Waits in virtual time until the journal of the deliberation holds such an entry.
pub(crate) async fn until(host: &Host, id: &DeliberationId, fits: impl Fn(&Entry) -> bool) {
    let waited = tokio::time::timeout(3600 * SECOND, async {
        while !host.records(id).iter().any(|record| fits(&record.entry)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("the journal comes to hold the entry");
}

pub(crate) fn attempts(records: &[Record]) -> Vec<(u32, u32)> {
    let attempts = records.iter().filter_map(|record| match &record.entry {
        Entry::Attempt { job, attempt, .. } => Some((job.0, *attempt)),
        _ => None,
    });
    attempts.collect()
}

/// Generation and attempt of every call, in order.
pub(crate) fn sent(inference: &ScriptedInference) -> Vec<(u32, u32)> {
    let calls = inference.calls();
    let ids = calls.iter().map(|call| &call.request.id);
    ids.map(|id| (id.job.0, id.attempt)).collect()
}

pub(crate) fn spent(records: &[Record]) -> Spent {
    match records.last().map(|record| &record.entry) {
        Some(Entry::Finished { spent, .. }) => *spent,
        other => unreachable!("the last entry is {other:?}"),
    }
}

pub(crate) fn verdict(records: &[Record]) -> &Verdict {
    match records.last().map(|record| &record.entry) {
        Some(Entry::Finished { verdict, .. }) => verdict,
        other => unreachable!("the last entry is {other:?}"),
    }
}

pub(crate) fn cause(view: &View) -> &Cause {
    match &view.state {
        State::Failed(cause) => cause,
        other => unreachable!("it did not fail: {other:?}"),
    }
}

pub(crate) fn winner(view: &View) -> &str {
    match &view.state {
        State::Completed(outcome) => &outcome.winner().candidate.content,
        other => unreachable!("it did not complete: {other:?}"),
    }
}

pub(crate) fn candidate(content: &str) -> Candidate {
    Candidate {
        agent: AgentId::new("a"),
        content: content.to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    }
}

/// A proposal of this one answer.
pub(crate) fn answer(content: &str) -> Proposal {
    proposal(vec![candidate(content)], vec![score(1.0)])
}

pub(crate) fn ask(guest: &Guest, agent: &str, text: &str) -> Result<JobId, Stopped> {
    let submitted = guest.submit(prompt(agent, text))?;
    Ok(submitted.expect("the request is sound"))
}

/// Asks, and waits for the result.
pub(crate) async fn generate(
    guest: &Guest,
    agent: &str,
    text: &str,
) -> Result<Result<Generation, Failure>, Stopped> {
    guest.wait(ask(guest, agent, text)?).await
}

/// A strategy that asks one agent, and answers what that says.
pub(crate) async fn ask_once(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let result = generate(&guest, "a", "question").await?;
    let text = result.map_or_else(|failure| failure.to_string(), |done| done.text);
    Ok(answer(&text))
}

/// An error after which another attempt may succeed.
pub(crate) fn overloaded(retry_after: Option<Duration>) -> inference::Error {
    inference::Error::Overloaded {
        endpoint: endpoint(),
        status: 429,
        retry_after,
    }
}

/// An error after which none can.
pub(crate) fn rejected() -> inference::Error {
    inference::Error::Rejected {
        endpoint: endpoint(),
        status: 400,
        message: "the prompt is too long".to_owned(),
    }
}

fn endpoint() -> Endpoint {
    Endpoint::parse("http://127.0.0.1:8000").expect("it is a URL")
}
