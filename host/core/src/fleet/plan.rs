//! What the operator configured: clusters, models, and the jobs that serve them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{JobSpec, Resources};
use crate::endpoint::Endpoint;
use crate::ids::ModelName;

use super::backoff::Backoff;
use super::breaker::BreakerSettings;

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterPlan {
    /// Its name, `[a-z0-9-]`, unlike any other's.
    pub name: String,
    /// How much it takes in proportion to the others; 0 counts as 1.
    pub weight: u32,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Whether an executor there takes work from the queue.
    pub has_executor: bool,
    /// The job of that executor, where the host keeps it running; `None` where somebody else does.
    pub executor: Option<ExecutorJob>,
}

/// The job of a cluster's executor.
///
/// `{submission_id}` in its entrypoint and in the values of its environment becomes its own name.
#[derive(Clone, Debug, Default)]
pub struct ExecutorJob {
    /// The job; its submission id is the fleet's to choose, and its metadata are added to.
    pub spec: JobSpec,
    /// What is uploaded first, and becomes its working directory.
    pub package: Option<Package>,
    /// How long it may be PENDING before that is reported.
    pub start_timeout: Duration,
    /// How long its work may take to end before it is stopped.
    pub drain_timeout: Duration,
}

/// A zip archive that a job needs.
#[derive(Clone)]
pub struct Package {
    /// Its name, which says what is in it: another content has another name.
    pub name: String,
    /// Its bytes.
    pub zip: Arc<[u8]>,
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("name", &self.name)
            .field("bytes", &self.zip.len())
            .finish()
    }
}

/// A model and its servers.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// Its name in requests.
    pub name: ModelName,
    /// The clusters that may serve it, by name; empty for all.
    pub clusters: Vec<String>,
    /// The job that each replica is; `None` where it has only endpoints by hand.
    pub job: Option<ModelJob>,
    /// Servers that somebody else runs: they are probed, and never started or stopped.
    pub endpoints: Vec<Endpoint>,
    /// Requests for this model that name one of these (by scheme, host and port) go to its servers.
    pub replaces: Vec<Endpoint>,
    /// How many replicas there are at least and at most.
    pub replicas: RangeInclusive<u32>,
    /// Generations that one server takes at once.
    pub slots: usize,
    /// Generations that may wait for a slot.
    pub queue_max: usize,
    /// Answers that one request may ask for.
    pub choices_max: usize,
    /// Whether its servers heed a request's priority.
    pub takes_priority: bool,
    /// How long a replica may take to be healthy once its job runs, and how long its job may be
    /// PENDING before that is reported.
    pub start_timeout: Duration,
    /// Whether a replica answers one short generation before it gets the first real one.
    pub warm_up: bool,
    /// A replica is added when a generation has waited for so long.
    pub scale_up_after: Duration,
    /// A replica is removed when for so long the others would have been at most half full without it.
    pub scale_down_after: Duration,
    /// How long a replica's generations may take to end before it is stopped.
    pub drain_timeout: Duration,
}

/// The job that a replica of a model is.
///
/// In the entrypoint, `{port}`, `{host}`, `{replica}` and `{submission_id}` are replaced, in the values
/// of its environment too.
#[derive(Clone, Debug, Default)]
pub struct ModelJob {
    /// The shell command that serves the model.
    pub entrypoint: String,
    /// What `{host}` becomes: the address that the server listens on.
    pub host: String,
    /// Where it is reached, with `{node}` (the address of the job's node) and `{port}`.
    pub endpoint: String,
    /// The port of replica 0; replica `i` has this one plus `i`.
    pub port: u16,
    /// Its environment beside what the cluster has.
    pub env_vars: BTreeMap<String, String>,
    /// The URI of a package that was uploaded, in whose directory it runs.
    pub working_dir: Option<String>,
    /// Requirements that are installed for it.
    pub pip: Vec<String>,
    /// What its driver takes.
    pub resources: Resources,
}

/// How the fleet is watched and steered.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// How often a cluster is asked for its jobs.
    pub poll_interval: Duration,
    /// The same while something there starts or stops; the pace of everything else that needs a clock.
    pub poll_interval_starting: Duration,
    /// How long a cluster may take to tell its jobs, before it counts as one that does not answer.
    pub poll_timeout: Duration,
    /// How often a server is probed.
    pub probe_interval: Duration,
    /// So many probes in a row fail before a healthy server is unhealthy.
    pub probe_failures_max: u32,
    /// When servers and clusters are left alone.
    pub breaker: BreakerSettings,
    /// The waits before a job is started again.
    pub restart: Backoff,
    /// A deliberation leaves the server that it prefers when that would have more than so many times
    /// the mean load; above 1.
    pub affinity_load_factor: f64,
    /// Bytes of a failed job's log that are kept.
    pub log_tail_bytes: usize,
    /// Jobs that ended, of each replica and executor, that a cluster keeps.
    pub ended_jobs_kept: usize,
    /// Answers that one request to an endpoint of no model may ask for.
    pub by_hand_choices_max: usize,
    /// Whether endpoints of no model heed a request's priority.
    pub by_hand_takes_priority: bool,
    /// Whose jobs are the fleet's own: those of others on the same clusters are left alone. Letters, digits
    /// and `-`.
    pub owner: String,
    /// Spreads what several hosts would do at the same time.
    pub seed: u64,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(1),
            poll_interval_starting: Duration::from_millis(200),
            poll_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(2),
            probe_failures_max: 3,
            breaker: BreakerSettings::default(),
            restart: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            affinity_load_factor: 2.0,
            log_tail_bytes: 4 << 10,
            ended_jobs_kept: 3,
            by_hand_choices_max: 1,
            by_hand_takes_priority: false,
            owner: String::new(),
            seed: 0,
        }
    }
}
