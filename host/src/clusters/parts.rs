//! What each cluster's settings are made into.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use conclave_core::cluster::Cluster;
use conclave_core::execution::Execution;
use conclave_core::fleet::{ClusterPlan, ExecutorJob, Package as FleetPackage};

use super::Error;
use crate::config::ClusterSettings;
use crate::dispatch::{WaveCluster, WaveClusters};
use crate::nats;
use crate::openai::ApiKey;
use crate::pool::{self, Executor, Package, Queue};
use crate::ray::Ray;

/// The name that the fleet puts into a job's environment when it submits it.
const SUBMISSION_ID: &str = "{submission_id}";

/// How long Ray waits for an executor to end what it runs, before it is killed.
const EXECUTOR_STOP_SECONDS: &str = "15";

/// A cluster whose executors are silent for so many times the wait for another one is lost, with all that
/// runs there: by then somebody has taken it over, if anybody can.
const ACK_WAITS_LOST: u32 = 6;

/// What the clusters are made into.
#[derive(Default)]
pub(super) struct Parts {
    /// Those that anything may be run by: an executor runs where one is of use.
    pub(super) executions: BTreeSet<Execution>,
    /// The keys of model servers, by their origins.
    pub(super) model_keys: BTreeMap<String, ApiKey>,
    pub(super) plans: Vec<(ClusterPlan, Arc<dyn Cluster>)>,
    pub(super) rays: BTreeMap<String, Arc<Ray>>,
    pub(super) queues: Vec<pool::ClusterSettings>,
    pub(super) waves: WaveClusters,
    pub(super) addresses: BTreeMap<String, String>,
}

impl Parts {
    pub(super) fn add(
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
