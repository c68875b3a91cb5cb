//! What a client asks for: parsed and checked once, all or nothing.

mod check;
mod draft;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::{AllowedOrigins, Endpoint};
use crate::execution::Execution;
use crate::ids::{AgentId, ModelName};
use crate::plugin::PluginChoice;
use crate::priority::Priority;
use crate::routing::Routing;

pub use self::draft::{AgentDraft, Draft};

/// One voice in a deliberation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Unique in the deliberation.
    pub id: AgentId,
    /// What it stands for; may be empty.
    pub role: String,
    /// The model that answers for it.
    pub model: ModelName,
    /// A Jinja template that parses; the plugin renders it.
    pub prompt_template: Option<String>,
}

/// What is to be deliberated, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The client's id.
    pub id: String,
    /// The question.
    pub description: String,
    /// The role that the answer is for; may be empty.
    pub role: String,
    /// At least one.
    pub agents: Vec<Agent>,
    /// The model of generations that are no agent's.
    pub model: ModelName,
    /// All that the client gave; only the keys that the operator allows reach a plugin.
    pub metadata: BTreeMap<String, String>,
}

/// A request that was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliberationRequest {
    /// What is to be deliberated.
    pub task: Task,
    /// Where the models are served; `None` where the host itself serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// How its generations reach an engine.
    #[serde(default, skip_serializing_if = "Execution::is_default")]
    pub execution: Execution,
    /// From acceptance to the deadline.
    pub timeout: Duration,
    /// How often a generation may be tried again.
    pub retries_max: u32,
    /// Which strategy.
    pub strategy: PluginChoice,
    /// The strategy's params, a JSON object.
    pub strategy_params: Value,
    /// Which scorer.
    pub scorer: PluginChoice,
    /// The scorer's params, a JSON object.
    pub scorer_params: Value,
    /// The client's own labels.
    pub labels: BTreeMap<String, String>,
    /// What the client calls the cause of its request, for events.
    pub correlation_id: Option<String>,
    /// Before which other deliberations its generations are sent.
    #[serde(default, skip_serializing_if = "Priority::is_default")]
    pub priority: Priority,
}

impl DeliberationRequest {
    /// The fields in which two requests ask for something else.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut fields = Vec::new();
        let mut compare = |name, same: bool| {
            if !same {
                fields.push(name);
            }
        };
        compare("task_id", self.task.id == other.task.id);
        compare(
            "task_description",
            self.task.description == other.task.description,
        );
        compare("role", self.task.role == other.task.role);
        compare("agents", self.task.agents == other.task.agents);
        compare("model", self.task.model == other.task.model);
        compare("metadata", self.task.metadata == other.task.metadata);
        compare("endpoint", self.endpoint == other.endpoint);
        compare("timeout", self.timeout == other.timeout);
        compare("max_retries", self.retries_max == other.retries_max);
        compare("strategy", self.strategy == other.strategy);
        compare(
            "strategy_params",
            self.strategy_params == other.strategy_params,
        );
        compare("scorer", self.scorer == other.scorer);
        compare("scorer_params", self.scorer_params == other.scorer_params);
        compare("labels", self.labels == other.labels);
        compare("priority", self.priority == other.priority);
        fields
    }
}

/// What the operator decided about requests.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where models are served when a request does not say.
    pub endpoint_default: Option<Endpoint>,
    /// The origins that a request may name; the default endpoint's own is always allowed.
    pub allowed: AllowedOrigins,
    /// The origins that a request for these models alone may name as well: the host serves them in their place.
    pub replaced: BTreeMap<ModelName, AllowedOrigins>,
    /// The models that the host itself serves, for requests that name no endpoint where there is no
    /// default one.
    pub models: BTreeSet<ModelName>,
    /// How generations reach an engine when the routing does not say.
    pub execution_default: Execution,
    /// The model when a request does not say.
    pub model_default: Option<ModelName>,
    /// Which plugins a request gets that names none, before the defaults.
    pub routing: Routing,
    /// The strategy when neither a request nor the routing says.
    pub strategy_default: PluginChoice,
    /// The scorer when neither a request nor the routing says.
    pub scorer_default: PluginChoice,
    /// The timeout when a request does not say.
    pub timeout_default: Duration,
    /// The longest timeout that a request may ask for.
    pub timeout_max: Duration,
    /// The retries when a request does not say.
    pub retries_default: u32,
    /// The most retries that a request may ask for.
    pub retries_max: u32,
}

/// One rule that one field of a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the API names it, with a path inside it where it has one.
    pub field: String,
    /// The rule and the value that broke it, as a sentence.
    pub rule: String,
}

impl Violation {
    /// A violation.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

/// Why a draft is no request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break rules; every one is listed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// The operator does not allow the endpoint.
    #[error(
        "the endpoint `{0}` is not allowed on this host; its operator can add the origin to `inference.allowed_endpoints`"
    )]
    EndpointNotAllowed(Endpoint),
    /// The request names no endpoint and the host has no default.
    #[error("no model server is configured; set `inference.endpoint`, or name one in the request")]
    NoEndpoint,
}
