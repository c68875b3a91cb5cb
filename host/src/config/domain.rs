//! What the settings mean to the core and to the adapters.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use conclave_core::endpoint::{AllowedOrigins, Endpoint};
use conclave_core::execution::Execution;
use conclave_core::ids::ModelName;
use conclave_core::limits::Limits;
use conclave_core::plugin::{Kind, PluginChoice};
use conclave_core::request::Policy;
use conclave_core::retry::Retry;
use conclave_core::submit::Terms;

use super::models::Model;
use super::routing::{self, NamedPlugin};
use super::settings::Config;
use crate::grpc;
use crate::openai::{self, ApiKey};
use crate::wasm::{Compiler, EngineConfig};

impl Config {
    /// What every accepted deliberation is given.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let (inference, limits) = (&self.inference, &self.limits);
        let replaced = self.models.iter().map(|(name, model)| {
            let origins = AllowedOrigins::new(&model.replaces);
            (ModelName::new(name), origins)
        });
        let mut names = self.models.keys();
        let only = names.next().filter(|_| names.next().is_none());
        Terms {
            policy: Policy {
                models: self.models.keys().map(ModelName::new).collect(),
                execution_default: inference.execution,
                endpoint_default: inference.endpoint.clone(),
                allowed: AllowedOrigins::new(&inference.allowed_endpoints),
                replaced: replaced.collect(),
                model_default: inference.model.as_ref().or(only).map(ModelName::new),
                routing: routing::of(&self.routing),
                strategy_default: choice(&self.plugins.strategy_default),
                scorer_default: choice(&self.plugins.scorer_default),
                timeout_default: Duration::from_secs(limits.timeout_default_seconds),
                timeout_max: Duration::from_secs(limits.timeout_max_seconds),
                retries_default: limits.retries_default,
                retries_max: limits.retries_max,
            },
            metadata_allowed: self.prompt.metadata_allowed.clone(),
            limits: Limits {
                generations_max: limits.generations_max,
                open_generations_max: limits.open_generations_max,
                entries_max: limits.entries_max,
                emit_bytes_max: limits.emit_bytes_max,
                journal_bytes_max: limits.journal_bytes_max,
            },
        }
    }

    /// The plugins that the settings name, each with its key and its params.
    #[must_use]
    pub fn named_plugins(&self) -> Vec<NamedPlugin> {
        let policy = self.terms().policy;
        let default = |kind, key: &str, choice| NamedPlugin {
            kind,
            key: key.to_owned(),
            choice,
            params: serde_json::json!({}),
        };
        let mut named = vec![
            default(
                Kind::Strategy,
                "plugins.strategy_default",
                policy.strategy_default,
            ),
            default(
                Kind::Scorer,
                "plugins.scorer_default",
                policy.scorer_default,
            ),
        ];
        named.extend(routing::named(&self.routing));
        named
    }

    /// Whether any generation could be sent anywhere.
    #[must_use]
    pub fn has_model_server(&self) -> bool {
        let inference = &self.inference;
        let named = inference.endpoint.is_some() || !inference.allowed_endpoints.is_empty();
        named || !self.models.is_empty()
    }

    /// How generations may reach an engine.
    #[must_use]
    pub fn executions(&self) -> BTreeSet<Execution> {
        let routed = self.routing.iter().filter_map(|rule| rule.execution);
        routed.chain([self.inference.execution]).collect()
    }

    /// How failed generations are tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(self.inference.retry_base_ms),
            cap: Duration::from_millis(self.inference.retry_cap_ms),
        }
    }

    /// How the openai adapter calls model servers.
    #[must_use]
    pub fn openai(&self, api_keys: Vec<(Endpoint, ApiKey)>) -> openai::Settings {
        let inference = &self.inference;
        let allowed = inference
            .endpoint
            .iter()
            .chain(&inference.allowed_endpoints);
        openai::Settings {
            allowed: allowed.cloned().collect(),
            own_https: self.models.values().any(Model::is_https),
            api_keys,
            connect_timeout: Duration::from_secs(inference.connect_timeout_seconds),
            first_byte_timeout: Duration::from_secs(inference.first_byte_timeout_seconds),
            idle_timeout: Duration::from_secs(inference.idle_timeout_seconds),
            answer_bytes_max: inference.answer_bytes_max,
            idle_connections_max: inference.idle_connections_max,
            ..openai::Settings::default()
        }
    }

    /// How the gRPC adapter serves.
    #[must_use]
    pub fn grpc(&self) -> grpc::Settings {
        grpc::Settings {
            message_bytes_max: self.grpc.message_bytes_max,
            calls_max: self.grpc.calls_max,
            connection_calls_max: self.grpc.connection_calls_max,
            connections_max: self.grpc.connections_max,
            keepalive: Duration::from_secs(self.grpc.keepalive_seconds),
            fleet_response_shape: self.compat.fleet_response_shape,
            ..grpc::Settings::default()
        }
    }

    /// How the wasm adapter runs plugins.
    #[must_use]
    pub fn engine(&self) -> EngineConfig {
        EngineConfig {
            limits: self.plugins.limits.clone(),
            instances_max: self.plugins.instances_max,
            compiled_max: self.plugins.compiled_max,
            compiler: Compiler::this_binary(),
            compilations_max: self.plugins.compilations_max,
            cache_dir: Some(self.server.data_dir.join("compiled")),
            cache_bytes_max: self.plugins.compiled_bytes_max,
        }
    }

    /// How long the host may take to stop.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.server.shutdown_grace_seconds)
    }

    /// The journal's file.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.server.data_dir.join("journal.sqlite")
    }

    /// Where components are kept.
    #[must_use]
    pub fn plugin_store_dir(&self) -> PathBuf {
        self.server.data_dir.join("plugins")
    }
}

/// `NAME`, `NAME@VERSION` or `NAME@sha256:DIGEST`; another text names no plugin that there is.
pub(super) fn choice(text: &str) -> PluginChoice {
    text.parse().unwrap_or_else(|_| PluginChoice::named(text))
}
