//! The steps of a deliberation from its journal, a line each: what a plugin asked, what it was answered,
//! and when.

use std::collections::BTreeMap;
use std::fmt;

use conclave_core::entry::{Entry, Record};
use conclave_core::generation::{FinishReason, GenerationRequest};
use conclave_core::ids::{Actor, JobId};
use conclave_core::outcome::Verdict;
use serde_json::{Value, json};

use super::terminal::one_line;

/// Characters of a prompt or an answer.
const TEXT_CHARS_MAX: usize = 160;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The journal's entry.
    pub(super) entry: u64,
    /// In milliseconds since acceptance.
    pub(super) at_ms: u64,
    /// What happened.
    pub(super) text: String,
}

impl Step {
    pub(super) fn line(&self) -> String {
        format!("{:>8} ms  {:>4}  {}", self.at_ms, self.entry, self.text)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "entry": self.entry, "at_ms": self.at_ms, "step": self.text })
    }
}

/// The steps of these records; prompts are shown where they are known.
pub(super) fn steps(
    records: &[Record],
    requests: &BTreeMap<JobId, GenerationRequest>,
) -> Vec<Step> {
    let step = |record: &Record| {
        Some(Step {
            entry: record.seq.0,
            at_ms: record.at_ms,
            text: told(&record.entry, requests)?,
        })
    };
    records.iter().filter_map(step).collect()
}

fn told(entry: &Entry, requests: &BTreeMap<JobId, GenerationRequest>) -> Option<String> {
    Some(match entry {
        Entry::Accepted(accepted) => {
            let task = &accepted.request.task;
            let agents = counted(task.agents.len(), "agent");
            let (strategy, scorer) = (&accepted.strategy, &accepted.scorer);
            let text = quoted(&task.description);
            format!("accepted for {agents}, {strategy} and {scorer}: {text}")
        }
        Entry::Submitted {
            actor, job, what, ..
        } => {
            let who = who(*actor);
            let (agent, phase, round) = (
                one_line(what.agent.as_str(), 60),
                one_line(&what.phase, 60),
                what.round,
            );
            let asked = format!(
                "{who} asks for generation {job}: agent `{agent}`, phase `{phase}`, round {round}"
            );
            match requests
                .get(job)
                .and_then(|request| request.messages.last())
            {
                Some(message) => format!("{asked}, {}", quoted(&message.content)),
                None => asked,
            }
        }
        // That a generation is sent once is told by its end.
        Entry::Attempt {
            after: None,
            attempt: 1,
            ..
        } => return None,
        Entry::Attempt {
            job,
            attempt,
            after,
            ..
        } => {
            let after = after
                .as_ref()
                .map(|after| one_line(&after.to_string(), TEXT_CHARS_MAX));
            let after = after.unwrap_or_else(|| "the host started again".to_owned());
            format!("generation {job} is sent again, attempt {attempt}: {after}")
        }
        Entry::Completed {
            job,
            result: Ok(generation),
            ..
        } => {
            let finish = match generation.finish {
                FinishReason::Stop => "",
                FinishReason::Length => ", cut off",
                FinishReason::Aborted => ", ended by the server",
            };
            let tokens = counted(generation.usage.completion_tokens, "token");
            let text = quoted(&generation.text);
            format!("generation {job} ends, {tokens}{finish}: {text}")
        }
        Entry::Completed {
            job,
            result: Err(failure),
            ..
        } => {
            let why = one_line(&failure.to_string(), TEXT_CHARS_MAX);
            format!("generation {job} ends without a result: {why}")
        }
        Entry::Delivered { actor, job } => format!("{} is given generation {job}", who(*actor)),
        Entry::Cancelled { actor, jobs } => {
            let generations = match jobs.len() {
                1 => "generation",
                _ => "generations",
            };
            let jobs: Vec<_> = jobs.iter().map(ToString::to_string).collect();
            format!("{} cancels {generations} {}", who(*actor), jobs.join(", "))
        }
        Entry::Scoring {
            actor,
            scorer,
            candidates,
        } => {
            let contents = candidates.iter().map(|one| quoted(&one.content));
            let contents = contents.collect::<Vec<_>>().join(", ");
            let count = counted(candidates.len(), "candidate");
            let who = who(*actor);
            format!("{who} has {count} scored (call {scorer}): {contents}")
        }
        Entry::Scored {
            scorer,
            result: Ok(scores),
            ..
        } => {
            let scores = scores.iter().map(|score| format!("{:.3}", score.value));
            let scores = scores.collect::<Vec<_>>().join(", ");
            format!("the scorer answers call {scorer}: {scores}")
        }
        Entry::Scored {
            scorer,
            result: Err(failure),
            ..
        } => {
            let why = one_line(&failure.to_string(), TEXT_CHARS_MAX);
            format!("the scorer fails in call {scorer}: {why}")
        }
        Entry::Emitted {
            actor,
            kind,
            payload,
        } => {
            let payload = one_line(payload, TEXT_CHARS_MAX);
            format!("{} emits `{kind}`: {payload}", who(*actor))
        }
        Entry::Budget { actor, remaining } => {
            let left = |number: Option<u32>| number.map_or("any".to_owned(), |n| n.to_string());
            let (all, open) = (
                left(remaining.generations),
                left(remaining.open_generations),
            );
            format!(
                "{} is told what is left: {all} generations, {open} open at once",
                who(*actor)
            )
        }
        Entry::Timer { actor, until_ms } => {
            format!("{} has waited until {until_ms} ms", who(*actor))
        }
        Entry::CancelRequested { reason } => {
            format!("a client cancels: {}", one_line(reason, TEXT_CHARS_MAX))
        }
        Entry::Paused { .. } => "the host stops, and lets it rest".to_owned(),
        Entry::Finished { verdict, .. } => ending(verdict),
    })
}

/// How a deliberation ended, in a line.
pub(super) fn ending(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Completed(outcome) => {
            let winner = outcome.winner();
            let agent = one_line(winner.candidate.agent.as_str(), 60);
            let text = quoted(&winner.candidate.content);
            let score = winner.score.value;
            format!("completed: `{agent}` wins with a score of {score:.3}: {text}")
        }
        Verdict::Failed(cause) => format!("failed: {}", one_line(&cause.message, 2_000)),
        Verdict::Cancelled(reason) => {
            format!("cancelled: {}", one_line(reason, TEXT_CHARS_MAX))
        }
    }
}

fn who(actor: Actor) -> &'static str {
    match actor {
        Actor::STRATEGY => "the strategy",
        _ => "the scorer",
    }
}

/// So many of something that has an `s` when it is not one.
fn counted<N: Copy + fmt::Display + From<u8> + PartialEq>(number: N, noun: &str) -> String {
    match number == N::from(1) {
        true => format!("1 {noun}"),
        false => format!("{number} {noun}s"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text, TEXT_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::DeliberationId;
    use conclave_core::testkit::journal::every_entry;

    use super::*;

    #[test]
    fn every_entry_but_a_first_attempt_is_a_line_without_line_breaks() {
        let records = every_entry(&DeliberationId::new("deliberation-1"));
        let records: Vec<Record> = records.iter().map(|one| Record::clone(one)).collect();
        let steps = steps(&records, &BTreeMap::new());
        assert!(steps.len() >= 10, "{steps:?}");
        for step in &steps {
            assert!(!step.line().contains('\n'), "{step:?}");
        }
        assert!(steps[0].text.starts_with("accepted for"));
    }

    #[test]
    fn one_of_something_is_told_as_one() {
        assert_eq!(counted(1_usize, "agent"), "1 agent");
        assert_eq!(counted(0_u32, "token"), "0 tokens");
        assert_eq!(counted(2_u32, "token"), "2 tokens");
    }
}
