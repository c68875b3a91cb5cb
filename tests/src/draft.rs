//! Requests, as short as tests want to write them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::pb;

/// A sound request with an agent for each model: `a`, `b`, `c` and so on.
#[must_use]
pub fn draft(models: &[&str]) -> pb::Deliberation {
    let ids = ('a'..='z').map(String::from);
    let agents = ids.zip(models).map(|(id, model)| pb::Agent {
        id,
        role: "DEV".to_owned(),
        model: (*model).to_owned(),
        ..pb::Agent::default()
    });
    pb::Deliberation {
        task: Some(pb::Task {
            id: "task-1".to_owned(),
            description: "Is 7 prime?".to_owned(),
            agents: agents.collect(),
            model: "answer:the task's model".to_owned(),
            ..pb::Task::default()
        }),
        ..pb::Deliberation::default()
    }
}

/// As [`draft`], for a vote in which every sample counts: what is asked for does not depend on
/// answers.
#[must_use]
pub fn vote(models: &[&str]) -> pb::Deliberation {
    draft(models)
        .strategy("sample-vote", json!({"stop": {"rule": "none"}}))
        .scorer("agreement", json!({}))
}

/// Changes to a request.
pub trait Change: Sized {
    /// With this strategy and its params.
    #[must_use]
    fn strategy(self, name: &str, params: Value) -> Self;
    /// With this scorer and its params.
    #[must_use]
    fn scorer(self, name: &str, params: Value) -> Self;
    /// With this time from acceptance to the deadline.
    #[must_use]
    fn timeout(self, timeout: Duration) -> Self;
    /// With so many retries.
    #[must_use]
    fn retries(self, retries_max: i32) -> Self;
    /// With a change to its task.
    #[must_use]
    fn task(self, change: impl FnOnce(&mut pb::Task)) -> Self;
}

impl Change for pb::Deliberation {
    fn strategy(mut self, name: &str, params: Value) -> Self {
        self.strategy = Some(selection(name, &params));
        self
    }

    fn scorer(mut self, name: &str, params: Value) -> Self {
        self.scorer = Some(selection(name, &params));
        self
    }

    fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = prost_types::Duration::try_from(timeout).ok();
        self
    }

    fn retries(mut self, retries_max: i32) -> Self {
        self.max_retries = Some(retries_max);
        self
    }

    fn task(mut self, change: impl FnOnce(&mut pb::Task)) -> Self {
        change(self.task.get_or_insert_default());
        self
    }
}

fn selection(name: &str, params: &Value) -> pb::PluginSelection {
    pb::PluginSelection {
        name: name.to_owned(),
        params_json: params.to_string(),
        ..pb::PluginSelection::default()
    }
}
