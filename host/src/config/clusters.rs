//! `[[clusters]]`: the Ray clusters that generations and model servers run on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::events::NatsUrl;
use super::problem::{Origin, Problem, without_userinfo};
use super::secrets::{Place, hidden, secret};
use super::settings::Config;
use crate::ray::{self, Address, Roots, Token};

/// `[[clusters]]`: a Ray cluster. Where none is configured, `RAY_ADDRESS` (or `RAY_DASHBOARD_URL`, which
/// goes first) makes one that is named `ray`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Its name in metrics, logs and subjects: small letters, digits and `-`, 1 to 40 of them; unique.
    pub name: String,
    /// Its dashboard, `http://HOST:8265` or `https://HOST:8265`; or `ray://HOST:10001`, whose dashboard is
    /// taken to be at `http://HOST:8265`.
    pub address: String,
    /// Its part of the work, against the weights of the other clusters: 1 to 100; 1 where not set.
    pub weight: u32,
    /// A file that holds the token of a cluster with `RAY_AUTH_MODE=token`.
    pub token_file: Option<PathBuf>,
    /// A variable that holds it.
    pub token_env: Option<String>,
    /// Certificates, as PEM, that the dashboard is trusted by instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// How long a connection to the dashboard may take, 1 to 600; 5 where not set.
    pub connect_timeout_seconds: u64,
    /// How long a call to the dashboard may take in all, 1 to 3600; 30 where not set. One that failed is
    /// tried up to four times.
    pub timeout_seconds: u64,
    /// What the cluster is said to be: names and values that an operator is shown.
    pub labels: BTreeMap<String, String>,
    /// The executor that runs the generations of `inference.execution = "pool"`.
    pub executor: Executor,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: String::new(),
            weight: 1,
            token_file: None,
            token_env: None,
            tls_ca_file: None,
            connect_timeout_seconds: 5,
            timeout_seconds: 30,
            labels: BTreeMap::new(),
            executor: Executor::default(),
        }
    }
}

/// `[clusters.executor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Executor {
    /// How many actors call model servers, 0 to 10000; 2 where not set. 0: none, and the cluster takes no
    /// part in `pool`.
    pub actors: u32,
    /// Generations that each actor has open at once, 1 to 4096; 64 where not set.
    pub slots: u32,
    /// What Ray sets aside for each actor, in CPUs; 1.0 where not set.
    pub actor_cpus: f64,
    /// What Ray sets aside for each actor, in GPUs; 0.0 where not set.
    pub actor_gpus: f64,
    /// The command of the Python on the cluster's nodes; `python` where not set.
    pub python: String,
    /// Whether Ray installs what the executor needs, pinned, when it starts; `true` where not set. `false`
    /// where the nodes have it, or reach no package index.
    pub install_needs: bool,
    /// The NATS servers as the cluster reaches them; those of `events.nats_url` where not set.
    #[schemars(with = "Option<String>")]
    pub nats_url: Option<NatsUrl>,
    /// Generations that may wait for the cluster, beside the `actors` × `slots` that it runs, 1 to 10000000;
    /// 10000 where not set. Beyond it clients are told to come back.
    pub queue_max: u64,
    /// How often a generation whose actor died is begun, 1 to 100; 3 where not set. Then it goes to the
    /// dead letters.
    pub tries_max: u32,
    /// How long an actor may be silent before its work is given to another one, 1 to 600; 10 where not set.
    /// When no actor of a cluster was heard for six times as long, what runs there is lost, and tried elsewhere.
    pub ack_wait_seconds: u64,
    /// What Ray sets aside for each actor of the resources that the nodes declare, by name.
    pub actor_resources: BTreeMap<String, f64>,
    /// Variables of the executor's environment. Ray shows them to everybody who sees its dashboard.
    #[serde(serialize_with = "hidden")]
    pub env: BTreeMap<String, String>,
}

impl Default for Executor {
    fn default() -> Self {
        Self {
            actors: 2,
            slots: 64,
            actor_cpus: 1.0,
            actor_gpus: 0.0,
            python: "python".to_owned(),
            install_needs: true,
            nats_url: None,
            queue_max: 10_000,
            tries_max: 3,
            ack_wait_seconds: 10,
            actor_resources: BTreeMap::new(),
            env: BTreeMap::new(),
        }
    }
}

/// A cluster as the host uses it.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Its name, `[a-z0-9-]{1,40}`.
    pub name: String,
    /// Its part of the work, 1 to 100.
    pub weight: u32,
    /// What it is said to be.
    pub labels: BTreeMap<String, String>,
    /// How its dashboard is called.
    pub ray: ray::Settings,
    /// What runs generations on it.
    pub executor: ExecutorSettings,
}

/// The executor of a cluster as the host starts it.
#[derive(Clone, Debug)]
pub struct ExecutorSettings {
    /// How many actors there are; 0: no executor.
    pub actors: u32,
    /// Generations that each has open at once.
    pub slots: u32,
    /// CPUs of each.
    pub actor_cpus: f64,
    /// GPUs of each.
    pub actor_gpus: f64,
    /// Other resources of each.
    pub actor_resources: BTreeMap<String, f64>,
    /// The command of the Python on the nodes.
    pub python: String,
    /// Whether Ray installs what it needs.
    pub install_needs: bool,
    /// The NATS servers as the cluster reaches them, if any are known.
    pub nats_url: Option<NatsUrl>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Generations that may wait for the cluster.
    pub queue_max: u64,
    /// How often work whose actor died is begun.
    pub tries_max: u32,
    /// How long an actor may be silent before its work is given to another one.
    pub ack_wait: Duration,
}

/// The clusters, and what cannot be used or read of their settings.
pub(super) fn read(
    config: &Config,
    environment: &Environment,
    origins: &BTreeMap<String, Origin>,
) -> (Vec<ClusterSettings>, Vec<Problem>) {
    let mut clusters = Vec::new();
    let mut problems = Vec::new();
    for (at, cluster) in config.clusters.iter().enumerate() {
        match cluster.read(environment) {
            Ok(ray) => clusters.push(ClusterSettings {
                name: cluster.name.clone(),
                weight: cluster.weight,
                labels: cluster.labels.clone(),
                ray,
                executor: cluster.executor.read(config),
            }),
            Err((field, value, rule)) => problems.push(Problem::BadValue {
                key: format!("clusters[{at}].{field}"),
                value,
                origin: origins.get("clusters").cloned().unwrap_or(Origin::Default),
                rule,
            }),
        }
    }
    (clusters, problems)
}

impl Cluster {
    /// How it is called; or the field that is wrong, its value, and the rule.
    fn read(
        &self,
        environment: &Environment,
    ) -> Result<ray::Settings, (&'static str, String, String)> {
        let address = self.address.parse::<Address>().map_err(|invalid| {
            let shown = format!("`{}`", without_userinfo(&self.address));
            ("address", shown, invalid.to_string())
        })?;
        let token = (self.token_file.is_some() || self.token_env.is_some()).then(|| Place {
            file: ("token_file", self.token_file.as_deref()),
            variable: ("token_env", self.token_env.as_deref()),
            owner: ("address", address.to_string()),
        });
        let token = token.map(|place| secret(&place, environment)).transpose()?;
        let roots = self.tls_ca_file.as_deref().map(roots).transpose()?;
        Ok(ray::Settings {
            token: token.map(Token::new),
            roots,
            connect_timeout: Duration::from_secs(self.connect_timeout_seconds),
            timeout: Duration::from_secs(self.timeout_seconds),
            ..ray::Settings::new(address)
        })
    }
}

fn roots(path: &Path) -> Result<Roots, (&'static str, String, String)> {
    let wrong = |rule: String| ("tls_ca_file", format!("`{}`", path.display()), rule);
    let pem = std::fs::read(path);
    let pem = pem.map_err(|error| wrong(format!("must be a readable file: {error}")))?;
    let roots = Roots::from_pem(&pem);
    roots.ok_or_else(|| wrong("must hold certificates, as PEM".to_owned()))
}

impl Executor {
    fn read(&self, config: &Config) -> ExecutorSettings {
        let of_host = config.events.nats_url.clone();
        ExecutorSettings {
            actors: self.actors,
            slots: self.slots,
            actor_cpus: self.actor_cpus,
            actor_gpus: self.actor_gpus,
            actor_resources: self.actor_resources.clone(),
            python: self.python.clone(),
            install_needs: self.install_needs,
            nats_url: self.nats_url.clone().or(of_host),
            env: self.env.clone(),
            queue_max: self.queue_max,
            tries_max: self.tries_max,
            ack_wait: Duration::from_secs(self.ack_wait_seconds),
        }
    }
}

#[cfg(test)]
mod tests;
