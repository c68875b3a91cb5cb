//! The host as the executor sees it: the component's imports, or a script in a test.

use std::cell::OnceCell;
use std::fmt;

use crate::bindings::base::conclave::deliberation::{context, inference, progress};
use crate::bindings::strategy::conclave::deliberation::scoring;
use crate::error::Failure;
use crate::types::{Budget, Candidate, Generation, GenerationRequest, Level, Score};

/// A job that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submitted {
    /// Its number in the deliberation.
    pub(crate) id: u32,
    /// Its index in the host's job set, counted from 0 without gaps.
    pub(crate) index: u32,
}

/// What a wait brought.
#[derive(Debug)]
pub(crate) enum Event {
    Completed {
        index: u32,
        outcome: Result<Generation, Failure>,
    },
    TimedOut,
    Empty,
}

/// What every plugin may ask of the host.
pub(crate) trait Host {
    fn submit(&self, request: GenerationRequest) -> Result<Submitted, Failure>;
    /// Waits for the next job of all that were submitted.
    fn next(&self, timeout_ms: Option<u32>) -> Event;
    fn cancel(&self, index: u32);
    /// Waits where there is no job to wait for.
    fn sleep(&self, milliseconds: u32);
    fn remaining(&self) -> Budget;
    fn elapsed_ms(&self) -> u32;
    fn random(&self) -> u32;
    fn emit(&self, kind: &str, payload: &str);
    fn log(&self, level: Level, message: &str);
}

/// What only strategies may ask: apart from [`Host`], so that a scorer does not import it.
pub(crate) trait Scoring {
    fn score(&self, candidates: &[Candidate]) -> Result<Vec<Score>, Failure>;
}

/// The imports of the component.
#[derive(Default)]
pub(crate) struct Imports {
    /// Made when the first job is submitted: not every plugin runs generations.
    jobs: OnceCell<inference::JobSet>,
}

impl Imports {
    fn jobs(&self) -> &inference::JobSet {
        self.jobs.get_or_init(inference::JobSet::new)
    }
}

impl fmt::Debug for Imports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Imports")
    }
}

impl Host for Imports {
    fn submit(&self, request: GenerationRequest) -> Result<Submitted, Failure> {
        let job = inference::submit(&request)?;
        Ok(Submitted {
            id: job.id(),
            index: self.jobs().add(job),
        })
    }

    fn next(&self, timeout_ms: Option<u32>) -> Event {
        match self.jobs().next(timeout_ms) {
            inference::Event::Completed(completion) => Event::Completed {
                index: completion.index,
                outcome: match completion.outcome {
                    Ok(generation) => Ok(Generation {
                        job: completion.job_id,
                        text: generation.text,
                        reasoning: generation.reasoning,
                        finish: generation.finish,
                        usage: generation.usage,
                        logprobs: generation.logprobs,
                        latency_ms: generation.latency_ms,
                    }),
                    Err(failure) => Err(failure.into()),
                },
            },
            inference::Event::TimedOut => Event::TimedOut,
            inference::Event::Empty => Event::Empty,
        }
    }

    fn cancel(&self, index: u32) {
        self.jobs().cancel(index);
    }

    /// A set without open jobs answers at once, whatever the timeout. WASI's clock waits instead:
    /// the host makes that a timer of the session, which a replay repeats.
    #[expect(
        clippy::disallowed_methods,
        reason = "a guest is suspended while it sleeps, and holds no thread of the host"
    )]
    fn sleep(&self, milliseconds: u32) {
        std::thread::sleep(std::time::Duration::from_millis(milliseconds.into()));
    }

    fn remaining(&self) -> Budget {
        context::remaining()
    }

    fn elapsed_ms(&self) -> u32 {
        context::elapsed_ms()
    }

    fn random(&self) -> u32 {
        context::random_u32()
    }

    fn emit(&self, kind: &str, payload: &str) {
        progress::emit(kind, payload);
    }

    fn log(&self, level: Level, message: &str) {
        progress::log(level, message);
    }
}

/// The import that strategies have besides.
#[derive(Debug)]
pub(crate) struct ScoringImport;

impl Scoring for ScoringImport {
    fn score(&self, candidates: &[Candidate]) -> Result<Vec<Score>, Failure> {
        Ok(scoring::evaluate(candidates)?)
    }
}
