//! The strategy `sample-vote`: sample answers, and take the most frequent one.
//!
//! # Algorithm
//!
//! The agents are asked in turn, each with its own model and prompt, until as many samples are
//! there as were planned or the stop rule is met; what is still open then is cancelled. From each
//! text the `extract` rule takes an answer. The answer with the most votes wins; of answers with
//! equally many, the one with the best-scored candidate, then the one seen first.
//!
//! With one sample this is a single call; without a stop rule it is self-consistency (Wang et al.,
//! arXiv 2203.11171). The stop rules:
//!
//! | rule | stops | source |
//! |---|---|---|
//! | `beta` (default) | when P(theta > 1/2), for theta of Beta(a + 1, b + 1) and the votes a >= b of the two strongest answers, reaches `confidence` | adaptive consistency, arXiv 2305.11860 |
//! | `window` | when `size` samples in a row, taken together, agree | ESC, arXiv 2401.10480 |
//! | `first-m` | when `m` samples have finished: all are started at once and the slowest cancelled | short-m@k, arXiv 2505.17813 |
//! | `none` | never | |
//!
//! # How many run at once
//!
//! `none` and `first-m` start all samples at once, `window` one window, and `beta` as many as the
//! rule needs at least before it can stop: the first four for a confidence of 0.95, so that
//! waiting for the rule never costs a sample that the rule would have saved. `parallel` overrides
//! this. The operator's limit on open generations always holds.
//!
//! # What fails
//!
//! A generation that fails is no vote, and the deliberation goes on; when none succeeds, the error
//! carries the last failure. A text without an answer abstains: it is a candidate, ranked behind
//! all that have one. When all abstain, whole texts are compared instead.
//!
//! # Outcome
//!
//! There is one candidate for each agent and answer of it: the first text in which the agent gave
//! that answer, with the jobs of all in which it did. So every agent that answered has a candidate,
//! whether its answer won or not, and a scorer grades each distinct answer of an agent once. The
//! scores are those of the deliberation's scorer; they break ties of votes, and no more.
//!
//! Metadata: `answer` (the winning one, as extracted), `votes` (a JSON object from answer to
//! votes), `samples_planned`, `samples_used` (finished ones, with or without an answer),
//! `abstained`, `failed`. An event `vote` after each sample carries `answers`, `samples`,
//! `abstained` and `failed`.

mod ballot;
mod outcome;
mod params;
mod sampling;
mod stop;

use conclave_sdk::{Context, Error, Outcome, Strategy, Task};

pub use crate::params::Params;
pub use crate::stop::Stop;

/// The strategy.
#[derive(Debug)]
pub struct SampleVote;

impl Strategy for SampleVote {
    const NAME: &'static str = "sample-vote";
    const SUMMARY: &'static str =
        "Samples answers, stops when the majority is sure, and takes the most frequent one.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        let ballot = sampling::sample(ctx, &task, &params).await?;
        outcome::of(ctx, &task, &params, &ballot)
    }
}

conclave_sdk::strategy!(SampleVote);

#[cfg(test)]
mod tests;
