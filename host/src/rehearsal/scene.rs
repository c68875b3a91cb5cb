//! The deliberation of a rehearsal: its first record, always the same for the same task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conclave_core::endpoint::{AllowedOrigins, Endpoint};
use conclave_core::entry::{Accepted, Entry, Record, SEMANTICS_VERSION};
use conclave_core::execution::Execution;
use conclave_core::ids::{DeliberationId, Digest, Seq, Tenant};
use conclave_core::limits::Limits;
use conclave_core::plugin::{PluginChoice, PluginRef};
use conclave_core::request::{self, AgentDraft, Draft, Policy};
use conclave_core::routing::Routing;

/// 2026-01-01T00:00:00Z.
const ACCEPTED_AT_MS: u64 = 1_767_225_600_000;

/// What is deliberated, by whom, and within which limits.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The request; what it leaves open is filled in.
    pub draft: Draft,
    /// What it may use.
    pub limits: Limits,
    /// The strategy, as the journal names it.
    pub strategy: PluginRef,
    /// The scorer, as the journal names it.
    pub scorer: PluginRef,
}

impl Scene {
    /// A question for so many agents, `agent-1` and so on.
    #[must_use]
    pub fn of_agents(count: usize) -> Self {
        let agents = (1..=count).map(|number| AgentDraft {
            id: format!("agent-{number}"),
            role: "DEV".to_owned(),
            ..AgentDraft::default()
        });
        let draft = Draft {
            task_id: "rehearsal".to_owned(),
            description: "What is six times seven? Answer with the number.".to_owned(),
            role: "DEV".to_owned(),
            agents: agents.collect(),
            ..Draft::default()
        };
        Self {
            draft,
            limits: Limits::default(),
            strategy: stand_in("strategy"),
            scorer: stand_in("scorer"),
        }
    }

    /// The first record of its journal.
    ///
    /// # Errors
    /// When the draft breaks rules of a request.
    pub fn accepted(&self) -> Result<Record, request::Error> {
        let metadata_allowed = self.draft.metadata.keys().cloned().collect();
        let request = self.draft.clone().parse(&scene_policy())?;
        let accepted = Accepted {
            id: DeliberationId::new("deliberation-rehearsal"),
            request,
            strategy: self.strategy.clone(),
            scorer: self.scorer.clone(),
            strategy_draw: None,
            scorer_draw: None,
            metadata_allowed,
            limits: self.limits,
            seed: 7,
            accepted_at_ms: ACCEPTED_AT_MS,
            semantics: SEMANTICS_VERSION,
            tenant: Tenant::default(),
            traceparent: None,
            tracestate: None,
        };
        Ok(Record {
            seq: Seq(1),
            at_ms: 0,
            entry: Entry::Accepted(Box::new(accepted)),
        })
    }
}

/// The plugin that stands in for a part.
fn stand_in(part: &str) -> PluginRef {
    PluginRef {
        name: format!("any-{part}"),
        version: "0.0.0".to_owned(),
        digest: Digest::of(part.as_bytes()),
    }
}

/// What a rehearsal's request gets that leaves something open. No model server is ever called.
#[must_use]
pub fn scene_policy() -> Policy {
    Policy {
        models: BTreeSet::new(),
        replaced: BTreeMap::new(),
        execution_default: Execution::Direct,
        endpoint_default: Endpoint::parse("http://rehearsal.invalid").ok(),
        allowed: AllowedOrigins::default(),
        model_default: Some(conclave_core::ids::ModelName::new("rehearsal")),
        routing: Routing::default(),
        strategy_default: PluginChoice::named("any-strategy"),
        scorer_default: PluginChoice::named("any-scorer"),
        timeout_default: Duration::from_secs(3_600),
        timeout_max: Duration::from_secs(86_400),
        // A failure is the end of a generation: what it takes to get there is not the plugin's.
        retries_default: 0,
        retries_max: 10,
    }
}
