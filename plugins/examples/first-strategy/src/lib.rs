//! A first strategy: every agent answers once, and the scorer chooses.

use conclave_sdk::prelude::*;

pub struct FirstStrategy;

impl Strategy for FirstStrategy {
    const NAME: &'static str = "first-strategy";
    const SUMMARY: &'static str = "Every agent answers once, and the scorer chooses.";
    type Params = NoParams;

    async fn deliberate(ctx: &Context, task: Task, _: NoParams) -> Result<Outcome, Error> {
        let ask = |agent| ctx.generate(GenerationRequest::for_agent(agent).user(&task.description));
        let answers = ctx.all(task.agents.iter().map(ask)).await;
        let mut candidates = Vec::new();
        for (agent, answer) in task.agents.iter().zip(answers) {
            candidates.push(Candidate::from_generation(agent, answer?));
        }
        let scores = ctx.score(&candidates)?;
        Ok(Outcome::by_score(candidates, scores, "the best score"))
    }
}

conclave_sdk::strategy!(FirstStrategy);

#[cfg(test)]
mod tests {
    use super::FirstStrategy;
    use conclave_sdk::testing::{Script, task};

    #[test]
    fn every_agent_answers_once() {
        let script = Script::new(|request| Ok(format!("hello from {}", request.agent)));
        let outcome = script.deliberate::<FirstStrategy>(task("Say hello.", &["a", "b"]));
        assert_eq!(outcome.unwrap().ranked[0].candidate.content, "hello from a");
        assert_eq!(script.requests().len(), 2);
    }
}
