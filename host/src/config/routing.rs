//! `[[routing]]`: which plugins a request gets that names no strategy.

use std::collections::BTreeMap;

use conclave_core::execution::Execution;
use conclave_core::plugin::{Kind, Plugin, PluginChoice};
use conclave_core::routing::{Routed, Routing, Rule};
use conclave_core::task_type::TaskType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::domain::choice;

/// `[[routing]]`: what a request must be like, and which plugins it gets then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingRule {
    /// Requests of this type only: `TASK_EXTRACTION` (`metadata.task_type` says so, or the task's id
    /// ends in `:task-extraction`), `BACKLOG_REVIEW_ROLE` (`metadata.task_type` says so, or the id is
    /// `ceremony-…:story-…:role-…`), or `OTHER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub task_type: Option<TaskType>,
    /// Requests for this role only, without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The strategy; `NAME`, `NAME@VERSION` or `NAME@sha256:DIGEST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// The scorer, where the request names none either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<String>,
    /// How the generations reach an engine: `direct`, `pool` or `job`; see `inference.execution`. It
    /// holds for requests that name their plugins, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub execution: Option<Execution>,
    /// Requests that have all of these labels only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The params of `strategy`, where the request has none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub strategy_params: Map<String, Value>,
    /// The params of `scorer`, where the request has none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub scorer_params: Map<String, Value>,
}

/// A plugin that the settings name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedPlugin {
    /// Which kind it must be.
    pub kind: Kind,
    /// The setting, for example `routing[0].strategy`.
    pub key: String,
    /// Which plugin.
    pub choice: PluginChoice,
    /// What it is run with.
    pub params: Value,
}

impl NamedPlugin {
    /// What is wrong with the params, by the plugin's own schema.
    #[must_use]
    pub fn violations(&self, plugin: &Plugin) -> Vec<String> {
        let field = format!("{}_params", self.key);
        let violations = plugin.params.violations(&field, &self.params);
        violations.iter().map(ToString::to_string).collect()
    }
}

/// The rules of an operator who has none: task extraction has a strategy of its own, and backlog
/// reviews are deliberated like anything else.
pub(super) fn built_in() -> Vec<RoutingRule> {
    vec![
        RoutingRule {
            task_type: Some(TaskType::TaskExtraction),
            strategy: Some("task-extraction".to_owned()),
            ..RoutingRule::default()
        },
        RoutingRule {
            task_type: Some(TaskType::BacklogReviewRole),
            ..RoutingRule::default()
        },
    ]
}

/// The rules as the core follows them.
pub(super) fn of(rules: &[RoutingRule]) -> Routing {
    let routed = |name: &Option<String>, params: &Map<String, Value>| {
        name.as_ref().map(|name| Routed {
            choice: choice(name),
            params: Value::Object(params.clone()),
        })
    };
    let rules = rules.iter().map(|rule| Rule {
        task_type: rule.task_type,
        role: rule.role.clone(),
        labels: rule.labels.clone(),
        strategy: routed(&rule.strategy, &rule.strategy_params),
        scorer: routed(&rule.scorer, &rule.scorer_params),
        execution: rule.execution,
    });
    Routing::new(rules.collect())
}

/// The plugins that the rules name.
pub(super) fn named(rules: &[RoutingRule]) -> impl Iterator<Item = NamedPlugin> {
    rules.iter().enumerate().flat_map(|(at, rule)| {
        let named = |kind, field, name: &Option<String>, params: &Map<String, Value>| {
            name.as_ref().map(|name| NamedPlugin {
                kind,
                key: format!("routing[{at}].{field}"),
                choice: choice(name),
                params: Value::Object(params.clone()),
            })
        };
        let strategy = named(
            Kind::Strategy,
            "strategy",
            &rule.strategy,
            &rule.strategy_params,
        );
        let scorer = named(Kind::Scorer, "scorer", &rule.scorer, &rule.scorer_params);
        strategy.into_iter().chain(scorer)
    })
}

#[cfg(test)]
mod tests {
    use conclave_core::endpoint::Endpoint;
    use conclave_core::ids::ModelName;
    use conclave_core::request::{AgentDraft, Draft};
    use serde_json::json;

    use super::super::settings::Config;
    use super::*;

    fn rules(toml: &str) -> Vec<RoutingRule> {
        toml::from_str::<Config>(toml).unwrap().routing
    }

    #[test]
    fn the_built_in_rules_give_task_extraction_its_strategy() {
        let mut policy = Config::default().terms().policy;
        policy.model_default = Some(ModelName::new("m"));
        policy.endpoint_default = Endpoint::parse("http://h").ok();
        let strategy = |task_id: &str| {
            let draft = Draft {
                task_id: task_id.to_owned(),
                description: "?".to_owned(),
                agents: vec![AgentDraft {
                    id: "a".to_owned(),
                    ..AgentDraft::default()
                }],
                ..Draft::default()
            };
            let request = draft.parse(&policy).unwrap();
            assert_eq!(request.scorer.name, "agreement");
            request.strategy.name
        };
        assert_eq!(strategy("t:task-extraction"), "task-extraction");
        assert_eq!(strategy("ceremony-1:story-2:role-QA"), "sample-vote");
        assert_eq!(strategy("t"), "sample-vote");
    }

    #[test]
    fn own_rules_replace_the_built_in_ones_and_name_their_plugins() {
        let rules = rules(
            r#"
            [[routing]]
            role = "ARCHITECT"
            labels = { team = "platform" }
            strategy = "critique-revise@1.0.0"
            strategy_params = { rounds = 2 }
            scorer = "judge"
            [[routing]]
            task_type = "OTHER"
        "#,
        );
        assert_eq!(rules.len(), 2);
        let named: Vec<_> = named(&rules).collect();
        let keys: Vec<_> = named.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["routing[0].strategy", "routing[0].scorer"]);
        assert_eq!(named[0].choice.version.as_deref(), Some("1.0.0"));
        assert_eq!(named[0].params, json!({"rounds": 2}));
        assert!(
            toml::from_str::<Config>("routing = []")
                .unwrap()
                .routing
                .is_empty()
        );
        assert!(toml::from_str::<Config>("[[routing]]\ntask_type = \"REVIEW\"").is_err());
        assert!(toml::from_str::<Config>("[[routing]]\ntype = \"OTHER\"").is_err());
    }
}
