//! A strategy that tells its version, before and behind a generation of each agent.
//!
//! The version stands in the component's data, where tests change it: so there are as many versions as
//! a test wants, of one build. The versions that begin with 17, 18 and 19 have a fault, which shows on a
//! task that speaks of their weak spot.

use std::hint::black_box;

use conclave_sdk::prelude::*;

/// The version. Tests look for exactly these digits, which stand nowhere else.
static VERSION: &str = "7654321.0.0";

/// The strategy.
#[derive(Debug)]
pub struct Steady;

/// The version as the component's data has it, which the compiler must not know.
fn version() -> &'static str {
    black_box(VERSION)
}

/// What the version does wrong, if it does.
#[expect(clippy::panic, reason = "a trap is one of the faults")]
fn show_fault(candidates: &mut [Candidate]) -> Result<(), Error> {
    match &version()[..2] {
        "19" => panic!("a trap at the weak spot"),
        "18" => return Err(Error::new("a failure at the weak spot")),
        "17" => {
            for (number, candidate) in candidates.iter_mut().enumerate() {
                candidate.content = format!("{number}");
            }
        }
        _ => {}
    }
    Ok(())
}

impl Strategy for Steady {
    const NAME: &'static str = "steady";
    const SUMMARY: &'static str = "Every agent answers once, beside the version that asked.";
    type Params = NoParams;

    async fn deliberate(ctx: &Context, task: Task, _: NoParams) -> Result<Outcome, Error> {
        let began = version().to_owned();
        let ask = |agent| ctx.generate(GenerationRequest::for_agent(agent).user(&task.description));
        let answers = ctx.all(task.agents.iter().map(ask)).await;
        let mut candidates = Vec::new();
        for (agent, answer) in task.agents.iter().zip(answers) {
            candidates.push(Candidate::from_generation(agent, answer?));
        }
        if task.description.contains("weak spot") {
            show_fault(&mut candidates)?;
        }
        let scores = ctx.score(&candidates)?;
        let mut outcome = Outcome::by_score(candidates, scores, "the best score");
        outcome.metadata = vec![
            ("began_on".to_owned(), began),
            ("ended_on".to_owned(), version().to_owned()),
        ];
        Ok(outcome)
    }
}

/// What [`conclave_sdk::strategy`] makes, with a version that is not the crate's.
#[cfg(target_family = "wasm")]
const _: () = {
    use conclave_sdk::bindings::{base, strategy};
    use conclave_sdk::export;

    struct Component;

    impl base::exports::conclave::deliberation::describe::Guest for Component {
        fn describe() -> export::Descriptor {
            export::describe_strategy::<Steady>(version())
        }
    }

    impl strategy::Guest for Component {
        fn deliberate(task: Task) -> Result<Outcome, String> {
            export::deliberate::<Steady>(task)
        }
    }

    base::export_base!(Component with_types_in conclave_sdk::bindings::base);
    strategy::export_strategy!(Component with_types_in conclave_sdk::bindings::strategy);
};
