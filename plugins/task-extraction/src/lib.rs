//! The strategy `task-extraction`: agents extract tasks as strict JSON, which is validated here.
//!
//! # Algorithm
//!
//! Every agent is asked, all at the same time, for one JSON object by a schema and at temperature 0:
//!
//! ```json
//! {"tasks": [{"title": "…", "description": "…", "estimated_hours": 8,
//!             "deliberation_indices": [0, 2], "priority": 1}]}
//! ```
//!
//! | member | rule |
//! |---|---|
//! | `tasks` | at least one |
//! | `title`, `description` | texts that are not blank |
//! | `estimated_hours` | a whole number from 1 to 200 |
//! | `deliberation_indices` | whole numbers, 0 or more: the deliberations that the task comes from; may be empty |
//! | `priority` | a whole number from 1 to 5 |
//!
//! Nothing is optional, and there are no other members. A server may ignore the schema, so each
//! answer is checked against these rules, and every violation is listed. White space and one code
//! fence around the object are tolerated, and nothing else is. An agent whose answer breaks rules is
//! asked again, with its answer and the violations, until it fits or was asked `asks_max` times.
//!
//! The valid answers are scored by the deliberation's scorer and ranked; of equally good ones, that
//! of the agent named first wins. So agents vote with the scorer `agreement`, and are fallbacks of
//! each other with any.
//!
//! # What fails
//!
//! An agent whose generation fails is out; so is one that never gives a valid answer. When the
//! budget of generations is used up, nobody is asked again. When no agent has a valid answer, the
//! error says for each agent why, with the violations of its last answer.
//!
//! # Outcome
//!
//! There is one candidate for each agent with a valid answer. Its content is the object as canonical
//! JSON (RFC 8785): members sorted, no white space. Its only job is the generation that was valid,
//! so that an agent that was asked three times has one vote.
//!
//! Metadata: `tasks` (how many the winner has), `asks` (generations in all), `invalid` (agents
//! without a valid answer, and without a failure), `failed` (agents whose generation failed). An
//! event `extraction` after each answer carries `agent`, `ask` (from 1) and `violations` (how many).

mod answer;
mod asking;
mod params;

use conclave_sdk::{Candidate, Context, Error, Outcome, Strategy, Task};

pub use crate::params::Params;

use crate::asking::{Asked, End};

/// The strategy.
#[derive(Debug)]
pub struct TaskExtraction;

impl Strategy for TaskExtraction {
    const NAME: &'static str = "task-extraction";
    const SUMMARY: &'static str =
        "Agents extract tasks as strict JSON, and are asked again until it is valid.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        let conversations = asking::conversations(ctx, &task, &params)?;
        let asked = ctx.all(conversations).await;
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one?);
        }
        outcome(ctx, answers)
    }
}

conclave_sdk::strategy!(TaskExtraction);

fn outcome(ctx: &Context, asked: Vec<Asked<'_>>) -> Result<Outcome, Error> {
    let asks: u32 = asked.iter().map(|one| one.asks).sum();
    let agents = asked.len();
    let mut candidates = Vec::new();
    let (mut invalid, mut failed) = (0, 0);
    let mut reasons = Vec::new();
    for one in asked {
        match one.end {
            End::Valid { tasks, generation } => {
                let mut candidate = Candidate::from_generation(one.agent, generation);
                candidate.content = tasks.canonical()?;
                candidates.push(candidate);
            }
            End::Invalid(reason) => {
                invalid += 1;
                reasons.push(format!("agent `{}`: {reason}", one.agent.id));
            }
            End::Failed(failure) => {
                failed += 1;
                reasons.push(format!("agent `{}`: {failure}", one.agent.id));
            }
        }
    }
    if candidates.is_empty() {
        let reasons = reasons.join("; ");
        return Err(Error::new(format_args!(
            "no agent gave valid tasks: {reasons}"
        )));
    }
    let valid = candidates.len();
    let scores = ctx.score(&candidates)?;
    let reasoning = format!("the best-scored of {valid} valid answers of {agents} agents");
    let outcome = Outcome::by_score(candidates, scores, reasoning);
    let winner = &outcome.ranked[0].candidate.content;
    let tasks = answer::read(winner).map_or(0, |tasks| tasks.count());
    Ok(outcome
        .fact("tasks", tasks.to_string())
        .fact("asks", asks.to_string())
        .fact("invalid", invalid.to_string())
        .fact("failed", failed.to_string()))
}

#[cfg(test)]
mod tests;
