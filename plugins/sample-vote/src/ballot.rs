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

/// Answers that an event shows, and characters of each: an event has a limit of bytes.
const ANSWERS_SHOWN: usize = 100;
const ANSWER_CHARS_SHOWN: usize = 100;

/// What watchers see after each sample.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    /// Votes by answer, the strongest answers, each by how it begins.
    answers: BTreeMap<String, u32>,
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

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            answers: self.strongest(),
            samples: self.samples.len(),
            abstained: self.abstained(),
            failed: self.failed(),
        }
    }
}

impl Ballot {
    /// Votes by the beginning of each answer, of the answers with the most votes.
    fn strongest(&self) -> BTreeMap<String, u32> {
        let mut answers: Vec<_> = self.tally.answers().iter().collect();
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.votes));
        let mut shown = BTreeMap::new();
        for answer in answers.into_iter().take(ANSWERS_SHOWN) {
            let beginning: String = answer.text.chars().take(ANSWER_CHARS_SHOWN).collect();
            *shown.entry(beginning).or_default() += answer.votes;
        }
        shown
    }
}

/// Votes by answer.
pub(crate) fn by_answer(tally: &Tally) -> BTreeMap<&str, u32> {
    let answers = tally.answers().iter();
    answers
        .map(|answer| (answer.text.as_str(), answer.votes))
        .collect()
}
