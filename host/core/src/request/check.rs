//! The checks that a draft must pass: each violation is collected, so that one refusal names them all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::ids::{AgentId, ModelName};
use crate::plugin::PluginChoice;

use super::draft::AgentDraft;
use super::{Agent, Violation};

/// Bounds on what a request may hold. A prompt of a megabyte is already past every model's context.
pub(super) mod bounds {
    pub(in crate::request) const ID_CHARS: usize = 256;
    pub(in crate::request) const AGENT_ID_CHARS: usize = 128;
    pub(in crate::request) const NAME_CHARS: usize = 256;
    pub(in crate::request) const DESCRIPTION_BYTES: usize = 1 << 20;
    pub(in crate::request) const TEMPLATE_BYTES: usize = 64 << 10;
    pub(in crate::request) const PARAMS_BYTES: usize = 256 << 10;
    /// A journal entry that holds the params is itself read by a parser that stops at 128.
    pub(in crate::request) const PARAMS_DEPTH: usize = 64;
    pub(in crate::request) const AGENTS: usize = 64;
    pub(in crate::request) const MAP_ENTRIES: usize = 64;
    pub(in crate::request) const MAP_VALUE_BYTES: usize = 16 << 10;
}

/// Collects violations.
#[derive(Default)]
pub(super) struct Check {
    pub(super) violations: Vec<Violation>,
}

impl Check {
    pub(super) fn violate(&mut self, field: impl Into<String>, rule: String) {
        self.violations.push(Violation::new(field, rule));
    }

    pub(super) fn text(&mut self, field: &str, value: &str, chars_min: usize, chars_max: usize) {
        let count = value.chars().count();
        if count < chars_min {
            self.violate(field, "must not be empty".to_owned());
        }
        if count > chars_max {
            self.violate(
                field,
                format!("has {count} characters, at most {chars_max} are allowed"),
            );
        }
        if value.chars().any(char::is_control) {
            self.violate(field, format!("{value:?} holds a control character"));
        }
    }

    pub(super) fn not_blank(&mut self, field: &str, value: &str) {
        if value.trim().is_empty() {
            self.violate(field, "must not be empty".to_owned());
        }
    }

    pub(super) fn bytes(&mut self, field: &str, value: &str, bytes_max: usize) {
        let bytes = value.len();
        if bytes > bytes_max {
            self.violate(
                field,
                format!("has {bytes} bytes, at most {bytes_max} are allowed"),
            );
        }
    }

    pub(super) fn map(&mut self, field: &str, map: &BTreeMap<String, String>) {
        let count = map.len();
        if count > bounds::MAP_ENTRIES {
            let max = bounds::MAP_ENTRIES;
            self.violate(
                field,
                format!("has {count} entries, at most {max} are allowed"),
            );
        }
        for (key, value) in map {
            self.text(&format!("{field} key"), key, 1, bounds::NAME_CHARS);
            self.bytes(&format!("{field}[{key}]"), value, bounds::MAP_VALUE_BYTES);
        }
    }

    pub(super) fn choice(&mut self, field: &str, choice: &PluginChoice) {
        self.text(
            &format!("{field}.name"),
            &choice.name,
            1,
            bounds::NAME_CHARS,
        );
        let version = choice.version.as_deref().unwrap_or_default();
        self.text(&format!("{field}.version"), version, 0, bounds::NAME_CHARS);
    }

    pub(super) fn params(&mut self, field: &str, json: &str) -> Value {
        self.bytes(field, json, bounds::PARAMS_BYTES);
        if json.trim().is_empty() {
            return Value::Object(serde_json::Map::default());
        }
        match serde_json::from_str(json) {
            Ok(params) if depth(&params) > bounds::PARAMS_DEPTH => {
                let max = bounds::PARAMS_DEPTH;
                self.violate(
                    field,
                    format!(
                        "is nested {} levels deep, at most {max} are allowed",
                        depth(&params)
                    ),
                );
                Value::Null
            }
            Ok(params @ Value::Object(_)) => params,
            Ok(other) => {
                self.violate(field, format!("is `{other}`, it must be a JSON object"));
                Value::Null
            }
            Err(error) => {
                self.violate(field, format!("is not JSON: {error}"));
                Value::Null
            }
        }
    }

    pub(super) fn endpoint(&mut self, text: &str) -> Option<Endpoint> {
        if text.is_empty() {
            return None;
        }
        Endpoint::parse(text)
            .map_err(|error| self.violate("endpoint", error.to_string()))
            .ok()
    }

    /// Checks that the host itself serves what is asked for.
    pub(super) fn served(
        &mut self,
        agents: &[Agent],
        model: &ModelName,
        served: &BTreeSet<ModelName>,
    ) {
        let of_agents = agents.iter().enumerate();
        let of_agents = of_agents.map(|(at, agent)| (format!("agents[{at}].model"), &agent.model));
        let all = of_agents.chain([("model".to_owned(), model)]);
        for (field, model) in all.filter(|(_, model)| !served.contains(*model)) {
            let names: Vec<_> = served.iter().map(ModelName::as_str).collect();
            let rule = format!(
                "is `{model}`, and without an endpoint it must be one that the host serves: {}",
                names.join(", ")
            );
            self.violate(&field, rule);
        }
    }

    pub(super) fn agents(&mut self, drafts: Vec<AgentDraft>, model: &ModelName) -> Vec<Agent> {
        if drafts.is_empty() {
            self.violate("agents", "At least one agent is required".to_owned());
        }
        let count = drafts.len();
        if count > bounds::AGENTS {
            self.violate(
                "agents",
                format!("has {count} agents, at most {} are allowed", bounds::AGENTS),
            );
        }
        let mut ids = BTreeSet::new();
        let mut agents = Vec::with_capacity(count);
        for (at, draft) in drafts.into_iter().enumerate() {
            let field = |name: &str| format!("agents[{at}].{name}");
            self.text(&field("id"), &draft.id, 1, bounds::AGENT_ID_CHARS);
            if !ids.insert(draft.id.clone()) {
                self.violate(
                    field("id"),
                    format!("`{}` stands twice, ids must be unique", draft.id),
                );
            }
            self.text(&field("role"), &draft.role, 0, bounds::NAME_CHARS);
            self.text(&field("model"), &draft.model, 0, bounds::NAME_CHARS);
            self.bytes(
                &field("prompt_template"),
                &draft.prompt_template,
                bounds::TEMPLATE_BYTES,
            );
            if let Err(error) = template_parses(&draft.prompt_template) {
                self.violate(
                    field("prompt_template"),
                    format!("does not parse as Jinja: {error}"),
                );
            }
            agents.push(Agent {
                id: AgentId::new(draft.id),
                role: draft.role,
                model: match draft.model {
                    own if own.is_empty() => model.clone(),
                    own => ModelName::new(own),
                },
                prompt_template: Some(draft.prompt_template).filter(|text| !text.is_empty()),
            });
        }
        agents
    }
}

/// Levels of arrays and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn template_parses(template: &str) -> Result<(), minijinja::Error> {
    minijinja::Environment::new()
        .template_from_str(template)
        .map(drop)
}
