//! What a host hands generations to: Ray clusters, the model servers that run there, and the queue that
//! leads to executors; put together and watched.

mod capacity;
mod expecting;
mod leftovers;
mod metrics;
mod nodes;
mod parts;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use conclave_core::clock::Clock;
use conclave_core::cluster::Cluster;
use conclave_core::endpoint::AllowedOrigins;
use conclave_core::execution::Execution;
use conclave_core::fleet::{Fleet, FleetPorts, FleetSettings, ModelPlan};
use conclave_core::ids::ModelName;
use conclave_core::run::Claims;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::config::{ClusterSettings, Config};
use crate::dispatch::{Dispatcher, Paths, WaveClusters};
use crate::nats::{self, Nats};
use crate::openai::{self, OpenAi};
use crate::pool::{self, HostId, Package, Pool};
use crate::ray::{self, Ray};

pub use self::nodes::NodesView;
pub use self::wishes::WishFile;

use self::expecting::expect_executors;
use self::parts::Parts;

/// Why clusters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cluster's settings do not do.
    #[error("cluster `{name}` cannot be called")]
    Ray {
        /// The cluster.
        name: String,
        /// Why not.
        source: ray::InvalidSettings,
    },
    /// The queue's settings do not do.
    #[error("work cannot be handed to executors")]
    Pool(#[from] pool::InvalidSettings),
    /// Executors cannot be given what the host itself has.
    #[error("the executor of cluster `{name}` cannot reach NATS as this host does")]
    Credentials {
        /// The cluster.
        name: String,
        /// Why not.
        source: pool::UnusableCredentials,
    },
    /// A file of the data directory cannot be used.
    #[error("what is kept about clusters in the data directory cannot be used")]
    Files(#[from] io::Error),
}

/// What is needed of the settings.
#[derive(Debug)]
pub struct Settings<'a> {
    /// All settings.
    pub config: &'a Config,
    /// The clusters.
    pub clusters: Vec<ClusterSettings>,
    /// How NATS is used, if it is.
    pub nats: Option<&'a nats::Settings>,
    /// How model servers are called.
    pub openai: &'a openai::Settings,
}

/// The clusters and models of a host.
pub struct Clusters {
    fleet: Arc<Fleet>,
    pool: Option<Arc<Pool>>,
    nodes: Arc<NodesView>,
    rays: BTreeMap<String, Arc<Ray>>,
    waves: WaveClusters,
    addresses: BTreeMap<String, String>,
    replicas: BTreeMap<ModelName, (u32, u32)>,
    executions: BTreeSet<Execution>,
    direct: Arc<OpenAi>,
}

impl std::fmt::Debug for Clusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clusters").finish_non_exhaustive()
    }
}

impl Clusters {
    /// Puts them together; nothing is started there yet. The queue is listened to from now on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn compose(
        settings: Settings<'_>,
        direct: Arc<OpenAi>,
        nats: Option<&Nats>,
        clock: Clock,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let config = settings.config;
        let package = Arc::new(Package::embedded());
        let mut parts = Parts {
            executions: config.executions(),
            model_keys: settings.openai.keys_by_origin(),
            ..Parts::default()
        };
        for cluster in settings.clusters {
            parts.add(&cluster, &package, settings.nats)?;
        }
        let host = match parts.plans.is_empty() {
            true => None,
            false => Some(HostId::of(&config.server.data_dir)?),
        };
        let pool = match (nats, &host) {
            (Some(nats), Some(host)) if !parts.queues.is_empty() => {
                let queue = pool::Settings {
                    clusters: parts.queues,
                    allowed: AllowedOrigins::new(&settings.openai.allowed),
                    bounds: settings.openai.into(),
                    ack_timeout: nats.ack_timeout(),
                    ready_timeout: nats.connect_timeout(),
                };
                Some(Pool::start(nats.client(), host, queue, tasks, stop).await?)
            }
            _ => None,
        };
        let models: Vec<ModelPlan> = config
            .models
            .iter()
            .map(|(name, model)| model.plan(name))
            .collect();
        let replicas = models
            .iter()
            .filter(|plan| plan.job.is_some())
            .map(|plan| {
                let bounds = (*plan.replicas.start(), *plan.replicas.end());
                (plan.name.clone(), bounds)
            })
            .collect();
        let book = WishFile::of(&config.server.data_dir);
        let wishes = book.load()?;
        let ports = FleetPorts {
            probe: direct.clone(),
            wish_book: Arc::new(book),
            clock,
        };
        let fleet = Fleet::new(
            parts.plans,
            models,
            ports,
            wishes,
            FleetSettings {
                by_hand_choices_max: config.inference.choices_max,
                by_hand_takes_priority: config.inference.priority,
                seed: host.as_ref().map_or(0, HostId::seed),
                owner: host.map_or_else(String::new, |host| host.to_string()),
                ..FleetSettings::default()
            },
        );
        Ok(Self {
            fleet,
            pool,
            nodes: Arc::default(),
            rays: parts.rays,
            waves: parts.waves,
            addresses: parts.addresses,
            replicas,
            executions: config.executions(),
            direct,
        })
    }

    /// Begins to watch clusters, servers and nodes, and to keep jobs running.
    pub fn start(&self, tasks: &Tasks, stop: &CancellationToken) {
        self.fleet.start(tasks, stop);
        let rays = self.rays.iter();
        let rays = rays.map(|(name, ray)| (name.clone(), ray.clone() as Arc<dyn Cluster>));
        self.nodes.start(rays, tasks, stop);
        if let Some(pool) = &self.pool {
            let expecting = expect_executors(Arc::clone(&self.fleet), Arc::clone(pool));
            tasks.spawn(
                "executors",
                stop.clone().run_until_cancelled_owned(expecting),
            );
        }
    }

    /// Ends what the last run of this host has left on the clusters, but for what is claimed.
    pub fn clear(&self, claims: Claims, tasks: &Tasks, stop: &CancellationToken) {
        if let Some(pool) = &self.pool {
            pool.cancel_orphans(claims.work, tasks, stop);
            let resumed = Arc::new(claims.deliberations);
            for wave in self.waves.values() {
                let (ray, host) = (Arc::clone(&wave.ray), pool.host().clone());
                let removing = leftovers::remove(ray, host, Arc::clone(&resumed));
                let removing = stop.clone().run_until_cancelled_owned(removing);
                tasks.spawn("jobs of waves", removing);
            }
        }
    }

    /// What runs generations there and elsewhere.
    #[must_use]
    pub fn dispatcher(&self, tasks: &Tasks) -> Dispatcher {
        let paths = Paths {
            fleet: Arc::clone(&self.fleet),
            direct: Arc::clone(&self.direct),
            pool: self.pool.clone(),
            executions: self.executions.clone(),
        };
        Dispatcher::new(paths, self.waves.clone(), tasks)
    }

    /// Which servers there are, and how they stand.
    #[must_use]
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// The queue to executors, if there is one.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    /// The nodes of all clusters.
    #[must_use]
    pub fn nodes(&self) -> &Arc<NodesView> {
        &self.nodes
    }

    /// The dashboard of a cluster.
    #[must_use]
    pub fn address(&self, cluster: &str) -> &str {
        self.addresses.get(cluster).map_or("", String::as_str)
    }

    /// The least and the most replicas of a model that the configuration allows; `None` where the host starts
    /// none of it.
    #[must_use]
    pub fn replicas(&self, model: &ModelName) -> Option<(u32, u32)> {
        self.replicas.get(model).copied()
    }

    /// What an operator should know, a sentence each; nothing while all is well.
    #[must_use]
    pub fn impairments(&self) -> Vec<String> {
        let status = self.fleet.status();
        let clusters = status.clusters.iter().filter_map(|cluster| {
            let error = cluster.last_error.as_ref()?;
            Some(format!(
                "cluster `{}` does not answer: {error}",
                cluster.name
            ))
        });
        let models = status.models.iter().filter_map(|model| {
            let of_replicas = model.replicas.iter().filter_map(|one| one.server.as_ref());
            let mut servers = of_replicas.chain(&model.endpoints);
            let serves = servers.any(|server| server.is_healthy);
            let shall = model.wanted > 0 || !model.endpoints.is_empty();
            (shall && !serves).then(|| format!("no server of model `{}` is healthy", model.name))
        });
        clusters.chain(models).collect()
    }
}
