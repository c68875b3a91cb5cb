//! A scorer that misbehaves as its parameters tell it, to test limits and checks.

use std::hint::black_box;

use conclave_sdk::{Candidate, Error, GenerationRequest, Score, Scorer, Session, Task};
use schemars::JsonSchema;
use serde::Deserialize;

/// The scorer.
#[derive(Debug)]
pub struct HostileScorer;

/// What it shall do.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// How to misbehave.
    pub mode: Mode,
}

/// The ways to misbehave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all: every candidate has the score 1.
    #[default]
    Ok,
    /// Panics.
    Trap,
    /// Computes for ever.
    Spin,
    /// Computes for some hundred milliseconds, and scores 1.
    Busy,
    /// Allocates until memory is refused.
    Allocate,
    /// Fails with a sentence.
    Error,
    /// Scores with what is not a number.
    Nan,
    /// Scores above 1.
    OutOfRange,
    /// Scores below 0.
    Negative,
    /// Is too sure: a confidence above 1.
    OutOfRangeConfidence,
    /// Leaves the last candidate out.
    WrongCount,
    /// Runs one generation for each candidate, and scores 1.
    Generate,
    /// Waits for a generation that it has not asked for.
    Deadlock,
}

impl Scorer for HostileScorer {
    const NAME: &'static str = "hostile-scorer";
    const SUMMARY: &'static str = "Misbehaves as it is told, to test limits and checks.";
    type Params = Params;

    async fn evaluate(
        ctx: &Session,
        _: Task,
        candidates: Vec<Candidate>,
        params: Params,
    ) -> Result<Vec<Score>, Error> {
        let mut scores = vec![Score::new(1.0); candidates.len()];
        match params.mode {
            Mode::Ok => {}
            Mode::Trap => trap(),
            Mode::Spin => spin(u64::MAX),
            Mode::Busy => spin(100_000_000),
            Mode::Allocate => allocate(),
            Mode::Error => return Err("this scorer always fails".into()),
            Mode::Nan => scores[0].value = f64::NAN,
            Mode::OutOfRange => scores[0].value = 2.0,
            Mode::Negative => scores[0].value = -0.5,
            Mode::OutOfRangeConfidence => scores[0].confidence = Some(1.5),
            Mode::WrongCount => {
                scores.pop();
            }
            Mode::Generate => {
                for candidate in &candidates {
                    let request = GenerationRequest::for_task_model().phase("judge");
                    ctx.generate(request.user(&candidate.content)).await?;
                }
            }
            Mode::Deadlock => conclave_sdk::futures::future::pending().await,
        }
        Ok(scores)
    }
}

conclave_sdk::scorer!(HostileScorer);

#[expect(clippy::panic, reason = "a guest that panics is what is tested")]
fn trap() {
    panic!("this scorer traps");
}

fn spin(count: u64) {
    for number in 0..count {
        black_box(number);
    }
}

fn allocate() {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}
