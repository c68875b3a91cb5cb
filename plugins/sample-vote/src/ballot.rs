//! The samples that have finished, and what each votes for.

use std::collections::BTreeMap;

use conclave_sdk::vote::Tally;
use conclave_sdk::{Failure, Generation};
use serde::Serialize;

use crate::stop::Vote;

/// The samples so far.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    pub(crate) tally: Tally,
    /// One for each generation that ended, in that order.
    pub(crate) votes: Vec<Vote>,
    /// Those that did not fail, in the order in which they finished.
    pub(crate) samples: Vec<Sample>,
    /// Why the last generation that failed did.
    pub(crate) last_failure: Option<Failure>,
    /// Whether the stop rule was met.
    pub(crate) stopped: bool,
}

/// One finished generation.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The place of the agent in the task.
    pub(crate) agent: usize,
    /// Its answer, if it has one.
    pub(crate) answer: Option<String>,
    pub(crate) generation: Generation,
}

/// What watchers see after each sample.
#[derive(Debug, Serialize)]
pub(crate) struct Standing<'a> {
    /// Votes by answer.
    answers: BTreeMap<&'a str, u32>,
    samples: usize,
    abstained: usize,
    failed: usize,
}

impl Ballot {
    /// Counts a finished generation.
    pub(crate) fn count(&mut self, sample: Sample) {
        let vote = match &sample.answer {
            Some(answer) => Vote::For(self.tally.add(answer, 1)),
            None => Vote::Abstained,
        };
        self.votes.push(vote);
        self.samples.push(sample);
    }

    /// Counts a generation that failed.
    pub(crate) fn count_failure(&mut self, failure: Failure) {
        self.votes.push(Vote::Failed);
        self.last_failure = Some(failure);
    }

    pub(crate) fn abstained(&self) -> usize {
        self.with(Vote::Abstained)
    }

    pub(crate) fn failed(&self) -> usize {
        self.with(Vote::Failed)
    }

    fn with(&self, vote: Vote) -> usize {
        self.votes.iter().filter(|other| **other == vote).count()
    }

    pub(crate) fn standing(&self) -> Standing<'_> {
        Standing {
            answers: by_answer(&self.tally),
            samples: self.samples.len(),
            abstained: self.abstained(),
            failed: self.failed(),
        }
    }
}

/// Votes by answer.
pub(crate) fn by_answer(tally: &Tally) -> BTreeMap<&str, u32> {
    let answers = tally.answers().iter();
    answers
        .map(|answer| (answer.text.as_str(), answer.votes))
        .collect()
}
