//! The strategy `critique-revise`: agents answer, then each criticises and revises its neighbour's
//! answer.
//!
//! # Algorithm
//!
//! The N agents answer the task, all at the same time. In each round agent i criticises the answer
//! of agent i + 1 (the last one that of the first) and then revises it in the light of its own
//! criticism. All answers and revisions of the round are scored together, and a revision takes the
//! place of the answer only if its score is higher: a revision that makes an answer worse, which
//! self-correction often does (Huang et al., arXiv 2310.01798), is dropped. After the last round
//! the answers are ranked by score. The shape is the ring of peer review; no published figures
//! are known for it. It takes N (1 + 2 rounds) generations, and two scorings of N for each round.
//!
//! # What fails
//!
//! An agent whose answer fails is left out of the ring; when all fail, the error carries the last
//! failure. Where a critique or a revision fails, the answer stays as it is. A round that the
//! budget of generations cannot pay is not begun, and the outcome says that it stopped early.
//!
//! # Outcome
//!
//! There is one candidate for each agent that answered. It stays that agent's own through all
//! revisions, although others wrote them; its `jobs` are the answer's and, of each revision that
//! was kept, those of the critique and the revision.
//!
//! Metadata: `revised` (a JSON object from agent to how many revisions of its answer were kept),
//! `failed` (generations that failed). An event `round` after each round carries `round` (from 1),
//! `revised` (the agents whose answer was replaced) and `scores` (by agent).

mod params;
mod ring;

use conclave_sdk::{Context, Error, Outcome, Strategy, Task};

pub use crate::params::Params;

/// The strategy.
#[derive(Debug)]
pub struct CritiqueRevise;

impl Strategy for CritiqueRevise {
    const NAME: &'static str = "critique-revise";
    const SUMMARY: &'static str =
        "Agents answer, then each criticises and revises its neighbour's answer.";
    type Params = Params;

    async fn deliberate(ctx: &Context, task: Task, params: Params) -> Result<Outcome, Error> {
        ring::deliberate(ctx, &task, &params).await
    }
}

conclave_sdk::strategy!(CritiqueRevise);

#[cfg(test)]
mod tests;
