//! Judges a canary: do deliberations on it go worse than those on the stable version beside it?
//!
//! A plugin's name may point to two versions. A new deliberation is assigned to the canary with a
//! known probability, its [`Draw`], which is pinned with it. While the canary is no worse, which
//! version a deliberation ran on says nothing about how it ended, so each ending is a bet at known
//! odds; a capital that grows large on such bets shows that the canary is worse. Looking after every
//! deliberation is allowed: a nonnegative supermartingale that starts at 1 ever reaches `1 / α` with
//! probability `α` at most (Ville, "Étude critique de la notion de collectif", 1939).
//!
//! | test | each | is a bet that |
//! |---|---|---|
//! | [`Test::Traps`] | trap | is the canary's |
//! | [`Test::Deadlines`] | missed deadline | is the canary's |
//! | [`Test::Failures`] | failure of any kind, those two among them | is the canary's |
//! | [`Test::Cancellations`] | cancellation | is the canary's |
//! | [`Test::Scores`] | deliberation | is worth less on the canary than on stable: the score of its winner, 0 without an answer |
//! | [`Test::TrapsAlone`] | deliberation that a rule sends to the canary for certain | traps, though one in a hundred is tolerated |
//!
//! The first four are the likelihood-ratio test of the arm given the event: of two arms that an
//! event befalls at a relative risk `r`, the canary has it with probability `r·w / (r·w + 1 − w)`,
//! which is `w` when `r = 1`, however the rates and the weights change over time (Wald,
//! "Sequential Tests of Statistical Hypotheses", 1945; conditional on the event and valid at any
//! time: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022; how such
//! tests gate canaries: Lindon, Sanden and Shirikian, "Rapid Regression Detection in Software
//! Deployments through Sequential Testing", KDD 2022, doi:10.1145/3534678.3539099). The risk is
//! unknown, so the capital is spread over several (the method of mixtures of Robbins, "Statistical
//! Methods Related to the Law of the Iterated Logarithm", 1970). The fifth bets on a bounded mean
//! (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B, 2024).
//!
//! # What no worse means
//! Given all that was seen before, at every time: the probability of the event is no greater on the
//! canary than on stable, and the expected worth of a deliberation is no less. Nothing else is assumed.
//! The worth may drift, failures may come in waves, and tasks may be hard or easy; what befalls both
//! versions alike does no harm.
//!
//! For that, no deliberation may be left out of a bet because of how it ended: the odds `w` are those
//! of the draw, and hold for all that were drawn. Scores alone exist only where there is an answer. A
//! version that also answers the hard tasks, where the other fails or is cancelled, has more of the
//! answers and the lower scores, and would be found worse for being better. Therefore an ending without
//! an answer is worth as much as the worst answer.
//!
//! A client may cancel for reasons of its own, but not more often on one version than on the other,
//! unless it saw a difference. A version that hangs where clients do not wait for its deadline shows
//! in nothing else.
//!
//! # Error
//! Over the whole life of a canary that is no worse, the probability that any test finds it worse is
//! at most the [`ErrorRate`]: each test has an equal part of it (Bonferroni), thus must multiply its
//! capital by the number of tests over the error rate. The mean of the capitals would be a little
//! stronger (Vovk and Wang, "E-values: calibration, combination and applications", Annals of
//! Statistics, 2021), but needs tests that look at one sequence, and these take observations in two
//! orders ([`Evidence`]); nor would it be wrong as rarely in which test it names.
//!
//! A rise too small to matter is not found, on purpose: bets on a relative risk of one and a half, the
//! smallest, lose when it is below about 1.2, and those on the score when it falls by less than about a
//! hundredth.

use serde::{Deserialize, Serialize};

use crate::channel::Draw;

mod capital;
mod counts;
mod events;
mod evidence;
mod line;
mod scores;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod trial;
mod watch;

pub use counts::{Counts, Finding};
pub use evidence::Evidence;
pub use trial::Trial;
pub use watch::{Regression, Watch};

/// How a deliberation ended, as far as one of its plugins is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With an answer, whose winner has this score: 0 (worst) to 1 (best).
    Completed(f64),
    /// By the plugin's own fault: a trap, a limit exceeded, or a broken rule of its contract.
    Trapped,
    /// In another failure.
    Failed,
    /// At its deadline.
    DeadlineMissed,
    /// By a client's wish.
    Cancelled,
}

impl Ending {
    /// What the deliberation was worth: the score of its winner; without an answer 0, the worst.
    fn worth(self) -> f64 {
        match self {
            Self::Completed(score) => score,
            Self::Trapped | Self::Failed | Self::DeadlineMissed | Self::Cancelled => 0.0,
        }
    }
}

/// One deliberation that ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// How it came to its version.
    pub draw: Draw,
    /// How it ended.
    pub ending: Ending,
}

/// The tests of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// It traps more often than stable.
    Traps,
    /// Its deliberations fail more often, in whichever way.
    Failures,
    /// They miss their deadline more often.
    Deadlines,
    /// They are cancelled more often.
    Cancellations,
    /// Their winners score less, where none scores 0.
    Scores,
    /// Where a rule sends every deliberation to it, so that stable has none to compare with, it traps
    /// more often than is tolerated.
    TrapsAlone,
}

impl Test {
    /// All of them; of two that find the canary worse at once, the first is named.
    pub const ALL: [Self; 6] = [
        Self::Traps,
        Self::TrapsAlone,
        Self::Deadlines,
        Self::Failures,
        Self::Cancellations,
        Self::Scores,
    ];

    /// The test's name, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traps => "traps",
            Self::Failures => "failures",
            Self::Deadlines => "deadlines",
            Self::Cancellations => "cancellations",
            Self::Scores => "scores",
            Self::TrapsAlone => "traps_alone",
        }
    }
}

/// The probability that a canary which is no worse is ever found worse: 0.000001 to 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct ErrorRate(f64);

impl ErrorRate {
    /// The capital that a test must reach, from 1.
    #[must_use]
    pub fn capital_needed(self) -> f64 {
        Test::ALL.len() as f64 / self.0
    }
}

/// One in a hundred.
impl Default for ErrorRate {
    fn default() -> Self {
        Self(0.01)
    }
}

impl From<ErrorRate> for f64 {
    fn from(rate: ErrorRate) -> Self {
        rate.0
    }
}

impl TryFrom<f64> for ErrorRate {
    type Error = NotAnErrorRate;

    fn try_from(rate: f64) -> Result<Self, NotAnErrorRate> {
        if (1e-6..=0.5).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(NotAnErrorRate(rate))
        }
    }
}

/// A number that is no error rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no error rate, it must be 0.000001 to 0.5")]
pub struct NotAnErrorRate(f64);
