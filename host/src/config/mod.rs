//! What an operator decides: one typed [`Config`], merged from defaults, a TOML file, the environment
//! and flags, the later over the earlier.
//!
//! [`Config::default`] is the only list of keys: names of variables, suggestions and checks derive
//! from it. This module is the one place that reads the environment.

mod access;
mod callers;
mod clusters;
mod domain;
mod environment;
mod events;
#[cfg(test)]
mod every_key;
mod executor;
mod keys;
mod layers;
mod legacy;
mod level;
mod models;
mod oci;
mod problem;
mod reference;
mod routing;
mod rules;
mod schema;
mod secrets;
mod settings;
mod show;
mod signatures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use conclave_core::canary::ErrorRate;
use conclave_core::endpoint::Endpoint;

use crate::nats;
use crate::openai::ApiKey;
use crate::plugin_store::{Named, Rules};

pub use access::{Access, AccessCertificate, AccessMode, AccessToken, Jwt, Tls};
pub use clusters::{Cluster, ClusterSettings};
pub use environment::Environment;
pub use events::{Events, NatsUrl};
pub use executor::{Executor, ExecutorSettings};
pub use level::{InvalidLevel, Level};
pub use models::Model;
pub use oci::{Oci, OciCredentials};
pub use problem::{Error, Origin, Problem};
pub use reference::reference;
pub use routing::{NamedPlugin, RoutingRule};
pub use settings::{
    Compat, Config, Format, Grpc, Inference, Key, Limits, Log, Plugins, Prompt, Server, Signatures,
    Telemetry,
};

/// Where values come from, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// The process's variables.
    pub environment: Environment,
    /// What stands on the command line.
    pub flags: Vec<Flag>,
}

/// One key as the command line sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag, for error messages, for example `--grpc-addr`.
    pub name: &'static str,
    /// The key, for example `server.grpc_addr`.
    pub key: String,
    /// The value, written as in a variable.
    pub text: String,
}

/// A configuration that follows all rules.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The API keys that it refers to.
    pub api_keys: Vec<(Endpoint, ApiKey)>,
    /// How NATS is used, if it is.
    pub nats: Option<nats::Settings>,
    /// The Ray clusters, in the order of the configuration.
    pub clusters: Vec<ClusterSettings>,
    /// From which registries components may be fetched.
    pub oci: crate::arrivals::oci::Settings,
    /// Whom the host lets in.
    pub access: crate::access::Settings,
    /// Whose signatures of plugins count, and what they are worth.
    pub signatures: crate::signature::Policy,
    /// What the operator should be told at the start, one line each.
    pub notices: Vec<String>,
    /// Where each value that is no default comes from.
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// What becomes of plugins that arrive.
    #[must_use]
    pub fn plugin_rules(&self) -> Rules {
        let errors = f64::from(self.config.plugins.canary_errors_per_million);
        let error_rate = ErrorRate::try_from(errors / 1e6);
        let named = self.config.named_plugins().into_iter();
        let named = named.map(
            |NamedPlugin {
                 kind, choice, key, ..
             }| Named { kind, choice, key },
        );
        Rules {
            error_rate: error_rate.expect("the setting has the bounds of a rate"),
            signatures: self.signatures.clone(),
            named: named.collect(),
        }
    }
}

/// Merges all sources and checks the result.
///
/// # Errors
/// When the file cannot be read, or with every key that is unknown and every value that breaks a rule.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let mut merged = layers::Merged::default();
    if let Some(path) = &sources.file {
        merged.add_file(path)?;
    }
    let mut legacy = legacy::read(&sources.environment);
    merged.add_values(legacy.values);
    merged.add_variables(&sources.environment);
    merged.add_flags(&sources.flags);
    if let Some(cluster) = legacy.cluster {
        let variable = cluster.variable;
        if !merged.add_unless_set(&cluster) {
            let notice = format!("{variable} is not used: `clusters` is set too");
            legacy.notices.push(notice);
        }
    }
    let (config, origins, mut problems) = merged.into_config();
    problems.extend(rules::broken(&config, &origins));
    let keys_origin = origins.get("inference.keys").unwrap_or(&Origin::Default);
    let (api_keys, unreadable) =
        secrets::read(&config.inference, &sources.environment, keys_origin);
    problems.extend(unreadable);
    let (oci, unreadable) = oci::read(&config, &sources.environment, &origins);
    problems.extend(unreadable);
    let (clusters, unusable) = clusters::read(&config, &sources.environment, &origins);
    problems.extend(unusable);
    let (nats, unusable) = config.events.nats(&origins);
    problems.extend(unusable);
    let (signatures, unusable) = signatures::read(&config.plugins, &origins);
    problems.extend(unusable);
    let callers = callers::read(&config, &origins);
    problems.extend(callers.problems);
    problems.extend(layers::unknown_variables(&sources.environment, &config));
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let mut notices = legacy.notices;
    notices.extend(callers.notices);
    let grpc_addr = origins.get("server.grpc_addr");
    if matches!(grpc_addr, Some(Origin::Variable(name)) if name == legacy::GRPC_PORT) {
        notices.push(format!(
            "GRPC_PORT makes gRPC listen on all interfaces ({}), as it did before; set {} to choose \
             the interface",
            config.server.grpc_addr,
            keys::variable("server.grpc_addr"),
        ));
    }
    if !config.has_model_server() {
        notices.push(
            "no model server is configured, so every request will be refused; set \
             `inference.endpoint`, or list servers that requests may name in \
             `inference.allowed_endpoints`"
                .to_owned(),
        );
    }
    Ok(Loaded {
        config,
        api_keys,
        nats,
        clusters,
        oci,
        access: callers.access,
        signatures,
        notices,
        origins,
    })
}
