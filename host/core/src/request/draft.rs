//! A request as it came in, and how a request is made of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::entry::digest_of;
use crate::execution::Execution;
use crate::ids::{Digest, ModelName};
use crate::plugin::PluginChoice;
use crate::priority::Priority;

use super::check::{Check, bounds};
use super::{Agent, DeliberationRequest, Error, Policy, Task};

/// An agent as it came in.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AgentDraft {
    /// Must be unique and not empty.
    pub id: String,
    /// May be empty.
    pub role: String,
    /// Empty means the deliberation's model.
    pub model: String,
    /// Empty means the plugin's own prompt.
    pub prompt_template: String,
}

/// A request as it came in: nothing of it is trusted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Draft {
    /// The client's id of the task.
    pub task_id: String,
    /// The question.
    pub description: String,
    /// The role that the answer is for.
    pub role: String,
    /// Who deliberates.
    pub agents: Vec<AgentDraft>,
    /// Empty means the host's default model.
    pub model: String,
    /// Where the models are served; empty means the host's default endpoint.
    pub endpoint: String,
    /// The client's metadata.
    pub metadata: BTreeMap<String, String>,
    /// `None` means the host's default.
    pub timeout: Option<Duration>,
    /// `None` means the host's default.
    pub retries_max: Option<u32>,
    /// `None` means the host's default.
    pub strategy: Option<PluginChoice>,
    /// JSON text; empty means `{}`.
    pub strategy_params: String,
    /// `None` means the host's default.
    pub scorer: Option<PluginChoice>,
    /// JSON text; empty means `{}`.
    pub scorer_params: String,
    /// The client's own labels.
    pub labels: BTreeMap<String, String>,
    /// 0 (last) to 9 (first); `None` means the middle. A draft without it has the fingerprint that it
    /// had before there were priorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// How its generations reach an engine; the operator's routing says it, and no client.
    #[serde(skip)]
    pub execution: Option<Execution>,
    /// What the client calls the cause of its request.
    #[serde(skip)]
    pub correlation_id: Option<String>,
}

impl Draft {
    /// What two submits of one request share, whatever the host's defaults are at the time of each.
    /// The correlation id is no part of it: a proxy may set another one for each call.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        digest_of(self)
    }

    /// Checks the draft against the contract and the operator's policy.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation, or why the endpoint cannot be used.
    pub fn parse(mut self, policy: &Policy) -> Result<DeliberationRequest, Error> {
        policy.routing.apply(&mut self);
        let mut check = Check::default();
        check.text("task.id", &self.task_id, 1, bounds::ID_CHARS);
        check.not_blank("task.description", &self.description);
        check.bytes(
            "task.description",
            &self.description,
            bounds::DESCRIPTION_BYTES,
        );
        check.text("task.role", &self.role, 0, bounds::NAME_CHARS);
        check.map("task.metadata", &self.metadata);
        check.map("labels", &self.labels);
        let correlation_id = self.correlation_id.as_deref().unwrap_or_default();
        check.text("correlation_id", correlation_id, 0, bounds::ID_CHARS);
        let timeout = self.timeout.unwrap_or(policy.timeout_default);
        if timeout.is_zero() || timeout > policy.timeout_max {
            let rule = format!(
                "is {} s, it must be above 0 and at most {} s",
                timeout.as_secs_f64(),
                policy.timeout_max.as_secs()
            );
            check.violate("timeout", rule);
        }
        let retries_max = self.retries_max.unwrap_or(policy.retries_default);
        if retries_max > policy.retries_max {
            check.violate(
                "max_retries",
                format!(
                    "is {retries_max}, at most {} are allowed",
                    policy.retries_max
                ),
            );
        }
        let priority = self
            .priority
            .map_or(Some(Priority::default()), Priority::new);
        if priority.is_none() {
            let asked = self.priority.unwrap_or_default();
            check.violate(
                "priority",
                format!(
                    "is {asked}, it must be 0 (last) to {} (first)",
                    Priority::MAX
                ),
            );
        }
        let model = match policy.model_default.clone() {
            _ if !self.model.is_empty() => Some(ModelName::new(self.model.clone())),
            default => default,
        };
        check.text("model", &self.model, 0, bounds::NAME_CHARS);
        if model.is_none() && self.agents.iter().any(|agent| agent.model.is_empty()) {
            check.violate(
                "model",
                "is empty, and the host has no default model (`inference.model`)".to_owned(),
            );
        }
        // A judge or another generation of no agent falls back on the first agent's model.
        let first_of_agents =
            || ModelName::new(self.agents.first().map_or("", |agent| &agent.model));
        let model = model.unwrap_or_else(first_of_agents);
        let agents = check.agents(self.agents, &model);
        let strategy = self
            .strategy
            .unwrap_or_else(|| policy.strategy_default.clone());
        check.choice("strategy", &strategy);
        let scorer = self.scorer.unwrap_or_else(|| policy.scorer_default.clone());
        check.choice("scorer", &scorer);
        let strategy_params = check.params("strategy_params", &self.strategy_params);
        let scorer_params = check.params("scorer_params", &self.scorer_params);
        let endpoint = check.endpoint(&self.endpoint);
        let served = self.endpoint.is_empty() && policy.endpoint_default.is_none();
        if served && !policy.models.is_empty() {
            check.served(&agents, &model, &policy.models);
        }
        if !check.violations.is_empty() {
            return Err(Error::Invalid(check.violations));
        }
        let endpoint = permitted(endpoint, &agents, policy)?;
        Ok(DeliberationRequest {
            task: Task {
                id: self.task_id,
                description: self.description,
                role: self.role,
                agents,
                model,
                metadata: self.metadata,
            },
            endpoint,
            execution: self.execution.unwrap_or(policy.execution_default),
            timeout,
            retries_max,
            strategy,
            strategy_params,
            scorer,
            scorer_params,
            labels: self.labels,
            correlation_id: self.correlation_id,
            priority: priority.unwrap_or_default(),
        })
    }
}

/// Where the request's models are served; `None` where the host itself serves them. The agents' models count: a
/// generation of another one fails where the endpoint is only in place of theirs.
fn permitted(
    endpoint: Option<Endpoint>,
    agents: &[Agent],
    policy: &Policy,
) -> Result<Option<Endpoint>, Error> {
    let default = policy.endpoint_default.as_ref();
    let Some(endpoint) = endpoint else {
        return match default {
            None if policy.models.is_empty() => Err(Error::NoEndpoint),
            default => Ok(default.cloned()),
        };
    };
    let is_default = default.is_some_and(|default| default.origin() == endpoint.origin());
    let is_replaced = || {
        let mut models = agents.iter().map(|agent| policy.replaced.get(&agent.model));
        models.all(|replaced| replaced.is_some_and(|origins| origins.permits(&endpoint)))
    };
    if !is_default && !policy.allowed.permits(&endpoint) && !is_replaced() {
        return Err(Error::EndpointNotAllowed(endpoint));
    }
    Ok(Some(endpoint))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::endpoint::AllowedOrigins;
    use crate::routing::Routing;

    fn policy() -> Policy {
        Policy {
            endpoint_default: None,
            allowed: AllowedOrigins::new(&[Endpoint::parse("http://127.0.0.1:8000").unwrap()]),
            models: BTreeSet::new(),
            replaced: BTreeMap::new(),
            execution_default: Execution::Direct,
            model_default: None,
            routing: Routing::default(),
            strategy_default: PluginChoice::named("sample-vote"),
            scorer_default: PluginChoice::named("agreement"),
            timeout_default: Duration::from_secs(300),
            timeout_max: Duration::from_secs(1800),
            retries_default: 3,
            retries_max: 10,
        }
    }

    fn draft() -> Draft {
        Draft {
            task_id: "t-1".into(),
            description: "Is 7 prime?".into(),
            agents: vec![AgentDraft {
                id: "a".into(),
                ..AgentDraft::default()
            }],
            model: "m".into(),
            endpoint: "http://127.0.0.1:8000/v1".into(),
            ..Draft::default()
        }
    }

    fn violated(change: impl FnOnce(&mut Draft)) -> Vec<String> {
        let mut draft = draft();
        change(&mut draft);
        match draft.parse(&policy()) {
            Err(Error::Invalid(violations)) => violations
                .into_iter()
                .map(|violation| violation.field)
                .collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn a_sound_draft_is_filled_with_defaults() {
        let request = draft().parse(&policy()).unwrap();
        assert_eq!(request.timeout, Duration::from_secs(300));
        assert_eq!(request.retries_max, 3);
        assert_eq!(request.task.agents[0].model, ModelName::new("m"));
        assert_eq!(request.strategy_params, serde_json::json!({}));
    }

    #[test]
    fn a_draft_without_a_priority_has_the_fingerprint_of_older_builds() {
        let json = serde_json::to_string(&draft()).unwrap();
        assert!(!json.contains("priority"), "{json}");
        let mut first = draft();
        first.priority = Some(9);
        assert_ne!(first.fingerprint(), draft().fingerprint());
        assert_eq!(first.parse(&policy()).unwrap().priority.get(), 9);
        assert_eq!(draft().parse(&policy()).unwrap().priority.get(), 4);
    }

    #[test]
    fn each_invalid_field_is_named() {
        assert_eq!(violated(|d| d.task_id.clear()), ["task.id"]);
        assert_eq!(
            violated(|d| d.description = " \n".into()),
            ["task.description"]
        );
        assert_eq!(
            violated(|d| d.description = "x".repeat(2 << 20)),
            ["task.description"]
        );
        assert_eq!(violated(|d| d.role = "a\0b".into()), ["task.role"]);
        assert_eq!(violated(|d| d.agents.clear()), ["agents"]);
        assert_eq!(violated(|d| d.agents[0].id.clear()), ["agents[0].id"]);
        assert_eq!(
            violated(|d| d.agents.push(d.agents[0].clone())),
            ["agents[1].id"]
        );
        assert_eq!(
            violated(|d| d.agents[0].prompt_template = "{{ task".into()),
            ["agents[0].prompt_template"]
        );
        assert_eq!(violated(|d| d.model.clear()), ["model"]);
        assert_eq!(violated(|d| d.endpoint = "ftp://h".into()), ["endpoint"]);
        assert_eq!(violated(|d| d.timeout = Some(Duration::ZERO)), ["timeout"]);
        assert_eq!(
            violated(|d| d.timeout = Some(Duration::from_secs(1801))),
            ["timeout"]
        );
        assert_eq!(violated(|d| d.retries_max = Some(11)), ["max_retries"]);
        assert_eq!(violated(|d| d.priority = Some(10)), ["priority"]);
        assert_eq!(
            violated(|d| d.strategy_params = "[]".into()),
            ["strategy_params"]
        );
        assert_eq!(
            violated(|d| d.scorer_params = "{".into()),
            ["scorer_params"]
        );
        assert_eq!(
            violated(|d| {
                d.labels.insert(String::new(), String::new());
            }),
            ["labels key"]
        );
    }

    #[test]
    fn an_endpoint_that_is_not_listed_is_refused() {
        let mut other = draft();
        other.endpoint = "http://169.254.169.254".into();
        assert!(matches!(
            other.parse(&policy()),
            Err(Error::EndpointNotAllowed(_))
        ));
        let mut none = draft();
        none.endpoint.clear();
        assert!(matches!(none.parse(&policy()), Err(Error::NoEndpoint)));
    }

    #[test]
    fn an_endpoint_that_models_replace_is_for_these_models_alone() {
        let mut policy = policy();
        let replaced = AllowedOrigins::new(&[Endpoint::parse("http://vllm:8000").unwrap()]);
        policy.replaced = BTreeMap::from([(ModelName::new("m"), replaced)]);
        let mut draft = draft();
        draft.endpoint = "http://vllm:8000/v1".into();
        assert!(draft.clone().parse(&policy).is_ok());
        draft.agents.push(AgentDraft {
            id: "b".into(),
            model: "n".into(),
            ..AgentDraft::default()
        });
        assert!(matches!(
            draft.parse(&policy),
            Err(Error::EndpointNotAllowed(_))
        ));
    }

    #[test]
    fn a_request_without_an_endpoint_gets_the_hosts_own_servers_if_they_have_its_models() {
        let mut policy = policy();
        policy.models = BTreeSet::from([ModelName::new("m"), ModelName::new("n")]);
        policy.execution_default = Execution::Pool;
        let mut draft = draft();
        draft.endpoint.clear();
        let request = draft.clone().parse(&policy).unwrap();
        assert_eq!(
            (request.endpoint, request.execution),
            (None, Execution::Pool)
        );
        draft.agents[0].model = "o".into();
        let Err(Error::Invalid(violations)) = draft.parse(&policy) else {
            unreachable!("nobody serves the agent's model");
        };
        assert_eq!(
            violations[0].to_string(),
            "agents[0].model: is `o`, and without an endpoint it must be one that the host serves: m, n"
        );
    }
}
