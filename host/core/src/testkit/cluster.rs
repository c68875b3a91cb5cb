//! A fake of the [`Cluster`] port: jobs live as scripts say, on tokio's clock, and the whole cluster can
//! be cut off.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::cluster::{Cluster, Error, Job, JobSpec, JobStatus, Node};
use crate::live::lock;

/// How a job lives.
#[derive(Clone, Debug)]
pub struct Life {
    /// How long it is PENDING; `None` for ever.
    pub pending: Option<Duration>,
    /// How long it runs; `None` until it is stopped.
    pub runs: Option<Duration>,
    /// How it ends by itself.
    pub end: JobStatus,
    /// What the cluster says of it.
    pub message: String,
    /// Its log.
    pub log: String,
}

impl Life {
    /// PENDING for a second, then at work until it is stopped.
    #[must_use]
    pub fn steady() -> Self {
        Self {
            pending: Some(Duration::from_secs(1)),
            runs: None,
            end: JobStatus::Succeeded,
            message: String::new(),
            log: String::new(),
        }
    }

    /// PENDING for a second, then at work for so long, then failed.
    #[must_use]
    pub fn failing_after(runs: Duration, log: &str) -> Self {
        Self {
            runs: Some(runs),
            end: JobStatus::Failed,
            message: "exit code 1".to_owned(),
            log: log.to_owned(),
            ..Self::steady()
        }
    }

    /// PENDING for ever.
    #[must_use]
    pub fn pending() -> Self {
        Self {
            pending: None,
            message: "no node has 1 GPU free".to_owned(),
            ..Self::steady()
        }
    }
}

type Chooser = dyn Fn(&JobSpec) -> Life + Send + Sync;

/// A [`Cluster`] in memory.
pub struct ScriptedCluster {
    choose: Box<Chooser>,
    node_ip: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<String, Entry>,
    unreachable: bool,
    hangs: bool,
    polls: usize,
    submitted: Vec<JobSpec>,
    stopped: Vec<String>,
    deleted: Vec<String>,
    uploaded: Vec<String>,
}

struct Entry {
    spec: JobSpec,
    life: Life,
    submitted_at: Instant,
    stopped_at: Option<Instant>,
    killed: Option<String>,
}

/// How long a job takes to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(1500);

impl Entry {
    fn status(&self, now: Instant) -> JobStatus {
        if self.killed.is_some() {
            return JobStatus::Failed;
        }
        let age = now.duration_since(self.submitted_at);
        let started = self.life.pending.filter(|pending| age >= *pending);
        let ended = started.zip(self.life.runs);
        if ended.is_some_and(|(pending, runs)| age >= pending + runs) {
            return self.life.end;
        }
        match self.stopped_at {
            Some(at) if now.duration_since(at) >= STOPS_WITHIN => JobStatus::Stopped,
            _ if started.is_some() => JobStatus::Running,
            _ => JobStatus::Pending,
        }
    }

    fn job(&self, now: Instant, node_ip: &str) -> Job {
        let status = self.status(now);
        let message = self.killed.as_ref().unwrap_or(&self.life.message);
        Job {
            submission_id: self.spec.submission_id.clone(),
            status,
            message: message.clone(),
            metadata: self.spec.metadata.clone(),
            node_ip: (status != JobStatus::Pending).then(|| node_ip.to_owned()),
            started_at_ms: None,
            ended_at_ms: None,
        }
    }
}

impl ScriptedCluster {
    /// Asks `choose` how each job that is submitted lives; its node has this address.
    pub fn new(node_ip: &str, choose: impl Fn(&JobSpec) -> Life + Send + Sync + 'static) -> Self {
        Self {
            choose: Box::new(choose),
            node_ip: node_ip.to_owned(),
            state: Mutex::default(),
        }
    }

    /// One whose jobs all live as [`Life::steady`].
    #[must_use]
    pub fn steady(node_ip: &str) -> Self {
        Self::new(node_ip, |_| Life::steady())
    }

    /// Has a job that somebody submitted earlier.
    pub fn put(&self, spec: JobSpec, life: Life) {
        let entry = Entry {
            life,
            submitted_at: Instant::now(),
            stopped_at: None,
            killed: None,
            spec,
        };
        let id = entry.spec.submission_id.clone();
        lock(&self.state).jobs.insert(id, entry);
    }

    /// Gives a job that waits for resources what it waits for.
    pub fn admit(&self, submission_id: &str) {
        if let Some(entry) = lock(&self.state).jobs.get_mut(submission_id) {
            entry.life.pending = Some(entry.submitted_at.elapsed());
        }
    }

    /// Lets a job fail now.
    pub fn kill(&self, submission_id: &str, message: &str) {
        if let Some(entry) = lock(&self.state).jobs.get_mut(submission_id) {
            entry.killed = Some(message.to_owned());
        }
    }

    /// Forgets every job, as a head that was started anew.
    pub fn lose_all(&self) {
        lock(&self.state).jobs.clear();
    }

    /// Cuts the cluster off, or lets it answer again. Its jobs go on.
    pub fn set_unreachable(&self, unreachable: bool) {
        lock(&self.state).unreachable = unreachable;
    }

    /// Has it take questions for its jobs from now on, and answer none.
    pub fn hang(&self) {
        lock(&self.state).hangs = true;
    }

    /// How often it was asked for its jobs.
    #[must_use]
    pub fn polls(&self) -> usize {
        lock(&self.state).polls
    }

    /// Jobs that were submitted, in their order; one again that was submitted again.
    #[must_use]
    pub fn submitted(&self) -> Vec<JobSpec> {
        lock(&self.state).submitted.clone()
    }

    /// Jobs that were told to stop, in their order.
    #[must_use]
    pub fn stopped(&self) -> Vec<String> {
        lock(&self.state).stopped.clone()
    }

    /// Jobs that were deleted, in their order.
    #[must_use]
    pub fn deleted(&self) -> Vec<String> {
        lock(&self.state).deleted.clone()
    }

    /// Names of packages that were uploaded, in their order.
    #[must_use]
    pub fn uploaded(&self) -> Vec<String> {
        lock(&self.state).uploaded.clone()
    }

    /// Jobs that have not ended, by name.
    #[must_use]
    pub fn alive(&self) -> Vec<String> {
        let (state, now) = (lock(&self.state), Instant::now());
        let alive = state.jobs.iter();
        let alive = alive.filter(|(_, entry)| !entry.status(now).is_terminal());
        alive.map(|(id, _)| id.clone()).collect()
    }

    fn answer<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> Result<T, Error> {
        let state = &mut *lock(&self.state);
        if state.unreachable {
            return Err(Error::Unavailable {
                address: self.node_ip.clone(),
                source: "connection refused".into(),
            });
        }
        Ok(act(state, Instant::now()))
    }
}

#[async_trait]
impl Cluster for ScriptedCluster {
    async fn submit(&self, job: &JobSpec) -> Result<(), Error> {
        let taken = self.answer(|state, _| {
            state.submitted.push(job.clone());
            let known = state.jobs.get(&job.submission_id);
            known.map(|entry| entry.spec.metadata == job.metadata)
        })?;
        match taken {
            Some(true) => Ok(()),
            Some(false) => Err(Error::Taken {
                address: self.node_ip.clone(),
                submission_id: job.submission_id.clone(),
            }),
            None => {
                self.put(job.clone(), (self.choose)(job));
                Ok(())
            }
        }
    }

    async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let hangs = {
            let mut state = lock(&self.state);
            state.polls += 1;
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        self.answer(|state, now| {
            let entries = state.jobs.values();
            entries.map(|entry| entry.job(now, &self.node_ip)).collect()
        })
    }

    async fn stop(&self, submission_id: &str) -> Result<(), Error> {
        self.answer(|state, now| {
            state.stopped.push(submission_id.to_owned());
            // Ray does not heed it for a job that waits for resources.
            if let Some(entry) = state.jobs.get_mut(submission_id)
                && entry.status(now) != JobStatus::Pending
            {
                entry.stopped_at.get_or_insert(now);
            }
        })
    }

    async fn delete(&self, submission_id: &str) -> Result<(), Error> {
        self.answer(|state, _| {
            state.deleted.push(submission_id.to_owned());
            state.jobs.remove(submission_id);
        })
    }

    async fn log_tail(&self, submission_id: &str, bytes_max: usize) -> Result<String, Error> {
        self.answer(|state, _| {
            let log = state.jobs.get(submission_id).map(|entry| &entry.life.log);
            let log = log.map(String::as_str).unwrap_or_default();
            let start = log.len().saturating_sub(bytes_max);
            log.get(start..).unwrap_or(log).to_owned()
        })
    }

    async fn upload(&self, name: &str, _zip: Vec<u8>) -> Result<String, Error> {
        self.answer(|state, _| {
            state.uploaded.push(name.to_owned());
            format!("gcs://{name}.zip")
        })
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.answer(|_, _| {
            vec![Node {
                id: format!("node-{}", self.node_ip),
                ip: self.node_ip.clone(),
                alive: true,
                ..Node::default()
            }]
        })
    }
}

impl fmt::Debug for ScriptedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedCluster")
            .field("node_ip", &self.node_ip)
            .finish_non_exhaustive()
    }
}
