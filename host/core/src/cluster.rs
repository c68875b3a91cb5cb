//! The port to Ray clusters: jobs that run there, and the nodes that they run on.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// What lies behind an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Where a generation runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The cluster, by its name in the configuration.
    pub cluster: String,
    /// The Ray job: the model server's where the host calls it itself, else the executor's.
    pub submission_id: String,
    /// The executor's actor, where one runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The node, by its Ray id or its address, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A job to be submitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobSpec {
    /// Our own name for it: submitting it twice is one job.
    pub submission_id: String,
    /// The shell command that its driver runs.
    pub entrypoint: String,
    /// What [`Cluster::jobs`] tells again.
    pub metadata: BTreeMap<String, String>,
    /// Its environment beside what the cluster has.
    pub env_vars: BTreeMap<String, String>,
    /// The URI of a package that was uploaded, in whose directory it runs.
    pub working_dir: Option<String>,
    /// Requirements that are installed for it, one a line of `requirements.txt`.
    pub pip: Vec<String>,
    /// What the driver itself takes.
    pub resources: Resources,
}

/// What Ray sets aside for a job's driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// CPUs, in fractions too.
    pub cpus: f64,
    /// GPUs, in fractions too.
    pub gpus: f64,
    /// Bytes of memory; 0 sets none aside.
    pub memory_bytes: u64,
    /// Resources that the cluster's nodes declare, by name.
    pub custom: BTreeMap<String, f64>,
}

/// How far a job has come; the words are Ray's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    /// It waits for resources, or its environment is being made.
    Pending,
    /// Its driver runs.
    Running,
    /// Its driver ended with 0.
    Succeeded,
    /// It did not start, or its driver ended with something else.
    Failed,
    /// It was stopped.
    Stopped,
}

impl JobStatus {
    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }
}

/// A job as the cluster tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The name that it was submitted by.
    pub submission_id: String,
    /// How far it has come.
    pub status: JobStatus,
    /// Why, in the cluster's words; may be empty.
    pub message: String,
    /// What it was submitted with.
    pub metadata: BTreeMap<String, String>,
    /// The address of the node that its driver runs on, once it does.
    pub node_ip: Option<String>,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_at_ms: Option<u64>,
}

/// A node of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Ray's id of it.
    pub id: String,
    /// Its address.
    pub ip: String,
    /// Whether it lives.
    pub alive: bool,
    /// CPUs that Ray may give away, and of those what it has not.
    pub cpus: Share,
    /// GPUs that Ray may give away, and of those what it has not.
    pub gpus: Share,
    /// What its GPUs do; empty where the cluster does not tell.
    pub devices: Vec<Gpu>,
}

/// How much there is, and how much of it is free; in whole units or fractions of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// All of it.
    pub total: f64,
    /// What nobody has taken.
    pub free: f64,
}

/// A GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Its place on the node, from 0.
    pub index: u32,
    /// Its model.
    pub name: String,
    /// How busy it is, 0 to 100.
    pub utilization_percent: Option<f64>,
    /// Bytes of its memory that are in use.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of its memory.
    pub memory_total_bytes: Option<u64>,
}

/// Runs jobs on a Ray cluster.
///
/// Every call is bounded in time and tried again where that is safe; dropping one changes nothing but
/// that its end is not known.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Submits a job. One of the same id with the same metadata is this job: that is success.
    async fn submit(&self, job: &JobSpec) -> Result<(), Error>;

    /// The jobs that were submitted by name, ended ones too.
    async fn jobs(&self) -> Result<Vec<Job>, Error>;

    /// Stops a job; one that has ended, or is not there, is left as it is. It has stopped when
    /// [`Cluster::jobs`] says so.
    async fn stop(&self, submission_id: &str) -> Result<(), Error>;

    /// Makes the cluster forget a job that has ended; one that is not there is forgotten already. Its id
    /// is best not used again: for a second or two, a cluster may take the new job's end from the old one.
    async fn delete(&self, submission_id: &str) -> Result<(), Error>;

    /// The end of a job's log, this many bytes at most, cut at a line.
    async fn log_tail(&self, submission_id: &str, bytes_max: usize) -> Result<String, Error>;

    /// Uploads a zip archive unless the cluster has one of this name; its URI, for
    /// [`JobSpec::working_dir`]. The name, without `.zip`, is of `[A-Za-z0-9_-]` and tells the content: it
    /// holds a digest. A cluster may forget an archive that no job has used for ten minutes.
    async fn upload(&self, name: &str, zip: Vec<u8>) -> Result<String, Error>;

    /// The cluster's nodes.
    async fn nodes(&self) -> Result<Vec<Node>, Error>;
}

/// Why a cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or failed.
    #[error("the Ray cluster at {address} is unavailable")]
    Unavailable {
        /// Its dashboard.
        address: String,
        /// What happened.
        #[source]
        source: Source,
    },
    /// It did not answer in time.
    #[error("the Ray cluster at {address} did not answer within {} s", .within.as_secs_f64())]
    Timeout {
        /// Its dashboard.
        address: String,
        /// How long it was given.
        within: Duration,
    },
    /// It wants other credentials.
    #[error("the Ray cluster at {address} refused the host with status {status}: {message}")]
    Denied {
        /// Its dashboard.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// It will never take the request.
    #[error("the Ray cluster at {address} rejected the request with status {status}: {message}")]
    Rejected {
        /// Its dashboard.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// A job of this id is somebody else's.
    #[error(
        "the Ray cluster at {address} has a job `{submission_id}` that was submitted with other metadata"
    )]
    Taken {
        /// Its dashboard.
        address: String,
        /// The id.
        submission_id: String,
    },
    /// It has no such job.
    #[error("the Ray cluster at {address} has no job `{submission_id}`")]
    NoJob {
        /// Its dashboard.
        address: String,
        /// The id.
        submission_id: String,
    },
    /// It answered what no Ray dashboard should.
    #[error("{address} gave an answer that is none of a Ray dashboard: {reason}")]
    Protocol {
        /// Its dashboard.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
