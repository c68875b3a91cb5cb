//! How a job of the fleet goes on after a look at its cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Job, JobStatus};

use super::managed::{Action, JobState, Managed};

/// A job that was told to stop is told again after so long.
const STOP_AGAIN: Duration = Duration::from_secs(10);

impl Managed {
    /// What is to be done, now that the cluster told this of our jobs. `outstanding` generations run
    /// on it; jobs of its purpose have been started up to `incarnation_max`.
    pub(super) fn step(
        &mut self,
        jobs: &BTreeMap<&str, &Job>,
        incarnation_max: u32,
        outstanding: usize,
        now: Instant,
    ) -> Option<Action> {
        match self.state {
            JobState::Unplaced | JobState::Stopped if !self.wanted => {
                self.state = JobState::Stopped;
                None
            }
            JobState::Unplaced => None,
            JobState::Stopped => {
                self.place(now);
                None
            }
            JobState::Waiting => self.step_waiting(jobs, incarnation_max, now),
            _ => self.step_submitted(jobs, outstanding, now),
        }
    }

    fn step_waiting(
        &mut self,
        jobs: &BTreeMap<&str, &Job>,
        incarnation_max: u32,
        now: Instant,
    ) -> Option<Action> {
        let seen = self.id.as_deref().and_then(|id| jobs.get(id));
        if seen.is_some_and(|job| !job.status.is_terminal()) {
            // A submission whose end was not known has come about.
            self.enter(JobState::Pending, now);
            return None;
        }
        if !self.wanted {
            self.enter(JobState::Stopped, now);
            return None;
        }
        if now < self.until {
            return None;
        }
        if self.id.is_none() || seen.is_some() {
            self.incarnation = self.incarnation.max(incarnation_max) + 1;
        }
        let spec = self.template.job(self.incarnation);
        self.id = Some(spec.submission_id.clone());
        self.node_ip = None;
        self.fault = None;
        self.probed = None;
        self.adopted = false;
        self.outdated = false;
        self.replaced = false;
        Some(Action::Submit(
            Box::new(spec),
            self.template.package.clone(),
        ))
    }

    fn step_submitted(
        &mut self,
        jobs: &BTreeMap<&str, &Job>,
        outstanding: usize,
        now: Instant,
    ) -> Option<Action> {
        let id = self.id.clone().unwrap_or_default();
        let Some(job) = jobs.get(id.as_str()) else {
            return self.ended("the cluster does not know the job any more".to_owned(), now);
        };
        if job.status.is_terminal() {
            let status = format!("{:?}", job.status).to_uppercase();
            let reason = format!("the job ended as {status}: {}", job.message);
            return self.ended(reason, now);
        }
        self.node_ip.clone_from(&job.node_ip);
        let for_long = now.duration_since(self.since) >= self.template.start_timeout;
        match self.state {
            JobState::Stopping => {
                let again = now.duration_since(self.since) >= STOP_AGAIN;
                again.then(|| self.stop(id, now))
            }
            JobState::Pending if job.status == JobStatus::Running => {
                self.enter(JobState::Running, now);
                self.step_submitted(jobs, outstanding, now)
            }
            JobState::Pending if self.is_leaving() || self.outdated => Some(self.let_go(id, now)),
            JobState::Pending => {
                if for_long && !self.stuck {
                    self.stuck = true;
                    let secs = self.template.start_timeout.as_secs();
                    let reason = format!(
                        "PENDING for {secs} s, the cluster lacks resources for it: {}",
                        job.message
                    );
                    tracing::warn!(submission_id = id, reason, "a job does not start");
                    self.last_error = Some(reason);
                }
                None
            }
            JobState::Running if !self.template.is_server() => {
                self.became_healthy(now);
                None
            }
            JobState::Running if self.is_leaving() => Some(self.stop(id, now)),
            JobState::Running if for_long => {
                let secs = self.template.start_timeout.as_secs();
                let why = self.probed.take().unwrap_or_default();
                self.fault = Some(format!("not healthy within {secs} s: {why}"));
                Some(self.stop(id, now))
            }
            JobState::Healthy if self.is_leaving() => {
                self.enter(JobState::Draining, now);
                self.step_submitted(jobs, outstanding, now)
            }
            JobState::Healthy if self.fault.is_some() => Some(self.stop(id, now)),
            JobState::Healthy => {
                if now.duration_since(self.since) >= self.restart.cap {
                    self.failures = 0;
                }
                None
            }
            JobState::Draining if !self.is_leaving() => {
                self.enter(JobState::Healthy, now);
                None
            }
            JobState::Draining => {
                let over = now.duration_since(self.since) >= self.template.drain_timeout;
                (over || outstanding == 0).then(|| self.stop(id, now))
            }
            _ => None,
        }
    }

    fn stop(&mut self, id: String, now: Instant) -> Action {
        self.enter(JobState::Stopping, now);
        Action::Stop(id)
    }

    /// Stops a job that waits for resources, and is done with it: Ray heeds that only when the job has got
    /// them.
    fn let_go(&mut self, id: String, now: Instant) -> Action {
        self.id = None;
        self.outdated = false;
        self.replaced = false;
        self.place(now);
        if !self.wanted {
            self.enter(JobState::Stopped, now);
        }
        Action::Stop(id)
    }

    /// The job is over. Unless that was wanted, it has failed.
    fn ended(&mut self, reason: String, now: Instant) -> Option<Action> {
        let id = self.id.clone().unwrap_or_default();
        let was_told = matches!(self.state, JobState::Stopping | JobState::Draining);
        if was_told && self.fault.is_none() {
            self.id = None;
            self.outdated = false;
            self.replaced = false;
            self.place(now);
            if !self.wanted {
                self.enter(JobState::Stopped, now);
            }
            return None;
        }
        let reason = self.fault.take().unwrap_or(reason);
        self.fail(reason.clone(), now);
        Some(Action::Explain(id, reason))
    }
}
