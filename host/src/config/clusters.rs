//! `[[clusters]]`: the Ray clusters that generations and model servers run on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::executor::{Executor, ExecutorSettings};
use super::problem::{Origin, Problem, without_userinfo};
use super::secrets::{Place, secret};
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

/// The field that is wrong, its value, and the rule.
pub(super) type Wrong = (&'static str, String, String);

/// The clusters, and what cannot be used or read of their settings.
pub(super) fn read(
    config: &Config,
    environment: &Environment,
    origins: &BTreeMap<String, Origin>,
) -> (Vec<ClusterSettings>, Vec<Problem>) {
    let mut clusters = Vec::new();
    let mut problems = Vec::new();
    for (at, cluster) in config.clusters.iter().enumerate() {
        let mut wrong = |(field, value, rule): Wrong| {
            problems.push(Problem::BadValue {
                key: format!("clusters[{at}].{field}"),
                value,
                origin: origins.get("clusters").cloned().unwrap_or(Origin::Default),
                rule,
            });
        };
        let ray = cluster.read(environment).map_err(&mut wrong);
        let executor = cluster.executor.read(&config.events).map_err(&mut wrong);
        if let (Ok(ray), Ok(executor)) = (ray, executor) {
            clusters.push(ClusterSettings {
                name: cluster.name.clone(),
                weight: cluster.weight,
                labels: cluster.labels.clone(),
                ray,
                executor,
            });
        }
    }
    (clusters, problems)
}

impl Cluster {
    /// How it is called; or the field that is wrong, its value, and the rule.
    fn read(&self, environment: &Environment) -> Result<ray::Settings, Wrong> {
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

fn roots(path: &Path) -> Result<Roots, Wrong> {
    let wrong = |rule: String| ("tls_ca_file", format!("`{}`", path.display()), rule);
    let pem = std::fs::read(path);
    let pem = pem.map_err(|error| wrong(format!("must be a readable file: {error}")))?;
    let roots = Roots::from_pem(&pem);
    roots.ok_or_else(|| wrong("must hold certificates, as PEM".to_owned()))
}

#[cfg(test)]
mod tests;
