//! The life of a job that the fleet keeps running: started, watched, started again when it fails,
//! drained and stopped when it is not wanted.
//!
//! It only looks at what a cluster told and says what is to be done ([`super::steps`]);
//! [`super::supervise`] does it.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Job, JobSpec, JobStatus};

use super::backoff::{Backoff, jitter};
use super::plan::{FleetSettings, Package};
use super::template::{self, Template};

/// How far a job of the fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its cluster is being chosen, or has not told yet whether it runs already.
    Unplaced,
    /// It is about to be submitted, for the first time or after a failure.
    Waiting,
    /// It was submitted, and waits for resources.
    Pending,
    /// It runs, and is not healthy yet.
    Running,
    /// It is at work.
    Healthy,
    /// It gets no more work, and ends what it has.
    Draining,
    /// It was told to stop.
    Stopping,
    /// It has stopped, and shall.
    Stopped,
}

impl JobState {
    /// The state's name, for metrics and people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unplaced => "unplaced",
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Healthy => "healthy",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// What is to be done on the cluster.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Submit(Box<JobSpec>, Option<Package>),
    Stop(String),
    Delete(String),
    /// It failed for this reason: the end of its log says more.
    Explain(String, String),
}

/// From so many failures in a row on, nobody waits for the next try.
const HOPELESS: u32 = 3;

/// A job that has just changed is expected to change again within so long.
const FRESH: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Managed {
    pub(super) template: Template,
    pub(super) restart: Backoff,
    seed: u64,
    pub(super) state: JobState,
    /// Since when it is in this state.
    pub(super) since: Instant,
    /// While waiting: until when.
    pub(super) until: Instant,
    /// The job that is, or was.
    pub(super) id: Option<String>,
    pub(super) node_ip: Option<String>,
    pub(super) incarnation: u32,
    /// In a row.
    pub(super) failures: u32,
    /// Starts that failed, and jobs that died, in all.
    pub(super) failures_total: u64,
    pub(super) last_error: Option<String>,
    /// Whether it ran before this host looked.
    pub(super) adopted: bool,
    /// Whether it shall run.
    pub(super) wanted: bool,
    /// Whether this start of it is made from an older plan.
    pub(super) outdated: bool,
    /// Whether the turn of such a one has come to be replaced.
    pub(super) replaced: bool,
    /// Why it must be started again though its cluster says that it runs.
    pub(super) fault: Option<String>,
    /// What the last probe that failed said.
    pub(super) probed: Option<String>,
    /// Whether it has been told that it waits for resources for too long.
    pub(super) stuck: bool,
}

impl Managed {
    pub(super) fn new(template: Template, settings: &FleetSettings, now: Instant) -> Self {
        Self {
            template,
            restart: settings.restart,
            seed: settings.seed,
            state: JobState::Unplaced,
            since: now,
            until: now,
            id: None,
            node_ip: None,
            incarnation: 0,
            failures: 0,
            failures_total: 0,
            last_error: None,
            adopted: false,
            wanted: true,
            outdated: false,
            replaced: false,
            fault: None,
            probed: None,
            stuck: false,
        }
    }

    pub(super) fn enter(&mut self, state: JobState, now: Instant) {
        self.state = state;
        self.since = now;
        self.stuck = false;
    }

    /// The job that is, or was.
    pub(super) fn submission_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.state == JobState::Healthy
    }

    /// How long it need not be looked at.
    pub(super) fn rest(&self, settings: &FleetSettings, now: Instant) -> Duration {
        match self.state {
            JobState::Waiting if now < self.until => (self.until - now).min(settings.poll_interval),
            JobState::Unplaced | JobState::Healthy | JobState::Stopped => settings.poll_interval,
            _ if now.duration_since(self.since) < FRESH => settings.poll_interval_starting,
            _ => settings.poll_interval,
        }
    }

    /// Whether it is to end, or to be replaced.
    pub(super) fn is_leaving(&self) -> bool {
        !self.wanted || self.replaced
    }

    /// Whether it can be expected to be at work soon, if it is not.
    pub(super) fn is_hopeful(&self) -> bool {
        self.wanted && !self.stuck && self.failures < HOPELESS
    }

    /// When it is started again, where it waits for that.
    pub(super) fn starts_in(&self, now: Instant) -> Option<Duration> {
        let waits = self.state == JobState::Waiting && now < self.until;
        waits.then(|| self.until - now)
    }

    /// Has a cluster now, where it does not run yet.
    pub(super) fn place(&mut self, now: Instant) {
        self.until = now;
        self.enter(JobState::Waiting, now);
    }

    /// Takes over a job that a host started earlier, this one or another.
    pub(super) fn adopt(&mut self, job: &Job, now: Instant) {
        self.id = Some(job.submission_id.clone());
        self.incarnation = template::incarnation_of(job);
        self.adopted = job.status == JobStatus::Running;
        self.outdated = template::digest_of(job) != Some(self.template.digest.as_str());
        // Executors of one queue need not wait for each other.
        self.replaced = self.outdated && !self.template.is_server();
        tracing::info!(
            submission_id = job.submission_id,
            outdated = self.outdated,
            "took over a job that runs"
        );
        self.enter(JobState::Pending, now);
    }

    /// It answers as a healthy server.
    pub(super) fn became_healthy(&mut self, now: Instant) {
        if self.state == JobState::Running {
            self.enter(JobState::Healthy, now);
            self.last_error = None;
        }
    }

    /// The end of the log of a job that failed.
    pub(super) fn explained(&mut self, reason: &str, log: &str) {
        if !log.is_empty() && self.last_error.as_deref() == Some(reason) {
            self.last_error = Some(format!("{reason}\n{log}"));
        }
    }

    /// The cluster took the job.
    pub(super) fn submitted(&mut self, now: Instant) {
        if self.state == JobState::Waiting {
            self.enter(JobState::Pending, now);
        }
    }

    /// The cluster did not take the job, or it is not known whether it did: then it is submitted again
    /// under the same name.
    pub(super) fn not_submitted(&mut self, reason: String, is_known: bool, now: Instant) {
        if self.state == JobState::Waiting {
            let id = self.id.clone();
            tracing::warn!(submission_id = id, reason, "a job was not submitted");
            self.fail(reason, now);
            if !is_known {
                self.id = id;
            }
        }
    }

    pub(super) fn fail(&mut self, reason: String, now: Instant) {
        let id = self.id.take().unwrap_or_default();
        let jitter = jitter(self.seed, &id, self.failures);
        self.until = now + self.restart.wait(self.failures, jitter);
        self.failures += 1;
        self.failures_total += 1;
        self.outdated = false;
        self.replaced = false;
        self.last_error = Some(reason);
        self.enter(JobState::Waiting, now);
    }

    /// Its cluster is lost, and another one shall be chosen.
    pub(super) fn abandon(&mut self, reason: String, now: Instant) {
        self.id = None;
        self.node_ip = None;
        self.fault = None;
        self.probed = None;
        self.outdated = false;
        self.replaced = false;
        self.last_error = Some(reason);
        self.enter(JobState::Unplaced, now);
    }
}
