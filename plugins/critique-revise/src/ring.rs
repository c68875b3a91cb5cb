//! The ring of agents and its rounds.

use std::collections::BTreeMap;

use conclave_sdk::template::Scope;
use conclave_sdk::{
    Agent, Candidate, Context, Error, Failure, Generation, GenerationRequest, Outcome, Score,
    Seeds, Task,
};
use serde_json::json;

use crate::params::Params;

/// What an agent is asked when it has no prompt template of its own.
const PROMPT: &str = "{{ task }}";

/// The deliberation's fixed parts.
struct Ring<'a> {
    ctx: &'a Context,
    task: &'a Task,
    params: &'a Params,
}

/// An agent's answer as it stands.
struct Place<'a> {
    agent: &'a Agent,
    candidate: Candidate,
    revisions_kept: u32,
}

/// A revision of one place's answer.
struct Revision {
    text: String,
    reasoning: Option<String>,
    /// The critique's and the revision's.
    jobs: [u32; 2],
}

/// Why there is no revision.
enum Unrevised {
    /// A generation failed: the answer stays.
    Failed,
    /// The plugin's parameters are wrong: the deliberation fails.
    Broken(Error),
}

/// Runs the whole ring.
pub(crate) async fn deliberate(
    ctx: &Context,
    task: &Task,
    params: &Params,
) -> Result<Outcome, Error> {
    let ring = Ring { ctx, task, params };
    let (mut places, mut failed) = ring.answers().await?;
    let mut scores = Vec::new();
    let mut rounds = 0;
    while rounds < params.rounds && ring.can_pay_round(places.len()) {
        let revisions = ring.revisions(&places, rounds).await?;
        failed += revisions.iter().filter(|one| one.is_none()).count();
        let revised;
        (scores, revised) = ring.keep_better(&mut places, revisions)?;
        rounds += 1;
        ctx.emit("round", &standing(rounds, &revised, &places, &scores))?;
    }
    if scores.is_empty() {
        scores = ctx.score(&candidates(&places))?;
    }

    let kept: u32 = places.iter().map(|place| place.revisions_kept).sum();
    let revised: BTreeMap<&str, u32> = places
        .iter()
        .map(|place| (place.agent.id.as_str(), place.revisions_kept))
        .collect();
    let reasoning = format!(
        "the best-scored of {} answers after {rounds} {} in which {kept} {} kept",
        places.len(),
        if rounds == 1 { "round" } else { "rounds" },
        if kept == 1 {
            "revision was"
        } else {
            "revisions were"
        },
    );
    Ok(Outcome::by_score(candidates(&places), scores, reasoning)
        .rounds(rounds.max(1))
        .stopped_early(rounds < params.rounds)
        .fact("revised", serde_json::to_string(&revised)?)
        .fact("failed", failed.to_string()))
}

impl Ring<'_> {
    /// The first answers of the agents, and how many failed.
    async fn answers(&self) -> Result<(Vec<Place<'_>>, usize), Error> {
        let requests = self.task.agents.iter().map(|agent| {
            let scope = Scope::new(self.task).agent(agent);
            let prompt = scope.prompt(agent, PROMPT)?;
            self.request(agent, &scope, prompt)
        });
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let mut seeds = Seeds::of(&self.task.agents, &requests);
        let seeded = requests.into_iter().enumerate();
        let jobs: Vec<_> = seeded
            .map(|(agent, request)| {
                let seed = seeds.next(self.ctx, agent);
                self.ctx.generate(request.seed(seed))
            })
            .collect();
        let mut places = Vec::new();
        let mut failures = Vec::new();
        for (agent, answer) in self.task.agents.iter().zip(self.ctx.all(jobs).await) {
            match answer {
                Ok(generation) => places.push(Place {
                    agent,
                    candidate: Candidate::from_generation(agent, generation),
                    revisions_kept: 0,
                }),
                Err(failure) => failures.push(failure),
            }
        }
        match failures.last() {
            Some(failure) if places.is_empty() => {
                Err(Error::new(failure).context("no generation succeeded"))
            }
            _ => Ok((places, failures.len())),
        }
    }

    /// The revision of each place's answer by the agent before it; `None` where one failed.
    async fn revisions(
        &self,
        places: &[Place<'_>],
        round: u32,
    ) -> Result<Vec<Option<Revision>>, Error> {
        let chains = places.iter().enumerate().map(|(place, revised)| {
            let before = (place + places.len() - 1) % places.len();
            self.revision(places[before].agent, &revised.candidate.content, round)
        });
        let mut revisions = Vec::new();
        for revision in self.ctx.all(chains).await {
            revisions.push(match revision {
                Ok(revision) => Some(revision),
                Err(Unrevised::Failed) => None,
                Err(Unrevised::Broken(error)) => return Err(error),
            });
        }
        Ok(revisions)
    }

    async fn revision(
        &self,
        agent: &Agent,
        answer: &str,
        round: u32,
    ) -> Result<Revision, Unrevised> {
        let scope = Scope::new(self.task).agent(agent).set("answer", answer);
        let critique = self
            .ask(agent, &scope, "critique", &self.params.critique, round)
            .await?;
        let scope = scope.set("critique", &critique.text);
        let revision = self
            .ask(agent, &scope, "revise", &self.params.revise, round)
            .await?;
        Ok(Revision {
            text: revision.text,
            reasoning: revision.reasoning,
            jobs: [critique.job, revision.job],
        })
    }

    async fn ask(
        &self,
        agent: &Agent,
        scope: &Scope,
        phase: &str,
        template: &str,
        round: u32,
    ) -> Result<Generation, Unrevised> {
        let prompt = scope
            .render(template)
            .map_err(|error| Unrevised::Broken(error.context(format_args!("params: {phase}"))))?;
        let request = self
            .request(agent, scope, prompt)
            .map_err(Unrevised::Broken)?;
        let request = request.seed(self.ctx.random());
        let request = request.phase(phase).round(round + 1);
        Ok(self.ctx.generate(request).await?)
    }

    fn request(
        &self,
        agent: &Agent,
        scope: &Scope,
        prompt: String,
    ) -> Result<GenerationRequest, Error> {
        let system = scope.render(&self.params.system);
        Ok(GenerationRequest::for_agent(agent)
            .system(system.map_err(|error| error.context("params: system"))?)
            .user(prompt)
            .temperature(self.params.temperature.map(|value| value as f32))
            .max_tokens(self.params.max_tokens))
    }

    /// Whether the budget has the two generations that a round takes for each place.
    fn can_pay_round(&self, places: usize) -> bool {
        let left = self.ctx.remaining().generations;
        left.is_none_or(|left| left as usize >= 2 * places)
    }

    /// Scores the answers and their revisions together, puts each better revision in its place,
    /// and returns the scores of the places and the agents whose answers were replaced.
    fn keep_better(
        &self,
        places: &mut [Place<'_>],
        revisions: Vec<Option<Revision>>,
    ) -> Result<(Vec<Score>, Vec<String>), Error> {
        let mut all = candidates(places);
        for (place, revision) in places.iter().zip(&revisions) {
            all.extend(revision.as_ref().map(|one| revised(&place.candidate, one)));
        }
        let scores = self.ctx.score(&all)?;
        let (scores, of_revisions) = scores.split_at(places.len());
        let mut scores = scores.to_vec();
        let mut of_revisions = of_revisions.iter();
        let mut replaced = Vec::new();
        let changes = places.iter_mut().zip(&mut scores).zip(revisions);
        for ((place, score), revision) in changes {
            let Some(revision) = revision else { continue };
            let Some(better) = of_revisions.next().filter(|new| new.value > score.value) else {
                continue;
            };
            *score = better.clone();
            place.candidate = revised(&place.candidate, &revision);
            place.revisions_kept += 1;
            replaced.push(place.agent.id.clone());
        }
        Ok((scores, replaced))
    }
}

impl From<Failure> for Unrevised {
    fn from(_: Failure) -> Self {
        Self::Failed
    }
}

fn candidates(places: &[Place<'_>]) -> Vec<Candidate> {
    places.iter().map(|place| place.candidate.clone()).collect()
}

fn revised(candidate: &Candidate, revision: &Revision) -> Candidate {
    Candidate {
        agent: candidate.agent.clone(),
        content: revision.text.clone(),
        reasoning: revision.reasoning.clone(),
        jobs: [&candidate.jobs[..], &revision.jobs].concat(),
    }
}

/// What watchers see after a round.
fn standing(
    round: u32,
    revised: &[String],
    places: &[Place<'_>],
    scores: &[Score],
) -> serde_json::Value {
    let scores: BTreeMap<&str, f64> = places
        .iter()
        .zip(scores)
        .map(|(place, score)| (place.agent.id.as_str(), score.value))
        .collect();
    json!({"round": round, "revised": revised, "scores": scores})
}
