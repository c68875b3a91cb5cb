//! `[clusters.executor]`: what runs the generations of a cluster, and who it is to NATS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clusters::Wrong;
use super::events::{Events, NatsUrl};
use super::secrets::hidden;
use crate::nats::{Credentials, Secret};

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
    /// The command of the Python on the cluster's nodes; `python` where not set. With `install_needs` it is
    /// a name, `python` or `python3`, and no path: Ray puts the one that has what it installs into the PATH.
    pub python: String,
    /// Whether Ray installs what the executor needs when it starts; `true` where not set. `false`
    /// where the nodes have it, or reach no package index.
    pub install_needs: bool,
    /// The NATS servers as the cluster reaches them; those of `events.nats_url` where not set.
    #[schemars(with = "Option<String>")]
    pub nats_url: Option<NatsUrl>,
    /// The user that the executor is to NATS; with `nats_password_file`.
    pub nats_user: Option<String>,
    /// A file of the host that holds the password of that user.
    pub nats_password_file: Option<PathBuf>,
    /// A file of the host that holds a token, instead of a user.
    pub nats_token_file: Option<PathBuf>,
    /// Whether an executor without a user or token of its own is given the host's. Ray shows them to
    /// everybody who sees its dashboard, and the host may do more in NATS than an executor needs.
    pub share_nats_credentials: bool,
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
            nats_user: None,
            nats_password_file: None,
            nats_token_file: None,
            share_nats_credentials: false,
            queue_max: 10_000,
            tries_max: 3,
            ack_wait_seconds: 10,
            actor_resources: BTreeMap::new(),
            env: BTreeMap::new(),
        }
    }
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
    /// Who it is to them.
    pub nats_credentials: Credentials,
    /// Certificates, as PEM, that they are trusted by instead of the system's.
    pub nats_tls_ca: Option<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Generations that may wait for the cluster.
    pub queue_max: u64,
    /// How often work whose actor died is begun.
    pub tries_max: u32,
    /// How long an actor may be silent before its work is given to another one.
    pub ack_wait: Duration,
}

impl Executor {
    /// Whether it has a user or a token of its own.
    pub(super) fn has_credentials(&self) -> bool {
        let in_url = self.nats_url.as_ref().is_some_and(NatsUrl::has_userinfo);
        in_url || self.nats_user.is_some() || self.nats_token_file.is_some()
    }

    /// How it is started. Certificates that cannot be read are told as those of `events`.
    pub(super) fn read(&self, events: &Events) -> Result<ExecutorSettings, Wrong> {
        let of_host = events
            .nats_url
            .as_ref()
            .map(|url| match self.share_nats_credentials {
                true => url.clone(),
                false => url.without_userinfo(),
            });
        let tls_ca = events.tls_ca_file.as_ref();
        Ok(ExecutorSettings {
            actors: self.actors,
            slots: self.slots,
            actor_cpus: self.actor_cpus,
            actor_gpus: self.actor_gpus,
            actor_resources: self.actor_resources.clone(),
            python: self.python.clone(),
            install_needs: self.install_needs,
            nats_url: self.nats_url.clone().or(of_host),
            nats_credentials: self.credentials(events)?,
            nats_tls_ca: tls_ca.and_then(|path| std::fs::read_to_string(path).ok()),
            env: self.env.clone(),
            queue_max: self.queue_max,
            tries_max: self.tries_max,
            ack_wait: Duration::from_secs(self.ack_wait_seconds),
        })
    }

    fn credentials(&self, events: &Events) -> Result<Credentials, Wrong> {
        let given = (
            &self.nats_user,
            &self.nats_password_file,
            &self.nats_token_file,
        );
        match given {
            // What is wrong with the host's own is told as such.
            (None, None, None) if self.share_nats_credentials => {
                Ok(events.credentials().unwrap_or_default())
            }
            (None, None, None) => Ok(Credentials::None),
            (Some(name), Some(path), None) => Ok(Credentials::User {
                name: name.clone(),
                password: secret("executor.nats_password_file", path)?,
            }),
            (None, None, Some(path)) => {
                let token = secret("executor.nats_token_file", path)?;
                Ok(Credentials::Token(token))
            }
            (user, _, _) => {
                let shown = user.as_ref().map(|user| format!("`{user}`"));
                let rule = "must come with `nats_password_file`, and not with `nats_token_file`";
                let shown = shown.unwrap_or_else(|| "not set".to_owned());
                Err(("executor.nats_user", shown, rule.to_owned()))
            }
        }
    }
}

fn secret(field: &'static str, path: &Path) -> Result<Secret, Wrong> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let rule = format!("must be a readable file: {error}");
        (field, format!("`{}`", path.display()), rule)
    })?;
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests;
