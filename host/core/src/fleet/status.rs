//! How the fleet stands, for metrics, operators and logs.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Job;
use crate::endpoint::Endpoint;
use crate::ids::ModelName;

use super::breaker::BreakerStatus;
use super::managed::{JobState, Managed};
use super::state::{ClusterState, ModelState, Replica, State};
use super::wishes::ClusterWish;

/// The whole fleet.
#[derive(Clone, Debug)]
pub struct FleetStatus {
    /// Clusters, in the configuration's order.
    pub clusters: Vec<ClusterStatus>,
    /// Models, in the configuration's order.
    pub models: Vec<ModelStatus>,
    /// Endpoints that only requests named, and that are in use or have failed.
    pub by_hand: Vec<ServerStatus>,
    /// Generations that wait for a server, over all models.
    pub queued: usize,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its breaker: closed while it answers. Its servers may serve while it does not.
    pub breaker: BreakerStatus,
    /// Why it did not answer when it was asked last.
    pub last_error: Option<String>,
    /// How long ago it answered.
    pub answered_ago: Option<Duration>,
    /// What an operator wants of it.
    pub wish: Option<ClusterWish>,
    /// Its jobs as it told them last, those of others too.
    pub jobs: Vec<Job>,
    /// The executor's job, where the host keeps it running.
    pub executor: Option<JobSummary>,
    /// Whether its executor takes work now.
    pub executes: bool,
    /// Generations on its servers or on their way through its executor.
    pub outstanding: usize,
    /// Their tokens.
    pub outstanding_tokens: u64,
}

/// A job that the host keeps running.
#[derive(Clone, Debug)]
pub struct JobSummary {
    /// How far it is.
    pub state: JobState,
    /// Its name, once it was submitted.
    pub submission_id: Option<String>,
    /// Which start it is, from 1.
    pub incarnation: u32,
    /// Failures in this life of the host.
    pub failures: u64,
    /// Whether it is expected to come up: it has not failed again and again.
    pub is_hopeful: bool,
    /// Why it failed last, or does not start, with the end of its log.
    pub last_error: Option<String>,
    /// When it is started again, where it waits for that.
    pub starts_in: Option<Duration>,
}

/// A model.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// Its name.
    pub name: ModelName,
    /// Replicas that there shall be.
    pub wanted: u32,
    /// Whether an operator has fixed that.
    pub is_pinned: bool,
    /// Generations that wait for a server of it.
    pub queued: usize,
    /// How long the one waits that has waited for longest.
    pub longest_wait: Option<Duration>,
    /// Replicas, by number.
    pub replicas: Vec<ReplicaStatus>,
    /// Servers that somebody else runs.
    pub endpoints: Vec<ServerStatus>,
}

/// A replica.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// Its number, from 0.
    pub replica: u32,
    /// The cluster that runs it.
    pub cluster: Option<String>,
    /// Its job.
    pub job: JobSummary,
    /// Its server, once it runs.
    pub server: Option<ServerStatus>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether it is healthy, by its probes.
    pub is_healthy: bool,
    /// Its breaker.
    pub breaker: BreakerStatus,
    /// Generations that it has.
    pub outstanding: usize,
    /// Their tokens.
    pub outstanding_tokens: u64,
    /// What the last probe said that failed.
    pub last_error: Option<String>,
}

impl State {
    pub(super) fn status(&self, now: Instant) -> FleetStatus {
        let clusters = self.clusters.iter().enumerate();
        let models = 0..self.models.len();
        FleetStatus {
            clusters: clusters
                .map(|(place, cluster)| self.cluster_status(place, cluster, now))
                .collect(),
            models: models.map(|model| self.model_status(model, now)).collect(),
            by_hand: self
                .by_hand
                .values()
                .filter_map(|id| self.server_status(*id, now))
                .collect(),
            queued: self.models.iter().map(|model| model.queue.len()).sum(),
        }
    }

    fn cluster_status(&self, place: usize, cluster: &ClusterState, now: Instant) -> ClusterStatus {
        // What its executor sends to a server of its own is counted there.
        let (outstanding, outstanding_tokens) = self.outstanding_of(place);
        ClusterStatus {
            name: cluster.plan.name.clone(),
            weight: cluster.plan.weight,
            labels: cluster.plan.labels.clone(),
            breaker: cluster.breaker.status(now),
            last_error: cluster.last_error.clone(),
            answered_ago: cluster.polled_at.map(|at| now.duration_since(at)),
            wish: cluster.wish,
            jobs: cluster.jobs.clone(),
            executor: cluster.executor.as_ref().map(|job| summary(job, now)),
            executes: cluster.has_working_executor(),
            outstanding,
            outstanding_tokens,
        }
    }

    fn model_status(&self, model: usize, now: Instant) -> ModelStatus {
        let state = &self.models[model];
        let ModelState { plan, queue, .. } = state;
        let by_hand = self.servers_of(model);
        let by_hand = by_hand.filter(|(_, server)| server.replica.is_none());
        let mut replicas: Vec<_> = state
            .replicas
            .iter()
            .map(|replica| self.replica_status(replica, now))
            .collect();
        replicas.sort_by_key(|replica| replica.replica);
        ModelStatus {
            name: plan.name.clone(),
            wanted: state.target(),
            is_pinned: state.pinned.is_some(),
            queued: queue.len(),
            longest_wait: queue.longest_wait(now),
            replicas,
            endpoints: by_hand
                .filter_map(|(id, _)| self.server_status(id, now))
                .collect(),
        }
    }

    fn replica_status(&self, replica: &Replica, now: Instant) -> ReplicaStatus {
        let cluster = replica.home.map(|place| &self.clusters[place]);
        ReplicaStatus {
            replica: replica.number,
            cluster: cluster.map(|cluster| cluster.plan.name.clone()),
            job: summary(&replica.job, now),
            server: replica.server.and_then(|id| self.server_status(id, now)),
        }
    }

    fn server_status(&self, id: u64, now: Instant) -> Option<ServerStatus> {
        let server = self.servers.get(&id)?;
        Some(ServerStatus {
            endpoint: server.endpoint.clone(),
            is_healthy: server.ready,
            breaker: server.breaker.status(now),
            outstanding: server.outstanding,
            outstanding_tokens: server.tokens,
            last_error: server.last_error.clone(),
        })
    }
}

fn summary(job: &Managed, now: Instant) -> JobSummary {
    JobSummary {
        state: job.state,
        submission_id: job.submission_id().map(str::to_owned),
        incarnation: job.incarnation,
        failures: job.failures_total,
        is_hopeful: job.is_hopeful(),
        last_error: job.last_error.clone(),
        starts_in: job.starts_in(now),
    }
}
