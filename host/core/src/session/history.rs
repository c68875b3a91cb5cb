//! What the journal already holds when a session is opened, arranged for its replay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::entry::{Entry, Record};
use crate::generation::{Failure, Generation};
use crate::ids::{Actor, JobId, Seq};

/// The recorded effects of each actor, in program order.
pub(super) type Script = VecDeque<Arc<Record>>;

#[derive(Debug, Default)]
pub(super) struct History {
    scripts: BTreeMap<Actor, Script>,
    jobs: BTreeMap<JobId, PastJob>,
    last_jobs: BTreeMap<Actor, JobId>,
    /// A client's wish to cancel that was journaled, and not yet fulfilled.
    pub(super) cancel_requested: Option<String>,
}

/// What the journal holds of a generation.
#[derive(Debug, Default)]
pub(super) struct PastJob {
    pub(super) attempts: u32,
    pub(super) retries: u32,
    pub(super) completed: Option<(Seq, Arc<Result<Generation, Failure>>)>,
    pub(super) cancelled: bool,
}

impl History {
    pub(super) fn of(records: Vec<Record>) -> Self {
        let mut history = Self::default();
        for record in records {
            history.observe(record);
        }
        history
    }

    fn observe(&mut self, record: Record) {
        match &record.entry {
            Entry::Submitted { actor, job, .. } => {
                self.last_jobs.insert(*actor, *job);
            }
            Entry::Attempt { job, after, .. } => {
                let past = self.jobs.entry(*job).or_default();
                past.attempts += 1;
                past.retries += u32::from(after.is_some());
            }
            Entry::Completed { job, result, .. } => {
                let result = Arc::new(result.clone());
                self.jobs.entry(*job).or_default().completed = Some((record.seq, result));
            }
            Entry::Cancelled { jobs, .. } => {
                for job in jobs {
                    self.jobs.entry(*job).or_default().cancelled = true;
                }
            }
            Entry::CancelRequested { reason } => self.cancel_requested = Some(reason.clone()),
            _ => {}
        }
        if let Some(actor) = record.entry.actor() {
            let script = self.scripts.entry(actor).or_default();
            script.push_back(Arc::new(record));
        }
    }

    /// The generations that were sent and have not ended, and how many attempts at each have failed.
    pub(super) fn open(self) -> impl Iterator<Item = (JobId, u32)> {
        let is_cancelled = self.cancel_requested.is_some();
        let open = self.jobs.into_iter().filter(move |(_, job)| {
            !is_cancelled && job.attempts > 0 && job.completed.is_none() && !job.cancelled
        });
        open.map(|(id, job)| (id, job.retries))
    }

    /// Takes what the actor did.
    pub(super) fn take_script(&mut self, actor: Actor) -> Script {
        self.scripts.remove(&actor).unwrap_or_default()
    }

    /// Takes what became of a generation.
    pub(super) fn take_job(&mut self, job: JobId) -> PastJob {
        self.jobs.remove(&job).unwrap_or_default()
    }

    /// The last generation that the actor asked for.
    pub(super) fn last_job_of(&self, actor: Actor) -> Option<JobId> {
        self.last_jobs.get(&actor).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(entries: Vec<Entry>) -> Vec<(u32, u32)> {
        let records = (1..).zip(entries).map(|(seq, entry)| Record {
            seq: Seq(seq),
            at_ms: 0,
            entry,
        });
        let open = History::of(records.collect()).open();
        open.map(|(job, retries)| (job.0, retries)).collect()
    }

    fn attempt(job: u32, attempt: u32, after: Option<Failure>) -> Entry {
        Entry::Attempt {
            job: JobId(job),
            attempt,
            after,
            temperature: None,
        }
    }

    #[test]
    fn open_is_what_was_sent_and_has_not_ended() {
        let failed = || Some(Failure::Unavailable("no server".to_owned()));
        let ended = Entry::Completed {
            job: JobId(1),
            result: Err(Failure::DeadlineExceeded),
            wasted_tokens: 0,
        };
        let cancelled = Entry::Cancelled {
            actor: Actor::STRATEGY,
            jobs: vec![JobId(2), JobId(5)],
        };
        let mut entries = vec![
            attempt(1, 1, None),
            attempt(2, 1, None),
            attempt(3, 1, None),
            attempt(4, 1, None),
            attempt(3, 2, failed()),
            // After a restart of the host.
            attempt(4, 2, None),
            ended,
            cancelled,
        ];
        assert_eq!(open(entries.clone()), [(3, 1), (4, 0)]);
        entries.push(Entry::CancelRequested {
            reason: "nobody waits".to_owned(),
        });
        assert_eq!(open(entries), []);
    }
}
