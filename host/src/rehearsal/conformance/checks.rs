//! The checks, by the names of their rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conclave_core::entry::{Entry, Record};
use conclave_core::generation::{Failure, FinishReason, GenerationRequest};
use conclave_core::ids::{AgentId, JobId, Seq};
use conclave_core::outcome::{Candidate, CauseKind, Verdict};

use super::subject::{Subject, Trial};
use crate::rehearsal::canned::is_its_own;
use crate::rehearsal::{Answer, Answers, Failing, Played, Scene, What};

/// Places at which a long run is cut off.
const CUTS_MAX: usize = 60;
/// A cancelled run ends in less real time than this; it takes some milliseconds.
const PROMPT: Duration = Duration::from_secs(10);

pub(super) async fn run(name: &str, subject: &Subject) -> Result<(), String> {
    match name {
        "describe-is-stable" => describe_is_stable(subject).await,
        "same-run-same-journal" => same_run_same_journal(subject).await,
        "resumes-from-every-entry" => resumes_from_every_entry(subject).await,
        "survives-cancelled" => first_wave_ends_in(subject, Failure::Cancelled).await,
        "survives-deadline-exceeded" => {
            first_wave_ends_in(subject, Failure::DeadlineExceeded).await
        }
        "survives-budget-exhausted" => {
            let text = "limits.generations_max (1) is used up".to_owned();
            first_wave_ends_in(subject, Failure::BudgetExhausted(text)).await
        }
        "survives-unavailable" => {
            let failing = Failing::Unavailable("the model server is down".to_owned());
            survives(subject, Kindly::failing(failing)).await
        }
        "survives-rejected" => {
            let failing = Failing::Rejected("the model is not served here".to_owned());
            survives(subject, Kindly::failing(failing)).await
        }
        "survives-empty-text" => survives(subject, Kindly::saying("")).await,
        "survives-long-text" => survives(subject, Kindly::saying(&"word ".repeat(52_429))).await,
        "survives-strange-text" => survives(subject, Kindly::saying(STRANGE)).await,
        "survives-cut-off-text" => {
            let mut answers = Kindly::saying("The answer is {\"answer\": [4");
            answers.finish = FinishReason::Length;
            survives(subject, answers).await
        }
        "keeps-to-its-budget" => keeps_to_its_budget(subject).await,
        "takes-one-agent" => takes_agents(subject, 1).await,
        "takes-many-agents" => takes_agents(subject, 64).await,
        "takes-one-candidate" => takes(subject, vec![candidate(1, "42")]).await,
        "takes-many-candidates" => {
            let many = (1..=64).map(|number| candidate(number, &format!("It is {}.", number % 5)));
            takes(subject, many.collect()).await
        }
        "takes-odd-candidates" => {
            let long = "long ".repeat(20_000);
            let odd = ["", STRANGE, &long, "42", "42"];
            let odd = (1..).zip(odd).map(|(number, text)| candidate(number, text));
            takes(subject, odd.collect()).await
        }
        "ends-when-cancelled" => ends_when_cancelled(subject).await,
        "leaks-no-generation" => leaks_no_generation(subject).await,
        unknown => Err(format!("there is no check `{unknown}`")),
    }
}

const STRANGE: &str =
    "\u{feff}Ответ: 四十二 \u{202e}42\u{202c} 🧮\u{0}\u{7}\r\n{\"answer\": \"\\ud800 — ”42";

/// Answers all generations alike, in an order that is not theirs.
struct Kindly {
    what: Result<String, Failing>,
    finish: FinishReason,
}

impl Kindly {
    fn saying(text: &str) -> Self {
        Self {
            what: Ok(text.to_owned()),
            finish: FinishReason::Stop,
        }
    }

    fn failing(failing: Failing) -> Self {
        Self {
            what: Err(failing),
            finish: FinishReason::Stop,
        }
    }

    /// What most answers are like.
    fn usual() -> Self {
        Self::saying("Six times seven is 42.\n\n42")
    }
}

impl Answers for Kindly {
    fn answer(&self, job: JobId, _request: &GenerationRequest) -> Answer {
        let after = Duration::from_millis(1_000 + u64::from(job.0) * 37 % 100);
        let mut answer = match &self.what {
            Ok(text) => Answer::text(text, after),
            Err(failing) => Answer::failing(failing.clone(), after),
        };
        if let What::Generation(generation) = &mut answer.what {
            generation.finish = self.finish;
        }
        answer
    }
}

fn candidate(number: usize, content: &str) -> Candidate {
    Candidate {
        agent: AgentId::new(format!("agent-{number}")),
        content: content.to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    }
}

/// An outcome, or an error that the contract lets a plugin return.
fn well_ended(played: &Played) -> Result<(), String> {
    match &played.verdict {
        Verdict::Completed(_) => Ok(()),
        Verdict::Failed(cause) if is_its_own(cause) => Ok(()),
        Verdict::Failed(cause) => Err(cause.message.clone()),
        Verdict::Cancelled(reason) => Err(format!("it was cancelled: {reason}")),
    }
}

async fn survives(subject: &Subject, answers: Kindly) -> Result<(), String> {
    let trial = Trial::default();
    let played = subject.run(&trial, Vec::new(), Arc::new(answers));
    well_ended(&played.await?)
}

async fn takes_agents(subject: &Subject, count: usize) -> Result<(), String> {
    let trial = Trial {
        scene: Scene::of_agents(count),
        ..Trial::default()
    };
    let played = subject.run(&trial, Vec::new(), Arc::new(Kindly::usual()));
    well_ended(&played.await?)
}

async fn takes(subject: &Subject, candidates: Vec<Candidate>) -> Result<(), String> {
    let trial = Trial {
        candidates,
        ..Trial::default()
    };
    let played = subject.run(&trial, Vec::new(), Arc::new(Kindly::usual()));
    well_ended(&played.await?)
}

async fn describe_is_stable(subject: &Subject) -> Result<(), String> {
    let first = subject.solo.describe().await;
    let first = first.map_err(|error| format!("`describe` failed: {error}"))?;
    let second = subject.solo.describe().await;
    let second = second.map_err(|error| format!("`describe` failed the second time: {error}"))?;
    match first == second {
        true => Ok(()),
        false => Err("`describe` said something else the second time".to_owned()),
    }
}

fn line(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_else(|error| error.to_string())
}

async fn same_run_same_journal(subject: &Subject) -> Result<(), String> {
    let trial = Trial::default();
    let usual = || Arc::new(Kindly::usual());
    let first = subject.run(&trial, Vec::new(), usual()).await?;
    let second = subject.run(&trial, Vec::new(), usual()).await?;
    let pairs = first.records.iter().zip(&second.records);
    let mut differing = pairs.filter(|(first, second)| line(first) != line(second));
    if let Some((first, second)) = differing.next() {
        return Err(format!(
            "entry {} was to {} at {} ms in the first run, and to {} at {} ms in the second",
            first.seq,
            first.entry.describe(),
            first.at_ms,
            second.entry.describe(),
            second.at_ms
        ));
    }
    match (first.records.len(), second.records.len()) {
        (first, second) if first != second => Err(format!(
            "the first run has {first} journal entries, the second {second}"
        )),
        _ => Ok(()),
    }
}

async fn resumes_from_every_entry(subject: &Subject) -> Result<(), String> {
    let trial = Trial::default();
    let whole = subject
        .run(&trial, Vec::new(), Arc::new(Kindly::usual()))
        .await?;
    let last = whole.records.len().saturating_sub(1);
    let step = last.div_ceil(CUTS_MAX).max(1);
    for kept in (1..last).step_by(step) {
        let records = whole.records[..kept].to_vec();
        let resumed = subject.run(&trial, records, Arc::new(Kindly::usual()));
        let resumed = resumed.await?;
        let behind = format!("cut off behind entry {kept} of {last}");
        if let Verdict::Failed(cause) = &resumed.verdict
            && cause.kind == CauseKind::NondeterministicPlugin
        {
            return Err(format!("{behind}: {}", cause.message));
        }
        if std::mem::discriminant(&resumed.verdict) != std::mem::discriminant(&whole.verdict) {
            let (was, is) = (ending(&whole.verdict), ending(&resumed.verdict));
            return Err(format!("{behind}, it {is}; uninterrupted, it {was}"));
        }
    }
    Ok(())
}

fn ending(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Completed(_) => "completed".to_owned(),
        Verdict::Failed(cause) => format!("failed: {}", cause.message),
        Verdict::Cancelled(_) => "was cancelled".to_owned(),
    }
}

/// Gives its first generations a result that a model server cannot give, by way of the journal, and
/// rejects the others.
async fn first_wave_ends_in(subject: &Subject, failure: Failure) -> Result<(), String> {
    let trial = Trial::default();
    let first = subject
        .run(&trial, Vec::new(), Arc::new(Kindly::usual()))
        .await?;
    let is_delivery = |record: &&Record| !matches!(record.entry, Entry::Delivered { .. });
    let before: Vec<_> = first.records.iter().take_while(is_delivery).collect();
    let jobs = before.iter().filter_map(|record| match &record.entry {
        Entry::Submitted { job, .. } => Some(*job),
        _ => None,
    });
    let jobs: Vec<_> = jobs.collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let is_end = |record: &&&Record| {
        !matches!(
            record.entry,
            Entry::Completed { .. } | Entry::Finished { .. }
        )
    };
    let at_ms = before.last().map_or(0, |record| record.at_ms);
    let kept = before.iter().filter(is_end);
    let mut entries: Vec<_> = kept
        .map(|record| (record.at_ms, record.entry.clone()))
        .collect();
    entries.extend(jobs.into_iter().map(|job| {
        let completed = Entry::Completed {
            job,
            result: Err(failure.clone()),
            wasted_tokens: 0,
        };
        (at_ms, completed)
    }));
    let records = (1..).zip(entries).map(|(seq, (at_ms, entry))| Record {
        seq: Seq(seq),
        at_ms,
        entry,
    });
    let rejected = Kindly::failing(Failing::Rejected("no more".to_owned()));
    let played = subject.run(&trial, records.collect(), Arc::new(rejected));
    well_ended(&played.await?)
}

async fn keeps_to_its_budget(subject: &Subject) -> Result<(), String> {
    let mut trial = Trial::default();
    trial.scene.limits.generations_max = 2;
    trial.scene.limits.open_generations_max = 1;
    let played = subject.run(&trial, Vec::new(), Arc::new(Kindly::usual()));
    well_ended(&played.await?)
}

/// Never answers.
struct Silent;

impl Answers for Silent {
    fn answer(&self, _job: JobId, _request: &GenerationRequest) -> Answer {
        Answer {
            after: Duration::ZERO,
            what: What::Silence,
        }
    }
}

async fn ends_when_cancelled(subject: &Subject) -> Result<(), String> {
    let trial = Trial {
        cancel_at_ms: Some(500),
        ..Trial::default()
    };
    let began = Instant::now();
    let played = subject.run(&trial, Vec::new(), Arc::new(Silent)).await?;
    if began.elapsed() > PROMPT {
        let seconds = began.elapsed().as_secs();
        return Err(format!("it took {seconds} s to end"));
    }
    match &played.verdict {
        Verdict::Cancelled(_) => Ok(()),
        // It waited for nothing that long, and had ended before.
        _ => well_ended(&played),
    }
}

async fn leaks_no_generation(subject: &Subject) -> Result<(), String> {
    let answers = Arc::new(Kindly::usual());
    let played = subject.run(&Trial::default(), Vec::new(), answers).await?;
    if played.leaked > 0 {
        return Err(format!("{} generations still run", played.leaked));
    }
    let ended = |wanted: JobId| {
        let is_end =
            |entry: &Entry| matches!(entry, Entry::Completed { job, .. } if *job == wanted);
        played.records.iter().any(|record| is_end(&record.entry))
    };
    match played.requests.keys().find(|job| !ended(**job)) {
        Some(job) => Err(format!("generation {job} has no end in the journal")),
        None => Ok(()),
    }
}
