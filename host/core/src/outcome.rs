//! How a deliberation ends: candidates with scores, or a failure with its cause.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, JobId};
use crate::plugin::Kind;

/// An answer that a strategy puts forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The agent whose answer it is.
    pub agent: AgentId,
    /// The answer.
    pub content: String,
    /// Why, if the strategy knows.
    pub reasoning: Option<String>,
    /// The generations that it came from.
    pub jobs: Vec<JobId>,
}

/// A grade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 (worst) to 1 (best), finite.
    pub value: f64,
    /// How sure the scorer is, 0 to 1.
    pub confidence: Option<f64>,
    /// Why, for people.
    pub rationale: Option<String>,
}

impl Score {
    /// The rule that the score breaks, if any.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        let check = |name: &str, value: f64| {
            (!(0.0..=1.0).contains(&value)).then(|| format!("{name} is {value}, it must be 0 to 1"))
        };
        check("score.value", self.value).or_else(|| {
            self.confidence
                .and_then(|value| check("score.confidence", value))
        })
    }
}

/// A candidate with its grade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// What was graded.
    pub candidate: Candidate,
    /// Its grade.
    pub score: Score,
}

/// What a strategy returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Best first; the first is the winner.
    pub ranked: Vec<Ranked>,
    /// How the winner was chosen.
    pub reasoning: String,
    /// Rounds that were run.
    pub rounds: u32,
    /// Whether it stopped before all the generations that it may have run.
    pub stopped_early: bool,
    /// More facts, under the strategy's own keys.
    pub metadata: BTreeMap<String, String>,
}

impl Proposal {
    /// The rule that the proposal breaks, if any.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        if self.ranked.is_empty() {
            return Some("outcome.ranked is empty, it must hold at least one candidate".to_owned());
        }
        if self.rounds == 0 {
            return Some("outcome.rounds is 0, it must be at least 1".to_owned());
        }
        self.ranked
            .iter()
            .find_map(|ranked| ranked.score.broken_rule())
    }
}

/// How much of what was asked for came about: a degraded answer must not look like a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// Agents of the request.
    pub agents: u32,
    /// Those with at least one finished generation.
    pub agents_completed: u32,
    /// Those whose every generation failed.
    pub agents_failed: u32,
}

/// What a deliberation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Generations that were asked for.
    pub generations: u32,
    /// Those that gave a result.
    pub generations_completed: u32,
    /// Those that failed.
    pub generations_failed: u32,
    /// Those that were cancelled before their end.
    pub generations_cancelled: u32,
    /// Prompt tokens of finished generations.
    pub prompt_tokens: u64,
    /// Completion tokens of finished generations.
    pub completion_tokens: u64,
    /// Tokens that were received from generations that were aborted.
    pub wasted_tokens: u64,
}

/// A completed deliberation's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the strategy returned; at least one candidate.
    pub proposal: Proposal,
    /// How complete it is.
    pub completeness: Completeness,
}

impl Outcome {
    /// The winner.
    #[must_use]
    pub fn winner(&self) -> &Ranked {
        self.proposal
            .ranked
            .first()
            .expect("an outcome is only built from a proposal with a candidate")
    }

    /// The mean of the candidates' scores.
    #[must_use]
    pub fn average_score(&self) -> f64 {
        let scores = self.proposal.ranked.iter().map(|ranked| ranked.score.value);
        scores.sum::<f64>() / self.proposal.ranked.len() as f64
    }
}

/// Why a deliberation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    /// What kind of thing happened; for programs.
    pub kind: CauseKind,
    /// What happened and what to do; for people.
    pub message: String,
    /// Whose fault it is, when it is a plugin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Kind>,
}

impl Cause {
    /// A cause of this kind. Plugins and model servers have a say in the message, so it is clipped
    /// after 4 KiB.
    pub fn new(kind: CauseKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: clipped(message.into()),
            by: None,
        }
    }

    /// The cause as the fault of the plugin of this kind.
    #[must_use]
    pub fn by(self, plugin: Kind) -> Self {
        let by = Some(plugin);
        Self { by, ..self }
    }
}

/// A message for people, cut off where nobody reads on and every client can still take it.
pub(crate) fn clipped(mut message: String) -> String {
    const BYTES_MAX: usize = 4 << 10;
    if message.len() > BYTES_MAX {
        message.truncate(message.floor_char_boundary(BYTES_MAX));
        message.push('…');
    }
    message
}

/// The kinds of [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The deliberation's deadline passed.
    DeadlineExceeded,
    /// The strategy returned an error of its own.
    StrategyFailed,
    /// No generation of any agent succeeded.
    AllAgentsFailed,
    /// A plugin trapped.
    PluginTrapped,
    /// A plugin exceeded a limit; the message names it.
    PluginLimitExceeded,
    /// A plugin broke a rule of its contract, for example a score of NaN.
    PluginInvalid,
    /// A replay asked for something else than the journal holds.
    NondeterministicPlugin,
    /// A pinned plugin can no longer be loaded.
    PluginUnavailable,
    /// The journal of the deliberation is damaged.
    JournalCorrupt,
}

impl CauseKind {
    /// The kind in capitals, as `ErrorInfo.reason` wants it (AIP-193).
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::StrategyFailed => "STRATEGY_FAILED",
            Self::AllAgentsFailed => "ALL_AGENTS_FAILED",
            Self::PluginTrapped => "PLUGIN_TRAPPED",
            Self::PluginLimitExceeded => "PLUGIN_LIMIT_EXCEEDED",
            Self::PluginInvalid => "PLUGIN_INVALID",
            Self::NondeterministicPlugin => "NONDETERMINISTIC_PLUGIN",
            Self::PluginUnavailable => "PLUGIN_UNAVAILABLE",
            Self::JournalCorrupt => "JOURNAL_CORRUPT",
        }
    }
}

/// The one way in which a deliberation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// With an answer.
    Completed(Box<Outcome>),
    /// Without one.
    Failed(Cause),
    /// By a client's wish; the text is the client's reason.
    Cancelled(String),
}
