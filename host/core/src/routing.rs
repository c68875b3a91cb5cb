//! Which plugins a request gets that names none, by what it says of itself.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::execution::Execution;
use crate::plugin::PluginChoice;
use crate::request::Draft;
use crate::task_type::TaskType;

/// The operator's rules, in order: the first that matches a request decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing(Vec<Rule>);

/// A rule: what a request must be like, and what it gets then. Whatever it does not name stays the
/// host's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Requests of this type only.
    pub task_type: Option<TaskType>,
    /// Requests for this role only, without regard to case.
    pub role: Option<String>,
    /// Requests that have all of these labels only.
    pub labels: BTreeMap<String, String>,
    /// The strategy.
    pub strategy: Option<Routed>,
    /// The scorer.
    pub scorer: Option<Routed>,
    /// How the generations reach an engine, whichever plugins the request names.
    pub execution: Option<Execution>,
}

/// A plugin that a rule chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// Which one.
    pub choice: PluginChoice,
    /// The params of requests that have none, a JSON object.
    pub params: Value,
}

impl Routing {
    /// These rules, in order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Names the plugins of a request that names none, by the first rule that matches it. What the
    /// request itself names stays, params too.
    pub(crate) fn apply(&self, draft: &mut Draft) {
        let Some(rule) = self.0.iter().find(|rule| rule.matches(draft)) else {
            return;
        };
        draft.execution = rule.execution;
        // A rule is about a strategy and the scorer that goes with it: whoever chooses a strategy
        // gets no half of another choice.
        if draft.strategy.is_some() {
            return;
        }
        fill(
            &rule.strategy,
            &mut draft.strategy,
            &mut draft.strategy_params,
        );
        if draft.scorer.is_none() {
            fill(&rule.scorer, &mut draft.scorer, &mut draft.scorer_params);
        }
    }
}

fn fill(routed: &Option<Routed>, choice: &mut Option<PluginChoice>, params: &mut String) {
    let Some(routed) = routed else { return };
    *choice = Some(routed.choice.clone());
    if params.is_empty() {
        *params = routed.params.to_string();
    }
}

impl Rule {
    fn matches(&self, draft: &Draft) -> bool {
        let task_type = || TaskType::of(&draft.task_id, &draft.metadata);
        let role = |role: &String| role.eq_ignore_ascii_case(draft.role.trim());
        self.task_type.is_none_or(|wanted| wanted == task_type())
            && self.role.as_ref().is_none_or(role)
            && self
                .labels
                .iter()
                .all(|(key, value)| draft.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routed(name: &str) -> Option<Routed> {
        Some(Routed {
            choice: PluginChoice::named(name),
            params: json!({"of": "the rule"}),
        })
    }

    fn routing() -> Routing {
        let label = ("team".to_owned(), "platform".to_owned());
        Routing::new(vec![
            Rule {
                role: Some("qa".to_owned()),
                labels: BTreeMap::from([label]),
                strategy: routed("for-qa"),
                scorer: routed("scorer-for-qa"),
                ..Rule::default()
            },
            Rule {
                task_type: Some(TaskType::TaskExtraction),
                strategy: routed("for-extraction"),
                ..Rule::default()
            },
            Rule {
                task_type: Some(TaskType::TaskExtraction),
                strategy: routed("never"),
                ..Rule::default()
            },
        ])
    }

    /// Strategy, its params and scorer after routing; empty where the rules leave it to the host.
    fn chosen(change: impl FnOnce(&mut Draft)) -> (String, String, String) {
        let mut draft = Draft {
            task_id: "t-1:task-extraction".to_owned(),
            ..Draft::default()
        };
        change(&mut draft);
        routing().apply(&mut draft);
        let name = |choice: Option<PluginChoice>| choice.map_or_else(String::new, |one| one.name);
        (
            name(draft.strategy),
            draft.strategy_params,
            name(draft.scorer),
        )
    }

    const OF_THE_RULE: &str = r#"{"of":"the rule"}"#;

    fn is(chosen: &(String, String, String), strategy: &str, params: &str, scorer: &str) {
        let (found, found_params, found_scorer) = chosen;
        assert_eq!(
            (found.as_str(), found_params.as_str(), found_scorer.as_str()),
            (strategy, params, scorer)
        );
    }

    #[test]
    fn the_first_rule_that_matches_in_all_it_says_decides() {
        is(&chosen(|_| ()), "for-extraction", OF_THE_RULE, "");
        is(
            &chosen(|draft| draft.task_id = "t-1".to_owned()),
            "",
            "",
            "",
        );
        // Its role alone is not enough, nor is its label.
        is(
            &chosen(|draft| draft.role = "QA".to_owned()),
            "for-extraction",
            OF_THE_RULE,
            "",
        );
        let both = chosen(|draft| {
            draft.role = "QA".to_owned();
            draft.labels = BTreeMap::from([("team".to_owned(), "platform".to_owned())]);
        });
        is(&both, "for-qa", OF_THE_RULE, "scorer-for-qa");
    }

    #[test]
    fn a_rule_decides_the_execution_even_where_the_request_names_its_plugins() {
        let routing = Routing::new(vec![Rule {
            role: Some("batch".to_owned()),
            execution: Some(Execution::Job),
            ..Rule::default()
        }]);
        let execution = |role: &str| {
            let mut draft = Draft {
                role: role.to_owned(),
                strategy: Some(PluginChoice::named("own")),
                ..Draft::default()
            };
            routing.apply(&mut draft);
            draft.execution
        };
        assert_eq!(execution("batch"), Some(Execution::Job));
        assert_eq!(execution("other"), None);
    }

    #[test]
    fn what_the_request_names_stays() {
        let own = Some(PluginChoice::named("own"));
        is(&chosen(|draft| draft.strategy = own.clone()), "own", "", "");
        is(
            &chosen(|draft| draft.strategy_params = "{}".to_owned()),
            "for-extraction",
            "{}",
            "",
        );
        let with_scorer = chosen(|draft| {
            draft.role = "QA".to_owned();
            draft.labels = BTreeMap::from([("team".to_owned(), "platform".to_owned())]);
            draft.scorer = own;
        });
        is(&with_scorer, "for-qa", OF_THE_RULE, "own");
    }
}
