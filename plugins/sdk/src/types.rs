//! The records of the contract, with constructors for what plugins make most.

use std::time::Duration;

pub use crate::bindings::base::conclave::deliberation::progress::Level;
pub use crate::bindings::base::conclave::deliberation::types::{
    Agent, Budget, Candidate, FinishReason, GenerationRequest, Message, MessageRole, Outcome,
    Ranked, Sampling, Score, Task, Usage,
};

/// The largest integer that the contract lets through.
const MAX: u32 = i32::MAX.cast_unsigned();

/// A duration as the contract's milliseconds, rounded up so that a wait is never too short.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    u32::try_from(milliseconds).unwrap_or(MAX).min(MAX)
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The number of its job, for [`Candidate::jobs`].
    pub job: u32,
    /// The answer, without reasoning.
    pub text: String,
    /// What a reasoning model thought first, where the server separates it.
    pub reasoning: Option<String>,
    /// Why the text ends where it does.
    pub finish: FinishReason,
    /// The tokens that it took.
    pub usage: Usage,
    /// The logarithm of the probability of each token, if it was asked for and the server gave it.
    pub logprobs: Vec<f32>,
    /// Milliseconds from sending to the last token, retries included.
    pub latency_ms: u32,
}

impl Candidate {
    /// What one generation says, as the answer of an agent.
    #[must_use]
    pub fn from_generation(agent: &Agent, generation: Generation) -> Self {
        Self {
            agent: agent.id.clone(),
            content: generation.text,
            reasoning: generation.reasoning,
            jobs: vec![generation.job],
        }
    }
}

impl Score {
    /// A grade from 0 to 1, and no more.
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self {
            value,
            confidence: None,
            rationale: None,
        }
    }

    /// Adds how sure the scorer is, 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: impl Into<Option<f64>>) -> Self {
        self.confidence = confidence.into();
        self
    }

    /// Adds the reason, for people.
    #[must_use]
    pub fn rationale(mut self, rationale: impl Into<String>) -> Self {
        self.rationale = Some(rationale.into());
        self
    }
}

impl Outcome {
    /// An outcome of one round: the candidates best first, and how the winner was chosen.
    #[must_use]
    pub fn new(ranked: Vec<Ranked>, reasoning: impl Into<String>) -> Self {
        Self {
            ranked,
            reasoning: reasoning.into(),
            rounds: 1,
            stopped_early: false,
            metadata: Vec::new(),
        }
    }

    /// An outcome of one round, with the candidates ranked by their scores. Equal scores keep the
    /// order of the candidates.
    #[must_use]
    pub fn by_score(
        candidates: Vec<Candidate>,
        scores: Vec<Score>,
        reasoning: impl Into<String>,
    ) -> Self {
        let mut ranked: Vec<Ranked> = candidates
            .into_iter()
            .zip(scores)
            .map(|(candidate, score)| Ranked { candidate, score })
            .collect();
        ranked.sort_by(|a, b| b.score.value.total_cmp(&a.score.value));
        Self::new(ranked, reasoning)
    }

    /// Sets the rounds that were run, at least 1.
    #[must_use]
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// Says whether generations that might have run did not.
    #[must_use]
    pub fn stopped_early(mut self, stopped_early: bool) -> Self {
        self.stopped_early = stopped_early;
        self
    }

    /// Adds a fact for the client.
    #[must_use]
    pub fn fact(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_up_and_stay_within_the_contract() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::from_secs(2)), 2_000);
        assert_eq!(milliseconds(Duration::MAX), 2_147_483_647);
    }

    #[test]
    fn equal_scores_keep_the_order_of_the_candidates() {
        let candidate = |content: &str| Candidate {
            agent: String::new(),
            content: content.to_owned(),
            reasoning: None,
            jobs: Vec::new(),
        };
        let outcome = Outcome::by_score(
            vec![candidate("a"), candidate("b"), candidate("c")],
            vec![Score::new(0.5), Score::new(0.5), Score::new(0.9)],
            "by score",
        );
        let order: Vec<_> = outcome
            .ranked
            .iter()
            .map(|r| &r.candidate.content)
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}
