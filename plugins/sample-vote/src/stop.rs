//! When enough samples are there.

use conclave_sdk::vote::{Tally, majority_posterior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When to stop before all samples are there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stop {
    /// Never: take all samples (self-consistency, arXiv 2203.11171).
    None,
    /// When it is probable enough that the leading answer stays ahead of its strongest rival
    /// (adaptive consistency, arXiv 2305.11860).
    Beta {
        /// How probable.
        #[serde(default = "default_confidence")]
        #[schemars(extend("exclusiveMinimum" = 0.5, "exclusiveMaximum" = 1.0))]
        confidence: f64,
    },
    /// When all samples of a window agree (early-stopping self-consistency, arXiv 2401.10480).
    Window {
        /// Samples in a window.
        #[serde(default = "default_window")]
        #[schemars(range(min = 1, max = 64))]
        size: u32,
    },
    /// When this many have finished; the rest is cancelled (short-m@k, arXiv 2505.17813).
    FirstM {
        /// How many.
        #[schemars(range(min = 1, max = 64))]
        m: u32,
    },
}

fn default_confidence() -> f64 {
    0.95
}

fn default_window() -> u32 {
    5
}

impl Default for Stop {
    fn default() -> Self {
        Self::Beta {
            confidence: default_confidence(),
        }
    }
}

/// What became of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    /// It gave the answer at this place of the tally.
    For(usize),
    /// Its text has no answer.
    Abstained,
    /// Its generation failed.
    Failed,
}

impl Stop {
    /// Whether to stop after these votes, the latest last.
    pub(crate) fn is_met(self, tally: &Tally, votes: &[Vote]) -> bool {
        match self {
            Self::None => false,
            Self::Beta { confidence } => {
                let (first, second) = tally.top_two();
                majority_posterior(first, second) >= confidence
            }
            Self::Window { size } => {
                let window = votes.rchunks(size as usize).next().unwrap_or_default();
                votes.len().is_multiple_of(size as usize)
                    && matches!(window.first(), Some(Vote::For(_)))
                    && window.iter().all(|vote| *vote == window[0])
            }
            Self::FirstM { m } => {
                let finished = votes.iter().filter(|vote| **vote != Vote::Failed);
                finished.count() >= m as usize
            }
        }
    }

    /// How many samples may run at once after these votes, at least 1. Unless `parallel` says
    /// otherwise, none runs that the rule could have saved.
    pub(crate) fn open_max(self, parallel: Option<u32>, tally: &Tally, votes: &[Vote]) -> usize {
        let parallel = parallel.map(|parallel| parallel as usize);
        match self {
            Self::None | Self::FirstM { .. } => parallel.unwrap_or(usize::MAX),
            Self::Beta { confidence } => {
                parallel.unwrap_or_else(|| needed(confidence, tally.top_two()))
            }
            Self::Window { size } => {
                let size = size as usize;
                let left = size - votes.len() % size;
                left.min(parallel.unwrap_or(size))
            }
        }
    }
}

/// How many more samples there must be before the posterior can reach the confidence: as many as
/// it takes when all of them are for the leading answer.
fn needed(confidence: f64, (first, second): (u32, u32)) -> usize {
    (1..64)
        .find(|more| majority_posterior(first + more, second) >= confidence)
        .unwrap_or(64) as usize
}

#[cfg(test)]
mod tests;
