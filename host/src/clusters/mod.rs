//! What a host hands generations to: Ray clusters, the model servers that run there, and the queue that
//! leads to executors; put together and watched.

mod leftovers;
mod metrics;
mod nodes;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::clock::Clock;
use conclave_core::cluster::Cluster;
use conclave_core::endpoint::AllowedOrigins;
use conclave_core::execution::Execution;
use conclave_core::fleet::{
    ClusterPlan, ExecutorJob, Fleet, FleetPorts, FleetSettings, JobState, ModelPlan,
    Package as FleetPackage,
};
use conclave_core::ids::ModelName;
use conclave_core::request::DeliberationRequest;
use conclave_core::run::Claims;
use conclave_core::submit::{Capacity, NoCapacity};
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::config::{ClusterSettings, Config};
use crate::dispatch::{Dispatcher, Paths, WaveCluster, WaveClusters};
use crate::nats::{self, Nats};
use crate::openai::{self, ApiKey, OpenAi};
use crate::pool::{self, Executor, HostId, Package, Pool, Queue};
use crate::ray::{self, Ray};

pub use self::nodes::NodesView;
pub use self::wishes::WishFile;

/// The name that the fleet puts into a job's environment when it submits it.
const SUBMISSION_ID: &str = "{submission_id}";

/// How long Ray waits for an executor to end what it runs, before it is killed.
const EXECUTOR_STOP_SECONDS: &str = "15";

/// A cluster whose executors are silent for so many times the wait for another one is lost, with all that
/// runs there: by then somebody has taken it over, if anybody can.
const ACK_WAITS_LOST: u32 = 6;

/// How often it is looked whether an executor was started.
const EXECUTORS_LOOK: Duration = Duration::from_millis(500);

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

/// Tells the pool of every executor that was started: its actors are heard some seconds after its job runs;
/// and of those that do not come up, for whom nothing needs to wait.
async fn expect_executors(fleet: Arc<Fleet>, pool: Arc<Pool>) {
    let mut known = BTreeMap::new();
    loop {
        for cluster in fleet.status().clusters {
            let Some(executor) = cluster.executor else {
                continue;
            };
            if !executor.is_hopeful {
                let error = executor.last_error.unwrap_or_default();
                let reason = format!("its executor does not start: {error}");
                pool.despair(&cluster.name, &reason);
                continue;
            }
            let job = executor.submission_id.filter(|_| cluster.executes);
            let is_new = job.is_some_and(|job| {
                let before = known.insert(cluster.name.clone(), job.clone());
                before.is_none_or(|before| before != job)
            });
            // Before its job runs nobody can be heard.
            let starts = matches!(executor.state, JobState::Waiting | JobState::Pending);
            if is_new || starts {
                pool.expect(&cluster.name);
            }
        }
        tokio::time::sleep(EXECUTORS_LOOK).await;
    }
}

/// What the clusters are made into.
#[derive(Default)]
struct Parts {
    /// Those that anything may be run by: an executor runs where one is of use.
    executions: BTreeSet<Execution>,
    /// The keys of model servers, by their origins.
    model_keys: BTreeMap<String, ApiKey>,
    plans: Vec<(ClusterPlan, Arc<dyn Cluster>)>,
    rays: BTreeMap<String, Arc<Ray>>,
    queues: Vec<pool::ClusterSettings>,
    waves: WaveClusters,
    addresses: BTreeMap<String, String>,
}

impl Parts {
    fn add(
        &mut self,
        cluster: &ClusterSettings,
        package: &Arc<Package>,
        nats: Option<&nats::Settings>,
    ) -> Result<(), Error> {
        let name = cluster.name.clone();
        let address = cluster.ray.address.to_string();
        let ray = Ray::new(cluster.ray.clone());
        let ray = Arc::new(ray.map_err(|source| Error::Ray {
            name: name.clone(),
            source,
        })?);
        self.addresses.insert(name.clone(), address);
        self.rays.insert(name.clone(), Arc::clone(&ray));
        let through_queue = [Execution::Pool, Execution::Job];
        let is_used = through_queue
            .iter()
            .any(|one| self.executions.contains(one));
        let nats = nats.filter(|_| is_used);
        let executor = nats.and_then(|_| executor(cluster, &self.model_keys));
        let mut plan = ClusterPlan {
            name: name.clone(),
            weight: cluster.weight,
            labels: cluster.labels.clone(),
            has_executor: executor.is_some(),
            executor: None,
        };
        if let Some(executor) = executor {
            let package = match cluster.executor.install_needs {
                true => Arc::clone(package),
                false => Arc::new(Package {
                    requirements: Vec::new(),
                    ..Package::clone(package)
                }),
            };
            let job = executor_job(&executor, &package).map_err(|source| Error::Credentials {
                name: name.clone(),
                source,
            })?;
            plan.executor = Some(job).filter(|_| self.executions.contains(&Execution::Pool));
            self.queues.push(pool::ClusterSettings {
                queue_max: u32::try_from(cluster.executor.queue_max).unwrap_or(u32::MAX),
                running_max: executor.actors.saturating_mul(executor.slots),
                ack_wait: cluster.executor.ack_wait,
                silence_running: cluster.executor.ack_wait * ACK_WAITS_LOST,
                ..pool::ClusterSettings::new(name.clone())
            });
            let wave = WaveCluster {
                ray: ray.clone(),
                package,
                executor,
            };
            self.waves.insert(name, wave);
        }
        self.plans.push((plan, ray));
        Ok(())
    }
}

/// How a cluster's executor is started; `None` where it has none.
fn executor(cluster: &ClusterSettings, model_keys: &BTreeMap<String, ApiKey>) -> Option<Executor> {
    let settings = &cluster.executor;
    if settings.actors == 0 {
        return None;
    }
    let mut env_vars = settings.env.clone();
    // What it runs shall end, or be put back, before it is killed.
    env_vars
        .entry("RAY_JOB_STOP_WAIT_TIME_S".to_owned())
        .or_insert_with(|| EXECUTOR_STOP_SECONDS.to_owned());
    Some(Executor {
        cluster: cluster.name.clone(),
        python: settings.python.clone(),
        nats_url: settings.nats_url.as_ref()?.reveal().to_owned(),
        nats_credentials: settings.nats_credentials.clone(),
        nats_tls_ca: settings.nats_tls_ca.clone(),
        actors: settings.actors,
        slots: settings.slots,
        actor_cpus: settings.actor_cpus,
        actor_gpus: settings.actor_gpus,
        actor_resources: settings.actor_resources.clone(),
        ack_wait: settings.ack_wait,
        tries_max: settings.tries_max,
        model_keys: model_keys.clone(),
        env_vars,
    })
}

/// The job that the fleet keeps running for the pool.
fn executor_job(
    executor: &Executor,
    package: &Arc<Package>,
) -> Result<ExecutorJob, pool::UnusableCredentials> {
    let mut spec = executor.job(SUBMISSION_ID, &Queue::pool(), None, package, String::new())?;
    spec.working_dir = None;
    Ok(ExecutorJob {
        spec,
        package: Some(FleetPackage {
            name: package.name.clone(),
            zip: package.zip.as_slice().into(),
        }),
        start_timeout: Duration::from_secs(300),
        drain_timeout: Duration::from_secs(60),
    })
}

/// Whether a request would wait in vain.
impl Capacity for Clusters {
    fn check(&self, request: &DeliberationRequest) -> Result<(), NoCapacity> {
        let endpoint = request.endpoint.as_ref();
        // Each agent has a model; that of the task is for what few plugins ask for beside them.
        for model in request.task.agents.iter().map(|agent| &agent.model) {
            if let Some(retry_after) = self.fleet.full(model, endpoint) {
                return Err(NoCapacity::Full { retry_after });
            }
        }
        for agent in &request.task.agents {
            let execution = request.execution;
            let down = self.fleet.out_of_service(&agent.model, endpoint, execution);
            if let Some((retry_after, error)) = down.and_then(|e| e.retry_after().zip(Some(e))) {
                return Err(NoCapacity::Down {
                    reason: error.to_string(),
                    retry_after,
                });
            }
        }
        if request.execution == Execution::Direct {
            return Ok(());
        }
        let full = self.pool.iter().flat_map(|pool| pool.view());
        let queues: Vec<_> = full.filter(|view| view.ready).collect();
        let all_full = !queues.is_empty()
            && queues
                .iter()
                .all(|view| view.depth >= u64::from(view.depth_max));
        if !all_full {
            return Ok(());
        }
        let drained = queues.iter().filter_map(pool::ClusterView::time_to_drain);
        Err(NoCapacity::Full {
            retry_after: drained.min().unwrap_or(Duration::from_secs(5)),
        })
    }
}
