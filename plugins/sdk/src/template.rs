//! Prompts from Jinja templates.
//!
//! A template sees:
//!
//! | name | printed | members |
//! |---|---|---|
//! | `task` | the description | `id`, `description`, `role`, `model`, `metadata` |
//! | `role` | the agent's role, or the task's where the agent has none | |
//! | `agent` | the agent's id; undefined where no agent speaks | `id`, `role`, `model` |
//! | `metadata` | | the keys that the operator lets into prompts |
//!
//! and what the plugin adds with [`Scope::set`]. Printing what is not defined is an error, so that
//! a misspelt name does not silently leave a hole in a prompt; asking whether it is
//! (`{% if metadata.topic %}`) is none. Nothing is escaped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

use crate::error::Error;
use crate::types::{Agent, Task};

/// What a template can name.
#[derive(Debug, Clone)]
pub struct Scope {
    values: BTreeMap<String, Value>,
}

impl Scope {
    /// The names that every template has: `task`, `role` and `metadata`.
    #[must_use]
    pub fn new(task: &Task) -> Self {
        let metadata: BTreeMap<String, String> = task.metadata.iter().cloned().collect();
        let metadata = Value::from(Serde(metadata));
        let named = Named {
            printed: task.description.clone(),
            members: [
                ("id", Value::from(task.id.as_str())),
                ("description", Value::from(task.description.as_str())),
                ("role", Value::from(task.role.as_str())),
                ("model", Value::from(task.model.as_str())),
                ("metadata", metadata.clone()),
            ]
            .into(),
        };
        let values = [
            ("task", Value::from_object(named)),
            ("role", Value::from(task.role.as_str())),
            ("metadata", metadata),
        ];
        Self {
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    /// Adds the agent that speaks: `agent`, and its role as `role`.
    #[must_use]
    pub fn agent(mut self, agent: &Agent) -> Self {
        let named = Named {
            printed: agent.id.clone(),
            members: [
                ("id", Value::from(agent.id.as_str())),
                ("role", Value::from(agent.role.as_str())),
                ("model", Value::from(agent.model.as_str())),
            ]
            .into(),
        };
        self.values
            .insert("agent".to_owned(), Value::from_object(named));
        if !agent.role.is_empty() {
            self.values
                .insert("role".to_owned(), Value::from(agent.role.as_str()));
        }
        self
    }

    /// Adds a name of the plugin's own.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Serialize) -> Self {
        self.values
            .insert(name.to_owned(), Value::from(Serde(value)));
        self
    }

    /// Renders a template.
    ///
    /// # Errors
    ///
    /// Names the line of the template and what is wrong in it.
    pub fn render(&self, template: &str) -> Result<String, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment
            .render_str(template, &self.values)
            .map_err(|error| describe(&error, template))
    }

    /// Renders the agent's own template, or the default where it has none.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::render`], with the agent's id before them.
    pub fn prompt(&self, agent: &Agent, default: &str) -> Result<String, Error> {
        match &agent.prompt_template {
            Some(template) => self.render(template).map_err(|error| {
                error.context(format_args!("prompt template of agent `{}`", agent.id))
            }),
            None => self.render(default),
        }
    }
}

/// The prompt of an agent: its own template, or the default, over the task and the agent.
///
/// # Errors
///
/// Those of [`Scope::prompt`].
pub fn prompt(task: &Task, agent: &Agent, default: &str) -> Result<String, Error> {
    Scope::new(task).agent(agent).prompt(agent, default)
}

fn describe(error: &minijinja::Error, template: &str) -> Error {
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let Some(number) = error.line() else {
        return Error::new(what);
    };
    let line = template.lines().nth(number - 1).unwrap_or_default().trim();
    Error::new(format_args!(
        "line {number} of the template, `{line}`: {what}"
    ))
}

/// A value that prints as one text and has members.
#[derive(Debug)]
struct Named {
    printed: String,
    members: BTreeMap<&'static str, Value>,
}

impl Object for Named {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.members.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.printed.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut task = crate::testing::task("What is 2 + 2?", &["ada"]);
        task.metadata = vec![("topic".to_owned(), "sums".to_owned())];
        task.agents[0].role = "DEV".to_owned();
        let agent = task.agents[0].clone();
        Scope::new(&task).agent(&agent)
    }

    fn rendered(template: &str) -> String {
        scope().render(template).unwrap()
    }

    #[test]
    fn the_task_and_the_agent_print_as_texts_and_have_members() {
        assert_eq!(rendered("{{ task }}"), "What is 2 + 2?");
        assert_eq!(rendered("{{ task.description }}"), "What is 2 + 2?");
        assert_eq!(rendered("{{ task.id }}"), "task");
        assert_eq!(rendered("{{ agent }} {{ agent.role }}"), "ada DEV");
        assert_eq!(rendered("{{ task | upper }}"), "WHAT IS 2 + 2?");
        assert_eq!(rendered("{{ role }}"), "DEV");
        assert_eq!(rendered("{{ metadata.topic }}"), "sums");
    }

    #[test]
    fn nothing_is_escaped() {
        assert_eq!(
            scope().set("x", "a < b").render("{{ x }}").unwrap(),
            "a < b"
        );
    }

    #[test]
    fn printing_what_is_undefined_fails_and_asking_for_it_does_not() {
        assert_eq!(rendered("{% if metadata.other %}x{% endif %}"), "");
        assert_eq!(rendered("{{ metadata.other | default('-') }}"), "-");
        let error = scope().render("first\n{{ metadata.other }}").unwrap_err();
        assert_eq!(
            error.message(),
            "line 2 of the template, `{{ metadata.other }}`: undefined value"
        );
    }

    #[test]
    fn an_agent_s_own_template_comes_before_the_default() {
        let mut task = crate::testing::task("?", &["ada"]);
        assert_eq!(
            prompt(&task, &task.agents[0], "default").unwrap(),
            "default"
        );
        task.agents[0].prompt_template = Some("{{ nobody }}".to_owned());
        let error = prompt(&task, &task.agents[0], "default").unwrap_err();
        assert_eq!(
            error.message(),
            "prompt template of agent `ada`: line 1 of the template, `{{ nobody }}`: undefined value"
        );
    }
}
