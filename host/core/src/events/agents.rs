//! What came of each agent: one message for every agent of the request, so that a collector can
//! count to `num_agents`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::envelope::Context;
use super::facts::Facts;
use super::{Event, extraction, lifecycle};
use crate::entry::Record;
use crate::outcome::{Outcome, Ranked, Verdict};
use crate::request::Agent;
use crate::task_type::TaskType;

pub(super) const COMPLETED: &str = "agent.response.completed";
pub(super) const FAILED: &str = "agent.response.failed";

/// What the deployed consumers read when an agent answered.
#[derive(Serialize)]
struct Answered<'a> {
    task_id: &'a str,
    agent_id: &'a str,
    role: &'a str,
    status: &'static str,
    duration_ms: u64,
    timestamp: &'a str,
    proposal: Answer<'a>,
    operations: [Value; 0],
    artifacts: Map<String, Value>,
    audit_trail: [Value; 0],
    success: bool,
    model: &'a str,
    enable_tools: bool,
    diversity: bool,
    num_agents: usize,
    constraints: Value,
}

#[derive(Serialize)]
struct Answer<'a> {
    content: &'a str,
    author_id: &'a str,
    author_role: &'a str,
    model: &'a str,
    temperature: Option<f32>,
    tokens: u64,
    reasoning: &'a str,
    score: f64,
}

/// And when it did not.
#[derive(Serialize)]
struct Failed<'a> {
    task_id: &'a str,
    agent_id: &'a str,
    role: &'a str,
    status: &'static str,
    duration_ms: u64,
    timestamp: &'a str,
    error: String,
    error_type: String,
    success: bool,
    model: &'a str,
    num_agents: usize,
    story_id: &'a str,
    metadata: BTreeMap<&'static str, &'a str>,
}

/// Why an agent has no answer.
pub(super) struct Reason {
    pub(super) error_type: String,
    pub(super) error: String,
}

/// A message for each agent, in the order of the request.
pub(super) fn responses(
    context: &Context<'_>,
    records: &[Record],
    verdict: &Verdict,
) -> Vec<Event> {
    let facts = Facts::of(records);
    let teller = Teller { context, facts };
    let outcome = match verdict {
        Verdict::Completed(outcome) => Some(&**outcome),
        Verdict::Failed(_) | Verdict::Cancelled(_) => None,
    };
    let agents = context.accepted.request.task.agents.iter();
    let mut events = Vec::with_capacity(agents.len() + 1);
    // A list of tasks is read by those who make the tasks: the winner's is told, once.
    let extracted = outcome.filter(|_| context.task_type() == TaskType::TaskExtraction);
    if let Some(outcome) = extracted {
        events.push(teller.extracted(outcome));
    }
    for agent in agents {
        if extracted.is_some_and(|outcome| outcome.winner().candidate.agent == agent.id) {
            continue;
        }
        events.push(match outcome.and_then(|outcome| best(outcome, agent)) {
            Some(ranked) => teller.answered(agent, ranked),
            None => teller.failed(agent, teller.reason(agent, verdict)),
        });
    }
    events
}

/// The agent's highest-ranked candidate.
fn best<'a>(outcome: &'a Outcome, agent: &Agent) -> Option<&'a Ranked> {
    let mut ranked = outcome.proposal.ranked.iter();
    ranked.find(|ranked| ranked.candidate.agent == agent.id)
}

struct Teller<'a> {
    context: &'a Context<'a>,
    facts: Facts<'a>,
}

impl Teller<'_> {
    fn answered(&self, agent: &Agent, ranked: &Ranked) -> Event {
        let context = self.context;
        let subject = if context.task_type() == TaskType::BacklogReviewRole {
            "agent.response.completed.backlog-review.role"
        } else {
            COMPLETED
        };
        let role = self.role(agent);
        let sources = self.facts.sources(&ranked.candidate);
        let last = sources.last();
        let generations = || sources.iter().filter_map(|job| job.generation());
        let thought = generations()
            .next_back()
            .and_then(|one| one.reasoning.as_ref());
        let model = last.map_or(agent.model.as_str(), |job| job.model.as_str());
        let payload = Answered {
            task_id: context.task_id(),
            agent_id: agent.id.as_str(),
            role,
            status: "completed",
            duration_ms: self.facts.duration_ms(&agent.id, context.at_ms),
            timestamp: &context.time,
            proposal: Answer {
                content: &ranked.candidate.content,
                author_id: agent.id.as_str(),
                author_role: role,
                model,
                temperature: last.and_then(|job| job.temperature),
                tokens: generations()
                    .map(|one| u64::from(one.usage.completion_tokens))
                    .sum(),
                reasoning: ranked
                    .candidate
                    .reasoning
                    .as_ref()
                    .or(thought)
                    .map_or("", String::as_str),
                score: ranked.score.value,
            },
            operations: [],
            artifacts: Map::new(),
            audit_trail: [],
            success: true,
            model,
            enable_tools: false,
            diversity: false,
            num_agents: self.num_agents(),
            constraints: self.constraints(),
        };
        context.event(subject, COMPLETED, agent.id.as_str(), payload)
    }

    /// The winner's list of tasks, or that it is none.
    fn extracted(&self, outcome: &Outcome) -> Event {
        let winner = &outcome.winner().candidate;
        let agents = &self.context.accepted.request.task.agents;
        let agent = agents.iter().find(|agent| agent.id == winner.agent);
        // A strategy may answer in nobody's name.
        let nobody = Agent {
            id: winner.agent.clone(),
            role: String::new(),
            model: self.context.accepted.request.task.model.clone(),
            prompt_template: None,
        };
        let agent = agent.unwrap_or(&nobody);
        let sources = self.facts.sources(winner);
        let model = sources.last().map_or(&agent.model, |job| job.model);
        let duration_ms = self.facts.duration_ms(&agent.id, self.context.at_ms);
        let story_id = self.story_id();
        let told = extraction::event(self.context, winner, model, duration_ms, story_id);
        told.unwrap_or_else(|reason| self.failed(agent, reason))
    }

    fn failed(&self, agent: &Agent, reason: Reason) -> Event {
        let context = self.context;
        let payload = Failed {
            task_id: context.task_id(),
            agent_id: agent.id.as_str(),
            role: self.role(agent),
            status: "failed",
            duration_ms: self.facts.duration_ms(&agent.id, context.at_ms),
            timestamp: &context.time,
            error: reason.error,
            error_type: reason.error_type,
            success: false,
            model: agent.model.as_str(),
            num_agents: self.num_agents(),
            story_id: self.story_id(),
            metadata: BTreeMap::from([("task_id", context.task_id())]),
        };
        context.event(FAILED, FAILED, agent.id.as_str(), payload)
    }

    /// Its own last failure, or else why it was not waited for.
    fn reason(&self, agent: &Agent, verdict: &Verdict) -> Reason {
        if let Some(failure) = self.facts.last_failure(&agent.id) {
            return Reason {
                error_type: failure.kind().to_owned(),
                error: not_empty(failure.to_string(), failure.kind()),
            };
        }
        let cancelled = |error| Reason {
            error_type: "cancelled".to_owned(),
            error,
        };
        match verdict {
            Verdict::Cancelled(reason) => cancelled(lifecycle::cancelled(reason)),
            Verdict::Completed(_) => cancelled(
                "cancelled: the deliberation ended before the agent had an answer".to_owned(),
            ),
            Verdict::Failed(cause) => Reason {
                error_type: cause.kind.reason().to_ascii_lowercase(),
                error: not_empty(cause.message.clone(), cause.kind.reason()),
            },
        }
    }

    fn role<'r>(&'r self, agent: &'r Agent) -> &'r str {
        let role = match agent.role.as_str() {
            "" => self.context.accepted.request.task.role.as_str(),
            role => role,
        };
        // As Python's enums print.
        role.strip_prefix("AgentRole.").unwrap_or(role)
    }

    fn num_agents(&self) -> usize {
        self.context.accepted.request.task.agents.len()
    }

    fn story_id(&self) -> &str {
        let named = || part_of(self.context.task_id(), "story-");
        self.context
            .metadata("story_id")
            .or_else(named)
            .unwrap_or_default()
    }

    /// The request's constraints, with all of the client's own metadata.
    fn constraints(&self) -> Value {
        let request = &self.context.accepted.request;
        let own = request.task.metadata.iter();
        let mut metadata: Map<_, _> = own
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        metadata.insert("task_id".to_owned(), self.context.task_id().into());
        metadata.insert("story_id".to_owned(), self.story_id().into());
        metadata.insert("num_agents".to_owned(), self.num_agents().into());
        json!({
            "story_id": self.story_id(),
            "plan_id": self.context.metadata("plan_id").unwrap_or_default(),
            "timeout": request.timeout.as_secs(),
            "max_retries": request.retries_max,
            "metadata": metadata,
        })
    }
}

fn not_empty(text: String, instead: &str) -> String {
    if text.trim().is_empty() {
        return instead.to_owned();
    }
    text
}

/// A part of a task's id like `ceremony-BRC-123:story-ST-456:role-ARCHITECT`, by its prefix.
pub(super) fn part_of<'a>(task_id: &'a str, prefix: &str) -> Option<&'a str> {
    task_id
        .split(':')
        .find_map(|part| part.strip_prefix(prefix))
        .filter(|part| !part.is_empty())
}
