//! What the journal says about each agent's generations.

use std::collections::BTreeMap;

use crate::entry::{Entry, Record};
use crate::generation::{Failure, Generation};
use crate::ids::{AgentId, JobId, ModelName};
use crate::outcome::Candidate;

/// All generations of a deliberation.
#[derive(Debug, Default)]
pub(super) struct Facts<'a>(BTreeMap<JobId, Job<'a>>);

/// One generation.
#[derive(Debug)]
pub(super) struct Job<'a> {
    agent: &'a AgentId,
    pub(super) model: &'a ModelName,
    pub(super) temperature: Option<f32>,
    sent_at_ms: Option<u64>,
    ended_at_ms: Option<u64>,
    result: Option<&'a Result<Generation, Failure>>,
}

impl<'a> Job<'a> {
    /// What it gave.
    pub(super) fn generation(&self) -> Option<&'a Generation> {
        self.result.and_then(|result| result.as_ref().ok())
    }
}

impl<'a> Facts<'a> {
    /// What these records say.
    pub(super) fn of(records: &'a [Record]) -> Self {
        let mut jobs: BTreeMap<JobId, Job<'a>> = BTreeMap::new();
        for record in records {
            match &record.entry {
                Entry::Submitted { job, what, .. } => {
                    let submitted = Job {
                        agent: &what.agent,
                        model: &what.model,
                        temperature: None,
                        sent_at_ms: None,
                        ended_at_ms: None,
                        result: None,
                    };
                    jobs.insert(*job, submitted);
                }
                Entry::Attempt {
                    job, temperature, ..
                } => {
                    if let Some(job) = jobs.get_mut(job) {
                        job.sent_at_ms.get_or_insert(record.at_ms);
                        job.temperature = *temperature;
                    }
                }
                Entry::Completed { job, result, .. } => {
                    if let Some(job) = jobs.get_mut(job) {
                        job.ended_at_ms = Some(record.at_ms);
                        job.result = Some(result);
                    }
                }
                _ => {}
            }
        }
        Self(jobs)
    }

    fn of_agent<'f>(&'f self, agent: &'f AgentId) -> impl Iterator<Item = &'f Job<'a>> {
        self.0.values().filter(move |job| job.agent == agent)
    }

    /// From the first time that the agent was asked to its last answer. For one that was never asked,
    /// or did not answer, to the end at `end_ms`.
    pub(super) fn duration_ms(&self, agent: &AgentId, end_ms: u64) -> u64 {
        let sent = self.of_agent(agent).filter_map(|job| job.sent_at_ms).min();
        let ended = self.of_agent(agent).filter_map(|job| job.ended_at_ms).max();
        ended.unwrap_or(end_ms).saturating_sub(sent.unwrap_or(0))
    }

    /// The agent's last failure that was not somebody's wish.
    pub(super) fn last_failure(&self, agent: &AgentId) -> Option<&'a Failure> {
        let failed = self.of_agent(agent).filter_map(|job| match job.result? {
            Err(failure) if *failure != Failure::Cancelled => Some((job.ended_at_ms, failure)),
            _ => None,
        });
        failed
            .max_by_key(|(ended_at_ms, _)| *ended_at_ms)
            .map(|(_, failure)| failure)
    }

    /// The generations that a candidate came from; where it does not say, all that its agent finished.
    pub(super) fn sources<'f>(&'f self, candidate: &'f Candidate) -> Vec<&'f Job<'a>> {
        let named: Vec<_> = candidate
            .jobs
            .iter()
            .filter_map(|job| self.0.get(job))
            .collect();
        if !named.is_empty() {
            return named;
        }
        let finished = |job: &&Job<'_>| job.generation().is_some();
        self.of_agent(&candidate.agent).filter(finished).collect()
    }
}
