//! The generations of a session as its plugins see them: open, done, delivered, cancelled; and the
//! sets that they wait on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::generation::{Failure, Generation};
use crate::ids::{Actor, JobId, Seq};
use crate::inference::Progress;

/// Names a job set within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetId(u32);

/// Open jobs that are counted: more make no difference to how urgent one is.
const OPEN_COUNTED: usize = 64;

pub(super) type JobResult = Arc<Result<Generation, Failure>>;

/// A generation.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) actor: Actor,
    pub(super) state: JobState,
    /// Whether a plugin was given the result.
    pub(super) delivered: bool,
    set: Option<(SetId, u32)>,
}

#[derive(Debug)]
pub(super) enum JobState {
    /// It was asked for. `run` is set once it has been sent.
    Open { run: Option<Run> },
    /// Its end is in the journal at this place.
    Done { at: Seq, result: JobResult },
    /// The plugin cancelled it.
    Cancelled,
}

/// A generation that is on its way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) task: AbortHandle,
    pub(super) progress: Arc<Progress>,
}

impl Run {
    /// Aborts it, in the engine too, and returns the tokens that it had given.
    pub(super) fn abort(self) -> u32 {
        self.task.abort();
        self.progress.tokens()
    }
}

#[derive(Debug, Default)]
struct Set {
    members: Vec<JobId>,
    /// Finished members that `next` has not reported, in journal order.
    ready: BTreeMap<Seq, u32>,
    /// Members that were delivered by `wait` before they were added.
    known: VecDeque<u32>,
    /// Members that `next` may still report.
    open: usize,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    sets: HashMap<SetId, Set>,
    sets_made: u32,
    /// Jobs whose result no plugin has been given, and that are not cancelled.
    open: u32,
}

impl Jobs {
    pub(super) fn insert(&mut self, id: JobId, actor: Actor, state: JobState) {
        self.open += 1;
        let job = Job {
            actor,
            state,
            delivered: false,
            set: None,
        };
        self.jobs.insert(id, job);
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// How many are open for the limit on open generations.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// How many of one plugin call have not ended.
    pub(super) fn open_of(&self, actor: Actor) -> u32 {
        let of_actor =
            |job: &&Job| job.actor == actor && matches!(job.state, JobState::Open { .. });
        let open = self.jobs.values().rev().filter(of_actor).take(OPEN_COUNTED);
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Notes that an open job has been sent.
    pub(super) fn sent(&mut self, id: JobId, run: Run) {
        if let Some(Job {
            state: JobState::Open { run: sent },
            ..
        }) = self.jobs.get_mut(&id)
        {
            *sent = Some(run);
        }
    }

    /// Whether the job still waits for its result.
    pub(super) fn is_open(&self, id: JobId) -> bool {
        matches!(
            self.get(id),
            Some(Job {
                state: JobState::Open { .. },
                ..
            })
        )
    }

    /// Notes an end that stands in the journal at `at`; its set sees it.
    pub(super) fn done(&mut self, id: JobId, at: Seq, result: JobResult) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.state = JobState::Done { at, result };
        if let Some((set, index)) = job.set
            && let Some(set) = self.sets.get_mut(&set)
        {
            set.ready.insert(at, index);
        }
    }

    /// Gives the result of a finished job to its plugin.
    pub(super) fn deliver(&mut self, id: JobId) -> Option<(u32, JobResult)> {
        let job = self.jobs.get_mut(&id)?;
        let JobState::Done { at, result } = &job.state else {
            return None;
        };
        let (at, result) = (*at, Arc::clone(result));
        if !job.delivered {
            job.delivered = true;
            self.open -= 1;
        }
        let mut index = 0;
        if let Some((set, place)) = job.set
            && let Some(set) = self.sets.get_mut(&set)
        {
            set.ready.remove(&at);
            set.open -= 1;
            index = place;
        }
        Some((index, result))
    }

    /// Marks jobs as cancelled by their plugin; returns the runs that must be aborted.
    pub(super) fn cancel(&mut self, ids: &[JobId]) -> Vec<(JobId, Option<Run>)> {
        let mut aborted = Vec::new();
        for id in ids {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            self.open -= 1;
            if let Some((set, _)) = job.set
                && let Some(set) = self.sets.get_mut(&set)
            {
                set.open -= 1;
                if let JobState::Done { at, .. } = &job.state {
                    set.ready.remove(at);
                }
            }
            let state = std::mem::replace(&mut job.state, JobState::Cancelled);
            if let JobState::Open { run } = state {
                aborted.push((*id, run));
            }
        }
        aborted
    }

    /// Takes every job that is still open, of one actor or of all; returns the runs to abort.
    pub(super) fn close(&mut self, actor: Option<Actor>) -> Vec<(JobId, Option<Run>)> {
        let open = |job: &Job| actor.is_none_or(|actor| job.actor == actor) && job.is_undelivered();
        let ids: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| open(job))
            .map(|(id, _)| *id)
            .collect();
        self.cancel(&ids)
    }

    pub(super) fn new_set(&mut self) -> SetId {
        let id = SetId(self.sets_made);
        self.sets_made += 1;
        self.sets.insert(id, Set::default());
        id
    }

    /// Forgets a set; its members go on.
    pub(super) fn drop_set(&mut self, id: SetId) {
        self.sets.remove(&id);
    }

    pub(super) fn add(&mut self, set_id: SetId, id: JobId) -> u32 {
        let Some(set) = self.sets.get_mut(&set_id) else {
            return 0;
        };
        let index = u32::try_from(set.members.len()).unwrap_or(u32::MAX);
        set.members.push(id);
        let Some(job) = self.jobs.get_mut(&id) else {
            return index;
        };
        match &job.state {
            _ if job.delivered => set.known.push_back(index),
            JobState::Cancelled => {}
            JobState::Done { at, .. } => {
                set.ready.insert(*at, index);
                set.open += 1;
            }
            JobState::Open { .. } => set.open += 1,
        }
        if !job.delivered {
            job.set = Some((set_id, index));
        }
        index
    }

    /// A member whose result its plugin already has, and that `next` has not reported.
    pub(super) fn take_known(&mut self, set: SetId) -> Option<(u32, JobId, JobResult)> {
        let set = self.sets.get_mut(&set)?;
        let index = set.known.pop_front()?;
        let id = set.members[index as usize];
        match &self.jobs.get(&id)?.state {
            JobState::Done { result, .. } => Some((index, id, Arc::clone(result))),
            _ => None,
        }
    }

    /// Whether `next` has nothing left to report.
    pub(super) fn is_empty(&self, set: SetId) -> bool {
        self.sets.get(&set).is_none_or(|set| set.open == 0)
    }

    /// The member that finished first, of those that `next` has not reported.
    pub(super) fn first_ready(&self, set: SetId) -> Option<JobId> {
        let set = self.sets.get(&set)?;
        let (_, index) = set.ready.first_key_value()?;
        set.members.get(*index as usize).copied()
    }

    /// Whether a job is a finished member that `next` has not reported.
    pub(super) fn is_ready_in(&self, set: SetId, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| {
            job.set.is_some_and(|(of, _)| of == set)
                && !job.delivered
                && matches!(job.state, JobState::Done { .. })
        })
    }

    /// The members that a cancel of `index`, or of all, concerns.
    pub(super) fn cancellable(&self, set: SetId, index: Option<u32>) -> Vec<JobId> {
        let Some(set) = self.sets.get(&set) else {
            return Vec::new();
        };
        let members = set.members.iter().enumerate();
        members
            .filter(|(at, _)| index.is_none_or(|index| index as usize == *at))
            .filter(|(_, id)| self.get(**id).is_some_and(Job::is_undelivered))
            .map(|(_, id)| *id)
            .collect()
    }
}

impl Job {
    /// Whether its plugin may still be given its result.
    pub(super) fn is_undelivered(&self) -> bool {
        !self.delivered && !matches!(self.state, JobState::Cancelled)
    }
}
