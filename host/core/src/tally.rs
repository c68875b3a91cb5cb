//! What a deliberation came to: a fold over its journal, so that the session and every reader count
//! the same.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::generation::Failure;
use crate::ids::{AgentId, JobId};
use crate::outcome::{Completeness, Spent};

/// Counts generations, tokens and agents.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    spent: Spent,
    agents: BTreeMap<AgentId, AgentTally>,
    jobs: BTreeMap<JobId, AgentId>,
    last_failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, Default)]
struct AgentTally {
    completed: u32,
    failed: u32,
}

impl Tally {
    /// The tally of these entries.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut tally = Self::default();
        for entry in entries {
            tally.observe(entry);
        }
        tally
    }

    /// Counts one more entry.
    pub fn observe(&mut self, entry: &Entry) {
        match entry {
            Entry::Submitted { job, what, .. } => {
                self.spent.generations += 1;
                self.jobs.insert(*job, what.agent.clone());
            }
            Entry::Completed {
                job,
                result,
                wasted_tokens,
            } => {
                self.spent.wasted_tokens += u64::from(*wasted_tokens);
                let agent = self.jobs.get(job).cloned().unwrap_or_default();
                let agent = self.agents.entry(agent).or_default();
                match result {
                    Ok(generation) => {
                        agent.completed += 1;
                        self.spent.generations_completed += 1;
                        self.spent.prompt_tokens += u64::from(generation.usage.prompt_tokens);
                        self.spent.completion_tokens +=
                            u64::from(generation.usage.completion_tokens);
                    }
                    Err(Failure::Cancelled) => self.spent.generations_cancelled += 1,
                    Err(failure) => {
                        agent.failed += 1;
                        self.spent.generations_failed += 1;
                        self.last_failure = Some(failure.clone());
                    }
                }
            }
            Entry::Paused { wasted_tokens } => self.spent.wasted_tokens += wasted_tokens,
            _ => {}
        }
    }

    /// What it cost.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// How many of `agents` answered.
    #[must_use]
    pub fn completeness<'a>(&self, agents: impl IntoIterator<Item = &'a AgentId>) -> Completeness {
        let mut completeness = Completeness::default();
        for agent in agents {
            let tally = self.agents.get(agent).copied().unwrap_or_default();
            completeness.agents += 1;
            completeness.agents_completed += u32::from(tally.completed > 0);
            completeness.agents_failed += u32::from(tally.completed == 0 && tally.failed > 0);
        }
        completeness
    }

    /// The last failure, when generations were asked for and none gave a result.
    #[must_use]
    pub fn nothing_but_failures(&self) -> Option<&Failure> {
        match self.spent.generations_completed {
            0 => self.last_failure.as_ref(),
            _ => None,
        }
    }
}
