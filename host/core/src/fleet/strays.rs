//! The fleet's jobs that it does not keep: each is told to stop until it has.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Job, JobStatus};

use super::managed::{Action, Managed};
use super::reconcile::{Target, Todo};
use super::state::State;
use super::template::Purpose;

/// One that has not ended is told again after so long: Ray does not heed it while a job waits for
/// resources.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// What an earlier life of the host left running on a job that is not configured any more has so long to
/// end: this life gives it nothing.
const NOTICE: Duration = Duration::from_secs(30);

/// A cluster's strays, by submission id.
#[derive(Debug, Default)]
pub(super) struct Strays(BTreeMap<String, Stray>);

#[derive(Debug)]
struct Stray {
    since: Instant,
    /// When it was told to stop last, and what it was then.
    told: Option<(Instant, JobStatus)>,
}

impl Strays {
    pub(super) fn contains(&self, submission_id: &str) -> bool {
        self.0.contains_key(submission_id)
    }

    /// Has a job that its keeper is done with while it waits for resources: it is told to stop now.
    pub(super) fn follow(&mut self, keeper: &Managed, action: Option<&Action>, now: Instant) {
        if let Some(Action::Stop(id)) = action
            && keeper.submission_id() != Some(id.as_str())
        {
            let stray = Stray {
                since: now,
                told: Some((now, JobStatus::Pending)),
            };
            self.0.insert(id.clone(), stray);
        }
    }

    /// Has a job whose keeper has moved to another cluster: it is told to stop at the next look.
    pub(super) fn add(&mut self, submission_id: &str, now: Instant) {
        let stray = Stray {
            since: now,
            told: None,
        };
        self.0.insert(submission_id.to_owned(), stray);
    }

    /// Whether a job that is not kept is to be told to stop now, after so much notice.
    fn tells(&mut self, job: &Job, notice: Duration, now: Instant) -> bool {
        let stray = self.0.entry(job.submission_id.clone()).or_insert(Stray {
            since: now,
            told: None,
        });
        let is_due = match stray.told {
            None => now.duration_since(stray.since) >= notice,
            Some((at, status)) => status != job.status || now.duration_since(at) >= TOLD_AGAIN,
        };
        if is_due {
            stray.told = Some((now, job.status));
        }
        is_due
    }

    /// The cluster did not take the word: it is told at the next look.
    pub(super) fn was_not_told(&mut self, submission_id: &str) {
        if let Some(stray) = self.0.get_mut(submission_id) {
            stray.told = None;
        }
    }

    /// Forgets those that have ended.
    pub(super) fn retain(&mut self, is_alive: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| is_alive(id));
    }
}

impl State {
    /// Stops jobs of a purpose that others have taken over.
    pub(super) fn stop_strays<'a>(
        &mut self,
        place: usize,
        jobs: impl Iterator<Item = &'a Job>,
        todo: &mut Todo,
        now: Instant,
    ) {
        self.tell(place, jobs, Duration::ZERO, todo, now);
    }

    /// Stops jobs of what is not configured any more, after some notice.
    pub(super) fn stop_obsolete<'a>(
        &mut self,
        place: usize,
        jobs: impl Iterator<Item = &'a Job>,
        todo: &mut Todo,
        now: Instant,
    ) {
        self.tell(place, jobs, NOTICE, todo, now);
    }

    fn tell<'a>(
        &mut self,
        place: usize,
        jobs: impl Iterator<Item = &'a Job>,
        notice: Duration,
        todo: &mut Todo,
        now: Instant,
    ) {
        let strays = &mut self.clusters[place].strays;
        for job in jobs {
            let id = &job.submission_id;
            if strays.tells(job, notice, now) {
                tracing::warn!(submission_id = id, "stopping a job that is not needed");
                let stop = Action::Stop(id.clone());
                todo.actions.push((Target::Stray, stop));
            }
        }
    }

    /// Whether a job of this host is for something that the configuration does not have any more. Without
    /// an owner, the jobs of this host cannot be told from those of others.
    pub(super) fn is_obsolete(&self, purpose: &Purpose) -> bool {
        let is_configured = match purpose {
            Purpose::Executor { cluster } => self
                .clusters
                .iter()
                .any(|one| one.plan.name == *cluster && one.plan.executor.is_some()),
            Purpose::Model { model, .. } => self
                .model_named(model)
                .is_some_and(|model| self.models[model].plan.job.is_some()),
        };
        !is_configured && !self.settings.owner.is_empty()
    }
}
