//! What may stand in a case's file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use conclave_core::ids::AgentId;
use conclave_core::outcome::Candidate as Put;
use conclave_core::request::AgentDraft;
use serde::Deserialize;

use super::expect::Expect;
use super::rules::Rule;
use super::short::{Short, either};
use super::{Table, Texts};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CaseFile {
    /// What is deliberated.
    pub(super) task: Task,
    /// The plugin's params.
    pub(super) params: Table,
    /// Limits of the deliberation.
    pub(super) limits: Limits,
    /// Who grades a strategy's candidates.
    #[serde(deserialize_with = "either")]
    pub(super) scorer: Scorer,
    /// What a scorer grades.
    pub(super) candidates: Vec<Candidate>,
    /// What the model server answers; the first rule that fits decides.
    pub(super) generation: Vec<Rule>,
    /// When the client cancels, in milliseconds.
    pub(super) cancel_at_ms: Option<u64>,
    /// A recorded deliberation, instead of a task and rules.
    pub(super) record: Option<PathBuf>,
    /// What must come of it.
    pub(super) expect: Expect,
}

/// What is deliberated.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Task {
    /// The client's id of it.
    pub(super) id: String,
    /// The question.
    pub(super) description: String,
    /// The role that the answer is for.
    pub(super) role: String,
    /// Who deliberates.
    pub(super) agents: Vec<Agent>,
    /// What the client adds; every key reaches the plugin.
    pub(super) metadata: Texts,
    /// Until the deadline; an hour when it is absent.
    pub(super) timeout_seconds: Option<u64>,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            id: "case".to_owned(),
            description: String::new(),
            role: String::new(),
            agents: WholeAgent::of_text("agent-1")
                .map(Agent)
                .into_iter()
                .collect(),
            metadata: Texts::new(),
            timeout_seconds: None,
        }
    }
}

impl Task {
    /// The agents as a request has them.
    pub(super) fn drafts(&self) -> Vec<AgentDraft> {
        let drafts = self.agents.iter().map(|Agent(agent)| AgentDraft {
            id: agent.id.clone(),
            role: agent.role.clone(),
            model: agent.model.clone(),
            prompt_template: agent.prompt_template.clone(),
        });
        drafts.collect()
    }
}

/// An agent: its id, or all of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Agent(#[serde(deserialize_with = "either")] WholeAgent);

/// All of an agent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WholeAgent {
    id: String,
    role: String,
    model: String,
    prompt_template: String,
}

impl Short for WholeAgent {
    const EXPECTED: &'static str = "an agent's id, or a table with `id`";

    fn of_text(text: &str) -> Option<Self> {
        Some(Self {
            id: text.to_owned(),
            ..Self::default()
        })
    }
}

/// Limits that differ from the host's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Generations in all.
    pub(super) generations_max: Option<u32>,
    /// Generations that are open at once.
    pub(super) open_generations_max: Option<u32>,
}

/// Who grades: the name of a built-in scorer, or one of the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Scorer {
    /// A scorer of the host's own, by name.
    pub(super) name: String,
    /// A component, by its path from the case's directory.
    pub(super) component: Option<PathBuf>,
    /// Its params.
    pub(super) params: Table,
    /// Nobody: these grades, by the candidate's place; the last stands for all that follow.
    pub(super) scores: Vec<f64>,
    /// Nobody: these grades, by the candidate's agent.
    pub(super) by_agent: BTreeMap<String, f64>,
}

impl Default for Scorer {
    fn default() -> Self {
        Self {
            name: "agreement".to_owned(),
            component: None,
            params: Table::new(),
            scores: Vec::new(),
            by_agent: BTreeMap::new(),
        }
    }
}

impl Short for Scorer {
    const EXPECTED: &'static str =
        "the name of a built-in scorer, or a table with `component`, `scores` or `by_agent`";

    fn of_text(text: &str) -> Option<Self> {
        Some(Self {
            name: text.to_owned(),
            ..Self::default()
        })
    }
}

/// A candidate: its content, or all of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Candidate(#[serde(deserialize_with = "either")] WholeCandidate);

/// All of a candidate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WholeCandidate {
    agent: Option<String>,
    content: String,
    reasoning: Option<String>,
}

impl Short for WholeCandidate {
    const EXPECTED: &'static str = "a candidate's content, or a table with `content`";

    fn of_text(text: &str) -> Option<Self> {
        Some(Self {
            content: text.to_owned(),
            ..Self::default()
        })
    }
}

impl Candidate {
    /// As a strategy puts it forward; `at` is its place, from 1.
    pub(super) fn of(&self, at: usize) -> Put {
        let whole = self.0.clone();
        let agent = whole.agent.unwrap_or_else(|| format!("agent-{at}"));
        Put {
            agent: AgentId::new(agent),
            content: whole.content,
            reasoning: whole.reasoning,
            jobs: Vec::new(),
        }
    }
}

impl CaseFile {
    /// What the file says that cannot be.
    pub(super) fn contradiction(&self) -> Option<String> {
        let has_task = !self.task.description.trim().is_empty();
        if self.record.is_some() {
            if has_task || !self.generation.is_empty() || !self.params.is_empty() {
                let text = "`record` brings task, params and answers of its own: [task], [params] \
                            and [[generation]] cannot stand beside it";
                return Some(text.to_owned());
            }
            return None;
        }
        if !has_task {
            return Some("[task] needs a `description`, or the file a `record`".to_owned());
        }
        let places = (1..).zip(&self.generation);
        let mut broken = places.filter_map(|(at, rule)| Some((at, rule.contradiction()?)));
        broken
            .next()
            .map(|(at, rule)| format!("[[generation]] number {at} {rule}"))
    }
}
