//! The entries of a journal: everything that happened in a deliberation, in order.

use serde::{Deserialize, Serialize};

use crate::channel::Draw;
use crate::generation::{Failure, Generation, GenerationRequest};
use crate::ids::{Actor, AgentId, DeliberationId, Digest, JobId, ModelName, Seq, Tenant};
use crate::limits::Limits;
use crate::outcome::{Candidate, Score, Spent, Verdict};
use crate::plugin::PluginRef;
use crate::request::DeliberationRequest;

/// The version of the meaning of entries, pinned when a deliberation is accepted. It rises when a
/// session would answer the same journal in another way.
pub const SEMANTICS_VERSION: u32 = 1;

/// One entry in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place, from 1, without gaps.
    pub seq: Seq,
    /// When, in milliseconds since the deliberation was accepted.
    pub at_ms: u64,
    /// What happened.
    pub entry: Entry,
}

/// What can happen in a deliberation.
///
/// An *effect* is something that a plugin did or was told: it carries the actor and is matched in
/// program order when the plugin is run again. The others are the host's own and may stand anywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// The first entry: all that is needed to run the deliberation.
    Accepted(Box<Accepted>),
    /// Effect: a generation was asked for.
    Submitted {
        /// Who asked.
        actor: Actor,
        /// Its number.
        job: JobId,
        /// What it is, for people.
        what: JobInfo,
        /// The digest of the whole request.
        request: Digest,
    },
    /// A generation is about to be sent to a model server. Durable before it is sent.
    Attempt {
        /// Which generation.
        job: JobId,
        /// From 1.
        attempt: u32,
        /// Why the attempt before it failed; `None` for the first and after a restart of the host.
        after: Option<Failure>,
        /// At which temperature, when that is not left to the model server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature: Option<f32>,
    },
    /// A generation ended.
    Completed {
        /// Which generation.
        job: JobId,
        /// How.
        result: Result<Generation, Failure>,
        /// Tokens that were received from an aborted attempt.
        wasted_tokens: u32,
    },
    /// Effect: a plugin was given a generation's result.
    Delivered {
        /// To whom.
        actor: Actor,
        /// Which generation.
        job: JobId,
    },
    /// Effect: a plugin cancelled generations whose results it had not been given.
    Cancelled {
        /// Who.
        actor: Actor,
        /// Which generations.
        jobs: Vec<JobId>,
    },
    /// Effect: the strategy put candidates forward to the scorer.
    Scoring {
        /// Who.
        actor: Actor,
        /// The scorer's actor in this call.
        scorer: Actor,
        /// What is graded.
        candidates: Vec<Candidate>,
    },
    /// Effect: the scorer's grades were given to the strategy.
    Scored {
        /// To whom.
        actor: Actor,
        /// The scorer's actor in this call.
        scorer: Actor,
        /// One for each candidate, in order.
        result: Result<Vec<Score>, Failure>,
    },
    /// Effect: a plugin told watchers something.
    Emitted {
        /// Who.
        actor: Actor,
        /// A short word.
        kind: String,
        /// JSON text.
        payload: String,
    },
    /// Effect: a plugin was told what is left of its limits.
    Budget {
        /// To whom.
        actor: Actor,
        /// What it was told.
        remaining: Remaining,
    },
    /// Effect: a plugin waited until this time.
    Timer {
        /// Who.
        actor: Actor,
        /// In milliseconds since the deliberation was accepted.
        until_ms: u64,
    },
    /// A client asked to cancel.
    CancelRequested {
        /// Why, in the client's words; may be empty.
        reason: String,
    },
    /// The host stopped; the deliberation goes on when one starts again.
    Paused {
        /// Tokens that were received from generations that were aborted for it.
        wasted_tokens: u64,
    },
    /// The last entry.
    Finished {
        /// How the deliberation ended.
        verdict: Verdict,
        /// What it cost.
        spent: Spent,
    },
}

/// All that is needed to run a deliberation, now or after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its id.
    pub id: DeliberationId,
    /// What was asked for.
    pub request: DeliberationRequest,
    /// The strategy, pinned.
    pub strategy: PluginRef,
    /// The scorer, pinned.
    pub scorer: PluginRef,
    /// How it came to its strategy, if a canary could have been drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy_draw: Option<Draw>,
    /// How it came to its scorer, if a canary could have been drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer_draw: Option<Draw>,
    /// The metadata keys that may reach a plugin, pinned.
    pub metadata_allowed: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// Where all its randomness comes from.
    pub seed: u64,
    /// Wall-clock time of acceptance, in milliseconds since the Unix epoch.
    pub accepted_at_ms: u64,
    /// [`SEMANTICS_VERSION`] at acceptance.
    pub semantics: u32,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// W3C trace context of the submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C trace state that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

impl Accepted {
    /// The deadline, in milliseconds since acceptance.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        u64::try_from(self.request.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a generation is, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// The agent; empty for none.
    pub agent: AgentId,
    /// The model that answers.
    pub model: ModelName,
    /// What the generation is for.
    pub phase: String,
    /// The strategy's round, from 0.
    pub round: u32,
}

impl JobInfo {
    /// What `request` is when `model` answers it.
    #[must_use]
    pub fn of(request: &GenerationRequest, model: ModelName) -> Self {
        Self {
            agent: request.agent.clone(),
            model,
            phase: request.phase.clone(),
            round: request.round,
        }
    }
}

/// What is left of a deliberation's limits; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Generations that may still be submitted.
    pub generations: Option<u32>,
    /// Tokens.
    pub tokens: Option<u32>,
    /// Milliseconds until the deadline.
    pub wall_ms: Option<u32>,
    /// Generations that may be opened now.
    pub open_generations: Option<u32>,
}

impl Entry {
    /// Whose effect it is; `None` for the host's own entries.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Self::Submitted { actor, .. }
            | Self::Delivered { actor, .. }
            | Self::Cancelled { actor, .. }
            | Self::Scoring { actor, .. }
            | Self::Scored { actor, .. }
            | Self::Emitted { actor, .. }
            | Self::Budget { actor, .. }
            | Self::Timer { actor, .. } => Some(*actor),
            Self::Accepted(_)
            | Self::Attempt { .. }
            | Self::Completed { .. }
            | Self::CancelRequested { .. }
            | Self::Paused { .. }
            | Self::Finished { .. } => None,
        }
    }

    /// About how many bytes of it a plugin decided: its texts and lists, with what JSON adds to each.
    #[must_use]
    pub fn plugin_bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Self::Emitted { kind, payload, .. } => kind.len() + payload.len(),
            Self::Scoring { candidates, .. } => candidates
                .iter()
                .map(|candidate| {
                    let texts = candidate.agent.as_str().len() + candidate.content.len();
                    64 + texts + optional(&candidate.reasoning) + 11 * candidate.jobs.len()
                })
                .sum(),
            Self::Scored {
                result: Ok(scores), ..
            } => scores
                .iter()
                .map(|score| 64 + optional(&score.rationale))
                .sum(),
            _ => 0,
        }
    }

    /// The entry in a few words, without prompt or answer text, for errors and logs.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Accepted(accepted) => format!("accept {}", accepted.id),
            Self::Submitted {
                job, what, request, ..
            } => format!(
                "submit generation {job} (agent `{}`, phase `{}`, round {}, request {})",
                what.agent,
                what.phase,
                what.round,
                request.short()
            ),
            Self::Attempt { job, attempt, .. } => format!("attempt {attempt} of generation {job}"),
            Self::Completed { job, .. } => format!("complete generation {job}"),
            Self::Delivered { job, .. } => format!("deliver generation {job}"),
            Self::Cancelled { jobs, .. } => {
                let jobs: Vec<_> = jobs.iter().map(ToString::to_string).collect();
                match jobs.len() {
                    1 => format!("cancel generation {}", jobs.join(", ")),
                    _ => format!("cancel generations {}", jobs.join(", ")),
                }
            }
            Self::Scoring { candidates, .. } => {
                let digest = digest_of(candidates).short();
                match candidates.len() {
                    1 => format!("score 1 candidate ({digest})"),
                    many => format!("score {many} candidates ({digest})"),
                }
            }
            Self::Scored { scorer, .. } => format!("answer score call {scorer}"),
            Self::Emitted { kind, payload, .. } => {
                format!("emit `{kind}` ({})", Digest::of(payload.as_bytes()).short())
            }
            Self::Budget { .. } => "ask for the remaining budget".to_owned(),
            Self::Timer { until_ms, .. } => format!("wait until {until_ms} ms"),
            Self::CancelRequested { .. } => "request to cancel".to_owned(),
            Self::Paused { .. } => "pause".to_owned(),
            Self::Finished { .. } => "finish".to_owned(),
        }
    }
}

/// The digest of a value's JSON form: fields stand in the order of their declaration, so equal values
/// have equal digests.
#[must_use]
pub fn digest_of<T: Serialize + ?Sized>(value: &T) -> Digest {
    let json = serde_json::to_vec(value).expect("domain values have text keys and finite numbers");
    Digest::of(&json)
}
