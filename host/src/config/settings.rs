//! The settings and their defaults, with the reason of each number.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use conclave_core::endpoint::Endpoint;
use conclave_core::execution::Execution;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::access::{Access, Tls};
use super::clusters::Cluster;
use super::events::Events;
use super::level::Level;
use super::models::Model;
use super::oci::Oci;
use super::routing::{self, RoutingRule};
use crate::grpc::{self, ResponseShape};
use crate::openai;
use crate::wasm::{EngineConfig, PluginLimits};

/// All settings, by section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the host listens and keeps its data.
    pub server: Server,
    /// What gRPC clients may do at once.
    pub grpc: Grpc,
    /// How connections are encrypted.
    pub tls: Tls,
    /// Who may call.
    pub access: Access,
    /// Where models are served.
    pub inference: Inference,
    /// What deliberations may ask for and use.
    pub limits: Limits,
    /// Which plugins there are, and what each may use.
    pub plugins: Plugins,
    /// What may reach a prompt.
    pub prompt: Prompt,
    /// What is told to others.
    pub events: Events,
    /// What is logged.
    pub log: Log,
    /// What is traced.
    pub telemetry: Telemetry,
    /// How clients of the services before are answered.
    pub compat: Compat,
    /// The models that the host serves itself, by the name that requests have for them. A request that
    /// names no endpoint gets their servers, where there is no `inference.endpoint`.
    pub models: BTreeMap<String, Model>,
    /// Which plugins a request gets that names no strategy: the first rule that matches decides, and
    /// what no rule says is `plugins.strategy_default` and `plugins.scorer_default`. The two rules of
    /// the default give task extraction its strategy, and leave backlog reviews to the defaults; own
    /// rules replace both, an empty list has none.
    pub routing: Vec<RoutingRule>,
    /// The Ray clusters that generations and model servers run on.
    pub clusters: Vec<Cluster>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            grpc: Grpc::default(),
            inference: Inference::default(),
            limits: Limits::default(),
            plugins: Plugins::default(),
            prompt: Prompt::default(),
            events: Events::default(),
            tls: Tls::default(),
            access: Access::default(),
            telemetry: Telemetry::default(),
            log: Log::default(),
            compat: Compat::default(),
            models: BTreeMap::new(),
            routing: routing::built_in(),
            clusters: Vec::new(),
        }
    }
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// gRPC: all services. Port 0 takes a free one.
    #[serde(deserialize_with = "address")]
    pub grpc_addr: SocketAddr,
    /// HTTP: health, readiness and other pages.
    #[serde(deserialize_with = "address")]
    pub http_addr: SocketAddr,
    /// The journal and the plugins that deliberations are pinned to; relative to the working directory.
    pub data_dir: PathBuf,
    /// How long running deliberations may go on after a signal to stop. Kubernetes kills after 30 s:
    /// this leaves ten of them to pause the rest and to end.
    pub shutdown_grace_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            grpc_addr: SocketAddr::from(([127, 0, 0, 1], 50056)),
            http_addr: SocketAddr::from(([127, 0, 0, 1], 9056)),
            data_dir: PathBuf::from("conclave-data"),
            shutdown_grace_seconds: 20,
        }
    }
}

/// `[grpc]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// Bytes of one request message.
    pub message_bytes_max: usize,
    /// Calls that are served at once; more are refused.
    pub calls_max: usize,
    /// Calls of one connection that are served at once; more wait.
    pub connection_calls_max: u32,
    /// Connections at once; more are closed. An idle one costs some 20 kB, with TLS twice that.
    pub connections_max: usize,
    /// How long a connection may be silent before it is asked whether it lives.
    pub keepalive_seconds: u64,
}

impl Default for Grpc {
    fn default() -> Self {
        let adapter = grpc::Settings::default();
        Self {
            message_bytes_max: adapter.message_bytes_max,
            calls_max: adapter.calls_max,
            connection_calls_max: adapter.connection_calls_max,
            connections_max: adapter.connections_max,
            keepalive_seconds: adapter.keepalive.as_secs(),
        }
    }
}

/// `[inference]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// The OpenAI-compatible server of requests that name none.
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<Endpoint>,
    /// The model of requests that name none.
    pub model: Option<String>,
    /// The origins that a request may name; nothing listed, nothing allowed.
    #[schemars(with = "Vec<String>")]
    pub allowed_endpoints: Vec<Endpoint>,
    /// How long a connection to a model server may take.
    pub connect_timeout_seconds: u64,
    /// How long a model server may be silent before its answer begins.
    pub first_byte_timeout_seconds: u64,
    /// How long a model server may be silent within its answer.
    pub idle_timeout_seconds: u64,
    /// How large an answer may be, on the wire.
    pub answer_bytes_max: usize,
    /// Idle connections that are kept for each origin.
    pub idle_connections_max: usize,
    /// Generations in flight over all deliberations, in each mode of execution. vLLM decodes 256 sequences
    /// at once by default.
    pub in_flight_max: usize,
    /// The bound of the first wait before a retry; it doubles with each further one.
    pub retry_base_ms: u64,
    /// The bound of every wait before a retry.
    pub retry_cap_ms: u64,
    /// How generations reach a model server where no rule of `routing` says it: `direct` (the host calls
    /// it), `pool` (executors on a Ray cluster call it, see `clusters`), or `job` (a Ray job for each
    /// wave of generations, which takes seconds to start).
    #[schemars(with = "String")]
    pub execution: Execution,
    /// How many answers to requests that differ only in their seed are asked for at once (`n`), of
    /// endpoints that only requests or `inference.endpoint` name; 1 asks for each alone. Models have a
    /// setting of their own.
    pub choices_max: usize,
    /// Whether these endpoints work in the order of `priority`, as vLLM does with
    /// `--scheduling-policy priority`. Models have a setting of their own.
    pub priority: bool,
    /// Which origin wants which API key.
    pub keys: Vec<Key>,
}

impl Default for Inference {
    fn default() -> Self {
        let adapter = openai::Settings::default();
        Self {
            endpoint: None,
            model: None,
            allowed_endpoints: Vec::new(),
            connect_timeout_seconds: adapter.connect_timeout.as_secs(),
            first_byte_timeout_seconds: adapter.first_byte_timeout.as_secs(),
            idle_timeout_seconds: adapter.idle_timeout.as_secs(),
            answer_bytes_max: adapter.answer_bytes_max,
            idle_connections_max: adapter.idle_connections_max,
            in_flight_max: 256,
            retry_base_ms: 500,
            retry_cap_ms: 30_000,
            execution: Execution::Direct,
            choices_max: 1,
            priority: false,
            keys: Vec::new(),
        }
    }
}

/// `[[inference.keys]]`: where an API key is. The key itself never stands in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The endpoint whose origin wants the key.
    #[schemars(with = "String")]
    pub endpoint: Endpoint,
    /// A file that holds it.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// A variable that holds it.
    #[serde(default)]
    pub api_key_env: Option<String>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Unfinished deliberations that the host holds; more are refused.
    pub deliberations_max: usize,
    /// Generations of a deliberation.
    pub generations_max: u32,
    /// Generations of a deliberation that its strategy may have open at once.
    pub open_generations_max: u32,
    /// Journal entries of a deliberation.
    pub entries_max: u32,
    /// Bytes of one payload that a plugin emits.
    pub emit_bytes_max: u32,
    /// Bytes that the plugins of a deliberation may put into its journal.
    pub journal_bytes_max: u32,
    /// The timeout of requests that name none.
    pub timeout_default_seconds: u64,
    /// The longest timeout that a request may name.
    pub timeout_max_seconds: u64,
    /// The retries of a generation when the request does not say.
    pub retries_default: u32,
    /// The most retries that a request may ask for.
    pub retries_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let session = conclave_core::limits::Limits::default();
        Self {
            // As many as plugin instances: more would only wait.
            deliberations_max: 1_000,
            generations_max: session.generations_max,
            open_generations_max: session.open_generations_max,
            entries_max: session.entries_max,
            emit_bytes_max: session.emit_bytes_max,
            journal_bytes_max: session.journal_bytes_max,
            timeout_default_seconds: 300,
            timeout_max_seconds: 1_800,
            retries_default: 3,
            retries_max: 10,
        }
    }
}

/// `[plugins]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// A directory whose `.wasm` files are loaded beside the built-in plugins. It is watched: a file
    /// that is renamed into it while the host runs is a plugin a moment later.
    pub dir: Option<PathBuf>,
    /// The strategy of requests that name none; `NAME`, `NAME@VERSION` or `NAME@sha256:DIGEST`.
    pub strategy_default: String,
    /// The scorer of requests that name none; `NAME`, `NAME@VERSION` or `NAME@sha256:DIGEST`.
    pub scorer_default: String,
    /// Strategies that may be live at once; more wait. Room for all is reserved in the address space;
    /// where it does not fit (above some 6,000), each is allocated on demand, which is slower.
    pub instances_max: u32,
    /// Compiled components that are kept in memory.
    pub compiled_max: usize,
    /// Of a million canaries that are no worse than the stable version, how many may ever be rolled
    /// back for being it. Fewer need more evidence of those that are worse.
    pub canary_errors_per_million: u32,
    /// From where components may be imported.
    pub oci: Oci,
    /// Bytes of compiled components that are kept on disk; those not used for longest go first. One of
    /// Python takes 37 MB.
    pub compiled_bytes_max: u64,
    /// Components that are compiled at once, each by a process with one thread; more wait.
    pub compilations_max: usize,
    /// What becomes of a plugin that nobody signed whose key is in `plugins.trusted_keys`: `off` does
    /// not look, `warn` lets it in and says so in the log, `require` refuses it.
    pub signatures: Signatures,
    /// The public keys (ed25519) of those whose signatures count: each the path of a PEM file, or its
    /// text.
    pub trusted_keys: Vec<String>,
    /// What one instance may use.
    pub limits: PluginLimits,
}

impl Default for Plugins {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            dir: None,
            oci: Oci::default(),
            strategy_default: "sample-vote".to_owned(),
            scorer_default: "agreement".to_owned(),
            instances_max: engine.instances_max,
            compiled_max: engine.compiled_max,
            canary_errors_per_million: 10_000,
            compiled_bytes_max: engine.cache_bytes_max,
            compilations_max: engine.compilations_max,
            signatures: Signatures::Off,
            trusted_keys: Vec::new(),
            limits: engine.limits,
        }
    }
}

/// What becomes of a plugin that nobody signed whose key is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// It is not looked at.
    #[default]
    Off,
    /// It is let in, and the log says so.
    Warn,
    /// It is refused.
    Require,
}

/// `[prompt]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// The metadata keys that plugins are shown; nothing listed, nothing shown.
    pub metadata_allowed: Vec<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much is logged: `trace`, `debug`, `info`, `warning`, `error`, `critical`, `off`, or
    /// directives like `info,conclave::grpc=debug`.
    #[schemars(with = "String")]
    pub level: Level,
    /// In which form.
    pub format: Format,
    /// Whether what plugins write is logged. It may hold prompts and answers.
    pub plugins: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where traces go: the OTLP/gRPC address of a collector, for example `http://127.0.0.1:4317`.
    /// Nothing is traced without one. `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` say the same.
    #[schemars(with = "Option<String>")]
    pub otlp_endpoint: Option<Endpoint>,
    /// What the host calls itself in traces; `OTEL_SERVICE_NAME` says the same.
    pub service_name: String,
    /// How many of a hundred traces that begin at this host are recorded; where a client's
    /// `traceparent` has decided, that stands. At 100, `OTEL_TRACES_SAMPLER` may decide.
    pub sample_percent: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            service_name: "conclave".to_owned(),
            sample_percent: 100,
        }
    }
}

/// `[compat]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// How `fleet.ray_executor.v1` answers a submit: `newer` for the clients that are deployed today,
    /// `older` for their elders.
    #[serde(serialize_with = "shape")]
    pub fleet_response_shape: ResponseShape,
}

/// The shape's name, as it is read.
fn shape<S: Serializer>(shape: &ResponseShape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match shape {
        ResponseShape::Newer => "newer",
        ResponseShape::Older => "older",
    })
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom("must be an IP address and a port, for example 127.0.0.1:50056")
    })
}
