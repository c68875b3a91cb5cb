//! The model servers and clusters that generations run on: which server each generation goes to,
//! whether clusters and servers are well, and which jobs should run there.
//!
//! All knowledge is one state behind one lock (`shared`); what changes it is synchronous. Tasks
//! (`supervise`) look at clusters and servers through the ports [`Cluster`]
//! and [`Probe`], and do what the state asks for. Whoever sends a generation takes a [`Lease`].

mod backoff;
mod balance;
mod breaker;
mod govern;
mod health;
mod lease;
mod lost;
mod managed;
mod operate;
mod plan;
mod probe;
mod queue;
mod reconcile;
mod refusal;
mod replace;
mod route;
mod server;
mod shared;
mod state;
mod status;
mod steps;
mod strays;
mod supervise;
mod template;
mod wishes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::endpoint::Endpoint;
use crate::execution::Execution;
use crate::ids::ModelName;
use crate::tasks::Tasks;

pub use backoff::Backoff;
pub use breaker::{BreakerSettings, BreakerState, BreakerStatus};
pub use lease::{Lease, NoServer, Want};
pub use managed::JobState;
pub use operate::SteerError;
pub use plan::{ClusterPlan, ExecutorJob, FleetSettings, ModelJob, ModelPlan, Package};
pub use probe::Probe;
pub use status::{
    ClusterStatus, FleetStatus, JobSummary, ModelStatus, ReplicaStatus, ServerStatus,
};
pub use wishes::{ClusterWish, WishBook, Wishes};

use self::queue::Via;
use self::shared::Shared;
use self::state::State;
use self::supervise::Supervision;

/// What the fleet needs of the outside, beside its clusters.
#[derive(Clone)]
pub struct FleetPorts {
    /// Asks servers how they are.
    pub probe: Arc<dyn Probe>,
    /// Keeps what operators change.
    pub wish_book: Arc<dyn WishBook>,
    /// Tells the time.
    pub clock: Clock,
}

/// The clusters and model servers of a host.
pub struct Fleet {
    shared: Arc<Shared>,
    clusters: Vec<Arc<dyn Cluster>>,
    ports: FleetPorts,
    /// What the book holds.
    wishes: tokio::sync::Mutex<Wishes>,
}

impl Fleet {
    /// A fleet of these clusters and models, with what operators wished in earlier lives of the host.
    /// It does nothing by itself before [`Fleet::start`].
    #[must_use]
    pub fn new(
        clusters: Vec<(ClusterPlan, Arc<dyn Cluster>)>,
        models: Vec<ModelPlan>,
        ports: FleetPorts,
        wishes: Wishes,
        settings: FleetSettings,
    ) -> Arc<Self> {
        let (plans, clusters) = clusters.into_iter().unzip();
        let now = ports.clock.now();
        let state = State::new(plans, models, settings, &wishes, now);
        Arc::new(Self {
            shared: Shared::new(ports.clock.clone(), state),
            clusters,
            ports,
            wishes: tokio::sync::Mutex::new(wishes),
        })
    }

    /// Watches clusters and servers, and keeps the fleet's jobs running, until the wish to stop. The
    /// jobs outlive that: the next life of the host takes them over.
    pub fn start(&self, tasks: &Tasks, stop: &CancellationToken) {
        let supervision = Supervision {
            shared: Arc::clone(&self.shared),
            probe: Arc::clone(&self.ports.probe),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        for id in self.shared.with(|state, _, _| state.probed_servers()) {
            supervision.watch_server(id);
        }
        for (place, cluster) in self.clusters.iter().enumerate() {
            let watch = supervision
                .clone()
                .watch_cluster(place, Arc::clone(cluster));
            // It ends with the wish to stop.
            let _watching = tasks.spawn("cluster", watch);
        }
        let _governing = tasks.spawn("fleet", supervision.govern());
    }

    /// A server for a generation that the host sends itself. Waits while all are full or one is
    /// starting; dropping the future leaves the queue, and loses no room.
    ///
    /// # Errors
    /// [`NoServer`] when waiting is of no use, or too many wait already.
    pub async fn lease(&self, want: &Want<'_>) -> Result<Lease, NoServer> {
        self.shared.lease(want, None).await
    }

    /// A server for a generation that a cluster's executor sends, and the cluster: none of those that are
    /// excluded. It waits as [`Fleet::lease`] does.
    ///
    /// # Errors
    /// As [`Fleet::lease`]; also when no executor is at work that may call a server of the model.
    pub async fn lease_on_cluster(
        &self,
        want: &Want<'_>,
        excluding: &[String],
    ) -> Result<Lease, NoServer> {
        loop {
            let via = Via {
                excluding: excluding.to_vec(),
                own_job: false,
            };
            let is_awaited = || self.shared.awaits_executor(excluding);
            match self.shared.lease(want, Some(via)).await {
                // An endpoint by hand has no queue in which the executor's start could be waited for.
                Err(NoServer::Unavailable { .. }) if is_awaited() => {
                    self.ports.clock.sleep(self.shared.pace()).await;
                }
                lease => return lease,
            }
        }
    }

    /// The same for a wave whose job is an executor of its own: the cluster's need not be at work. It takes
    /// room on the server as one generation.
    ///
    /// # Errors
    /// As [`Fleet::lease`]; also when no cluster may run executors.
    pub async fn lease_for_job(
        &self,
        want: &Want<'_>,
        excluding: &[String],
    ) -> Result<Lease, NoServer> {
        let via = Via {
            excluding: excluding.to_vec(),
            own_job: true,
        };
        self.shared.lease(want, Some(via)).await
    }

    /// How many answers one request for this model and endpoint may ask for.
    #[must_use]
    pub fn choices_max(&self, model: &ModelName, endpoint: Option<&Endpoint>) -> usize {
        self.shared.choices_max(model, endpoint)
    }

    /// Whether a server could take a generation now that is none of those it shall not go to.
    #[must_use]
    pub fn has_another(&self, want: &Want<'_>) -> bool {
        self.shared.has_another(want)
    }

    /// When a generation for this model and endpoint may find room, if it would find none now, not even
    /// to wait; `None` if it would, or goes where nothing bounds it.
    #[must_use]
    pub fn full(&self, model: &ModelName, endpoint: Option<&Endpoint>) -> Option<Duration> {
        self.shared.full(model, endpoint)
    }

    /// Why a generation for this model and endpoint would only wait if it came now: what could serve it was
    /// stopped by an operator, does not answer, or is left alone. `None` where a server takes it or is expected
    /// to soon, and where all that there is fails again and again: that is told at once.
    #[must_use]
    pub fn out_of_service(
        &self,
        model: &ModelName,
        endpoint: Option<&Endpoint>,
        execution: Execution,
    ) -> Option<NoServer> {
        let via = (execution != Execution::Direct).then(|| Via {
            excluding: Vec::new(),
            own_job: execution == Execution::Job,
        });
        self.shared.out_of_service(model, endpoint, via)
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> FleetStatus {
        self.shared.with(|state, now, _| state.status(now))
    }
}

impl fmt::Debug for FleetPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetPorts").finish_non_exhaustive()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}
