//! A strategy that misbehaves as its parameters tell it, to test limits and determinism.
//!
//! A mode that survives its misbehaviour answers like `ok`: one candidate for the first agent. What
//! it saw is in the metadata.

mod misbehave;
mod observe;

use conclave_sdk::{Candidate, Context, Error, Outcome, Ranked, Score, Strategy, Task};
use schemars::JsonSchema;
use serde::Deserialize;

/// The strategy.
#[derive(Debug)]
pub struct Hostile;

/// What it shall do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// How to misbehave.
    pub mode: Mode,
    /// How often, in the modes that repeat something.
    pub count: u32,
    /// How many bytes each time, in the modes that give bytes to the host.
    pub bytes: u32,
    /// How long, in the modes that wait.
    pub milliseconds: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            mode: Mode::Ok,
            count: 1_000_000,
            bytes: 64,
            milliseconds: 3_600_000,
        }
    }
}

/// The ways to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all: one generation of the first agent.
    Ok,
    /// Panics.
    Trap,
    /// Recurses until the stack is used up.
    Overflow,
    /// Computes for ever.
    Spin,
    /// Computes for ever, and calls the host now and then.
    Stutter,
    /// Allocates until memory is refused.
    Allocate,
    /// Writes `bytes` bytes of memory again and again, each time with one instruction.
    Fill,
    /// Asks `count` times for a generation with a prompt of `bytes` bytes.
    LongStrings,
    /// Writes `count` log messages of `bytes` bytes.
    LogFlood,
    /// Writes `count` lines of `bytes` bytes to standard output and standard error.
    PrintFlood,
    /// Emits `count` events of `bytes` bytes.
    EmitFlood,
    /// Asks for the time `count` times.
    CallFlood,
    /// Submits `count` generations without waiting; metadata `submitted` and `failure`.
    SubmitFlood,
    /// Asks for `count` generations without waiting, whatever it is answered; metadata `submitted`
    /// and `failure`, the last.
    SubmitStubbornly,
    /// Asks for a generation with a prompt of `bytes` bytes; metadata `submitted` and `failure`.
    LargePrompt,
    /// Submits `count` generations, one after the other; metadata `finished` and `failure`.
    GenerateFlood,
    /// Calls the scorer `count` times; metadata `scored` and `failure`.
    ScoreFlood,
    /// Asks for a generation of an agent that the task does not have; metadata `failure`.
    StrangeAgent,
    /// Waits for a generation without a timeout, however long it takes.
    Wall,
    /// Waits for `milliseconds` with `std::thread::sleep`.
    Sleep,
    /// Waits for `milliseconds` with a timer of the SDK.
    Timer,
    /// Starts a generation and returns without waiting for it.
    Abandon,
    /// Starts a generation and panics.
    TrapAfterSubmit,
    /// Starts two generations, cancels the first and waits for the second.
    Cancel,
    /// Waits for what never comes, with no generation open.
    Deadlock,
    /// Answers with no candidate.
    BadOutcome,
    /// Answers with a score that is not a number.
    BadScore,
    /// Fails with a sentence.
    Error,
    /// Fails with `bytes` bytes.
    LongError,
    /// Tells in the metadata what it got of chance and time, from the session and from WASI.
    Random,
    /// Tells in the metadata how far each clock went while it computed, slept for no time, logged
    /// and asked for chance: in nanoseconds.
    Clocks,
    /// Tells in the metadata what it got of arithmetic that machines may differ in.
    Float,
}

impl Strategy for Hostile {
    const NAME: &'static str = "hostile";
    const SUMMARY: &'static str = "Misbehaves as it is told, to test limits and determinism.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        match params.mode {
            Mode::Random => return Ok(tell(&task, observe::chance_and_time(ctx))),
            Mode::Clocks => return Ok(tell(&task, observe::clocks(ctx))),
            Mode::Float => return Ok(tell(&task, observe::arithmetic())),
            Mode::BadOutcome => return Ok(Outcome::new(Vec::new(), "nothing")),
            Mode::BadScore => {
                let mut outcome = tell(&task, Vec::new());
                outcome.ranked[0].score.value = f64::NAN;
                return Ok(outcome);
            }
            _ => {}
        }
        Ok(tell(&task, misbehave::run(ctx, &task, &params).await?))
    }
}

conclave_sdk::strategy!(Hostile);

/// An outcome with one candidate and these facts.
fn tell(task: &Task, facts: Vec<(String, String)>) -> Outcome {
    let candidate = Candidate {
        agent: task.agents[0].id.clone(),
        content: "still here".to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    };
    let score = Score::new(1.0);
    let mut outcome = Outcome::new(vec![Ranked { candidate, score }], "it survived");
    outcome.metadata = facts;
    outcome
}
