//! The strategy `my-plugin`: every agent answers at the same time, and the scorer chooses.

use conclave_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

pub struct MyPlugin;

/// What a client may set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// 0 (greedy) to 2; null leaves it to the model server.
    #[schemars(range(min = 0.0, max = 2.0))]
    temperature: Option<f32>,
    /// Tokens of an answer at most.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    max_tokens: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            temperature: None,
            max_tokens: 512,
        }
    }
}

impl Strategy for MyPlugin {
    const NAME: &'static str = "my-plugin";
    const SUMMARY: &'static str = "Every agent answers once, and the scorer chooses.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        let ask = |agent| {
            ctx.generate(
                GenerationRequest::for_agent(agent)
                    .user(&task.description)
                    .temperature(params.temperature)
                    .max_tokens(params.max_tokens),
            )
        };
        let answers = ctx.all(task.agents.iter().map(ask)).await;
        let mut candidates = Vec::new();
        let mut failure = None;
        for (agent, answer) in task.agents.iter().zip(answers) {
            match answer {
                Ok(answer) => candidates.push(Candidate::from_generation(agent, answer)),
                Err(why) => failure = Some(why),
            }
        }
        if candidates.is_empty() {
            return Err(match failure {
                Some(why) => Error::new(why).context("no agent answered"),
                None => "no agent answered".into(),
            });
        }
        let scores = ctx.score(&candidates)?;
        Ok(Outcome::by_score(candidates, scores, "the best score"))
    }
}

conclave_sdk::strategy!(MyPlugin);

#[cfg(test)]
mod tests {
    use conclave_sdk::testing::{Script, task};

    use super::*;

    #[test]
    fn the_best_score_wins() {
        let script = Script::new(|request| Ok(format!("{} says hello", request.agent))).scorer(|all| {
            let value = |one: &Candidate| if one.agent == "bob" { 0.9 } else { 0.1 };
            Ok(all.iter().map(|one| Score::new(value(one))).collect())
        });
        let outcome = script
            .deliberate::<MyPlugin>(task("Say hello.", &["ada", "bob", "eve"]))
            .unwrap();
        assert_eq!(outcome.ranked[0].candidate.content, "bob says hello");
        assert_eq!(script.requests().len(), 3);
    }

    #[test]
    fn when_nobody_answers_it_fails() {
        let script = Script::new(|_| Err(Failure::Unavailable("down".to_owned())));
        let error = script.deliberate::<MyPlugin>(task("?", &["ada"])).unwrap_err();
        assert!(error.starts_with("no agent answered: "), "{error}");
    }
}
