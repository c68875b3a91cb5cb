//! Values of contract 0.1 from and to those of the core.

use conclave_core::entry::Remaining;
use conclave_core::generation::{
    Failure, FinishReason, Generation, GenerationRequest, Message, MessageRole, Sampling, Usage,
};
use conclave_core::ids::{AgentId, JobId};
use conclave_core::outcome::{Candidate, Proposal, Ranked, Score};
use conclave_core::plugin::Descriptor;
use conclave_core::runtime::PluginTask;

use super::bindings::scorer::exports::conclave::deliberation::describe as scorer_describe;
use super::bindings::strategy::conclave::deliberation::types as wit;
use super::bindings::strategy::exports::conclave::deliberation::describe as strategy_describe;

/// The contract's bound on every integer.
const INTEGER_MAX: u32 = 2_147_483_647;

/// A number as a guest may see it.
pub(super) fn integer(number: u32) -> u32 {
    number.min(INTEGER_MAX)
}

/// A count of milliseconds as a guest may see it.
pub(super) fn milliseconds(ms: u64) -> u32 {
    u32::try_from(ms).map_or(INTEGER_MAX, integer)
}

pub(super) fn task(PluginTask { task, params }: PluginTask) -> wit::Task {
    wit::Task {
        id: task.id,
        description: task.description,
        role: task.role,
        agents: task.agents.into_iter().map(agent).collect(),
        model: task.model.as_str().to_owned(),
        metadata: task.metadata.into_iter().collect(),
        params,
    }
}

fn agent(agent: conclave_core::request::Agent) -> wit::Agent {
    wit::Agent {
        id: agent.id.as_str().to_owned(),
        role: agent.role,
        model: agent.model.as_str().to_owned(),
        prompt_template: agent.prompt_template,
    }
}

pub(super) fn generation_request(request: wit::GenerationRequest) -> GenerationRequest {
    GenerationRequest {
        agent: AgentId::new(request.agent),
        phase: request.phase,
        round: request.round,
        messages: request.messages.into_iter().map(message).collect(),
        sampling: sampling(request.sampling),
        priority: request.priority,
        deadline_ms: request.deadline_ms,
    }
}

fn message(message: wit::Message) -> Message {
    Message {
        role: match message.role {
            wit::MessageRole::System => MessageRole::System,
            wit::MessageRole::User => MessageRole::User,
            wit::MessageRole::Assistant => MessageRole::Assistant,
        },
        content: message.content,
    }
}

fn sampling(sampling: wit::Sampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        tokens_max: sampling.max_tokens,
        stop: sampling.stop,
        seed: sampling.seed,
        logprobs: sampling.logprobs,
        json_schema: sampling.json_schema,
    }
}

pub(super) fn generation(generation: Generation) -> wit::Generation {
    wit::Generation {
        text: generation.text,
        reasoning: generation.reasoning,
        finish: match generation.finish {
            FinishReason::Stop => wit::FinishReason::Stop,
            FinishReason::Length => wit::FinishReason::Length,
            FinishReason::Aborted => wit::FinishReason::Aborted,
        },
        usage: usage(generation.usage),
        logprobs: generation.logprobs,
        latency_ms: integer(generation.latency_ms),
    }
}

fn usage(usage: Usage) -> wit::Usage {
    wit::Usage {
        prompt_tokens: integer(usage.prompt_tokens),
        cached_tokens: integer(usage.cached_tokens),
        completion_tokens: integer(usage.completion_tokens),
    }
}

pub(super) fn failure(failure: Failure) -> wit::Failure {
    match failure {
        Failure::Cancelled => wit::Failure::Cancelled,
        Failure::DeadlineExceeded => wit::Failure::DeadlineExceeded,
        Failure::BudgetExhausted(what) => wit::Failure::BudgetExhausted(what),
        Failure::Rejected(why) => wit::Failure::Rejected(why),
        Failure::Unavailable(why) => wit::Failure::Unavailable(why),
    }
}

pub(super) fn candidate(candidate: wit::Candidate) -> Candidate {
    Candidate {
        agent: AgentId::new(candidate.agent),
        content: candidate.content,
        reasoning: candidate.reasoning,
        jobs: candidate.jobs.into_iter().map(JobId).collect(),
    }
}

pub(super) fn candidate_to_guest(candidate: Candidate) -> wit::Candidate {
    wit::Candidate {
        agent: candidate.agent.as_str().to_owned(),
        content: candidate.content,
        reasoning: candidate.reasoning,
        jobs: candidate
            .jobs
            .into_iter()
            .map(|JobId(job)| integer(job))
            .collect(),
    }
}

pub(super) fn score(score: wit::Score) -> Score {
    Score {
        value: score.value,
        confidence: score.confidence,
        rationale: score.rationale,
    }
}

pub(super) fn score_to_guest(score: Score) -> wit::Score {
    wit::Score {
        value: score.value,
        confidence: score.confidence,
        rationale: score.rationale,
    }
}

pub(super) fn proposal(outcome: wit::Outcome) -> Proposal {
    let ranked = |ranked: wit::Ranked| Ranked {
        candidate: candidate(ranked.candidate),
        score: score(ranked.score),
    };
    Proposal {
        ranked: outcome.ranked.into_iter().map(ranked).collect(),
        reasoning: outcome.reasoning,
        rounds: outcome.rounds,
        stopped_early: outcome.stopped_early,
        metadata: outcome.metadata.into_iter().collect(),
    }
}

pub(super) fn budget(remaining: Remaining) -> wit::Budget {
    wit::Budget {
        generations: remaining.generations.map(integer),
        tokens: remaining.tokens.map(integer),
        wall_ms: remaining.wall_ms.map(integer),
        open_generations: remaining.open_generations.map(integer),
    }
}

pub(super) fn strategy_descriptor(descriptor: strategy_describe::Descriptor) -> Descriptor {
    Descriptor {
        name: descriptor.name,
        version: descriptor.version,
        summary: descriptor.summary,
        params_schema: descriptor.params_schema,
    }
}

pub(super) fn scorer_descriptor(descriptor: scorer_describe::Descriptor) -> Descriptor {
    Descriptor {
        name: descriptor.name,
        version: descriptor.version,
        summary: descriptor.summary,
        params_schema: descriptor.params_schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_integer_that_a_guest_sees_exceeds_the_contract() {
        assert_eq!(integer(u32::MAX), 2_147_483_647);
        assert_eq!(integer(7), 7);
        assert_eq!(milliseconds(u64::from(u32::MAX) + 1), 2_147_483_647);
        assert_eq!(milliseconds(7), 7);
        let tokens = usage(Usage {
            prompt_tokens: u32::MAX,
            cached_tokens: 1,
            completion_tokens: u32::MAX,
        });
        assert_eq!(
            (
                tokens.prompt_tokens,
                tokens.cached_tokens,
                tokens.completion_tokens
            ),
            (2_147_483_647, 1, 2_147_483_647)
        );
    }
}
