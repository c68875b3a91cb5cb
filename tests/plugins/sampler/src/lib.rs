//! A strategy that asks every agent once, with the sampling settings that its params say, and tells what
//! came besides the texts.

use conclave_sdk::futures::StreamExt;
use conclave_sdk::futures::stream::FuturesUnordered;
use conclave_sdk::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub struct Sampler;

/// The parameters of `sampler`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// 0 (greedy) to 2.
    pub temperature: Option<f32>,
    /// Tokens of an answer at most: those of the first agent, of the second, and so on in turn.
    pub max_tokens: Vec<u32>,
    /// The seed of the first agent's answer; each further agent takes the next.
    pub seed: Option<u32>,
    /// How many alternatives to each token are asked for, with the log-probabilities.
    pub logprobs: Option<u8>,
    /// What the answers must satisfy.
    pub json_schema: Option<Value>,
    /// After how many answers it stops; null waits for all.
    pub answers: Option<usize>,
}

impl Params {
    fn request(&self, task: &Task, agent: &Agent, number: u32) -> GenerationRequest {
        let request = GenerationRequest::for_agent(agent)
            .user(&task.description)
            .temperature(self.temperature)
            .max_tokens(self.max_tokens.iter().cycle().nth(number as usize).copied())
            .seed(self.seed.map(|seed| seed + number))
            .logprobs(self.logprobs);
        match &self.json_schema {
            Some(schema) => request.json_schema(schema),
            None => request,
        }
    }
}

impl Strategy for Sampler {
    const NAME: &'static str = "sampler";
    const SUMMARY: &'static str = "Every agent answers once, as the params say.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        let ask = |(number, agent)| {
            let request = params.request(&task, agent, number);
            async move { (agent, ctx.generate(request).await) }
        };
        let mut open: FuturesUnordered<_> = (0..).zip(&task.agents).map(ask).collect();
        let wanted = params.answers.unwrap_or(task.agents.len());
        let mut candidates = Vec::new();
        let mut metadata = Vec::new();
        while candidates.len() < wanted {
            let Some((agent, answer)) = open.next().await else {
                break;
            };
            let answer = answer?;
            let sound = answer.logprobs.iter().all(|logprob| *logprob <= 0.0);
            for (what, told) in [
                ("tokens", answer.usage.completion_tokens.to_string()),
                ("logprobs", answer.logprobs.len().to_string()),
                ("logprobs_sound", sound.to_string()),
            ] {
                metadata.push((format!("{}.{what}", agent.id), told));
            }
            candidates.push(Candidate::from_generation(agent, answer));
        }
        // What is open is not wanted any more.
        drop(open);
        let scores = ctx.score(&candidates)?;
        let mut outcome = Outcome::by_score(candidates, scores, "the best score");
        outcome.metadata = metadata;
        Ok(outcome)
    }
}

conclave_sdk::strategy!(Sampler);
