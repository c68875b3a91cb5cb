//! A whole host on fakes: what a test of the core, or of an adapter's edge, submits to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::account::ReadAccount;
use crate::channel::Asking;
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::entry::Record;
use crate::follow::FollowDeliberation;
use crate::generation::{GenerationRequest, Message, MessageRole, Sampling};
use crate::ids::{AgentId, DeliberationId, Digest};
use crate::inference::Inference;
use crate::inspect::InspectPlugins;
use crate::limits::Limits;
use crate::listing::ListDeliberations;
use crate::live::Live;
use crate::observer::Observers;
use crate::params::ParamsSchema;
use crate::plugin::{
    self, Assigned, Catalogue, Descriptor, Kind, Listed, Plugin, PluginChoice, PluginRef, Plugins,
    Source, near_names,
};
use crate::request::{AgentDraft, Draft, Policy};
use crate::retry::Retry;
use crate::run::RunDeliberation;
use crate::runtime::Runtime;
use crate::session::Ports;
use crate::slots::InFlight;
use crate::span::SessionSpans;
use crate::submit::{Submission, SubmitDeliberation, Terms};
use crate::tasks::Tasks;
use crate::testkit::journal::MemoryJournal;

/// A host on a journal in memory. Another one on a clone of the journal is the same host after a
/// restart.
#[derive(Debug)]
pub struct Host {
    /// What it keeps.
    pub journal: MemoryJournal,
    /// Accepts.
    pub submit: SubmitDeliberation,
    /// Runs.
    pub run: Arc<RunDeliberation>,
    /// Reads.
    pub follow: FollowDeliberation,
    /// Lists.
    pub list: ListDeliberations,
    /// Reads what the journal holds of each generation.
    pub accounts: ReadAccount,
    /// Shows its plugins.
    pub plugins: InspectPlugins,
    /// Its tasks.
    pub tasks: Tasks,
}

impl Host {
    /// A host with these parts; it resumes what the journal holds.
    ///
    /// # Panics
    /// When the journal cannot be read.
    pub async fn start(
        journal: &MemoryJournal,
        inference: Arc<dyn Inference>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        let host = Self::idle(journal, inference, runtime, terms());
        let unfinished = host
            .run
            .unfinished()
            .await
            .expect("the journal is readable");
        host.run.resume(unfinished).await;
        host
    }

    /// A host that has not looked at its journal.
    #[must_use]
    pub fn idle(
        journal: &MemoryJournal,
        inference: Arc<dyn Inference>,
        runtime: Arc<dyn Runtime>,
        terms: Terms,
    ) -> Self {
        Self::observed(journal, inference, runtime, terms, Observers::default())
    }

    /// As [`Host::idle`], with observers of its journal.
    #[must_use]
    pub fn observed(
        journal: &MemoryJournal,
        inference: Arc<dyn Inference>,
        runtime: Arc<dyn Runtime>,
        terms: Terms,
        observers: Observers,
    ) -> Self {
        let tasks = Tasks::default();
        let clock = Clock::system();
        let port = Arc::new(journal.clone());
        let ports = Ports {
            journal: port.clone(),
            inference,
            runtime,
            clock: clock.clone(),
            tasks: tasks.clone(),
            observers,
            spans: SessionSpans::default(),
            retry: Retry::default(),
            in_flight: InFlight::new(1024),
        };
        let live = Live::default();
        let run = RunDeliberation::new(ports, live.clone(), 1024);
        let plugins = Arc::new(FixedPlugins::default());
        Self {
            journal: journal.clone(),
            plugins: InspectPlugins::new(
                plugins.clone(),
                plugins.clone(),
                terms.policy.strategy_default.clone(),
                terms.policy.scorer_default.clone(),
            ),
            submit: SubmitDeliberation::new(port.clone(), plugins, Arc::clone(&run), clock, terms),
            list: ListDeliberations::new(port.clone(), port.clone()),
            accounts: ReadAccount::new(port.clone()),
            follow: FollowDeliberation::new(port.clone(), port, live),
            run,
            tasks,
        }
    }

    /// Submits [`draft`] after a change to it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn accept(&self, change: impl FnOnce(&mut Draft)) -> DeliberationId {
        let mut draft = draft();
        change(&mut draft);
        let submission = Submission {
            draft,
            ..Submission::default()
        };
        let receipt = self.submit.submit(submission).await;
        receipt.expect("the draft is sound").id
    }

    /// The records of a deliberation up to now.
    #[must_use]
    pub fn records(&self, id: &DeliberationId) -> Vec<Record> {
        self.journal.records(id)
    }
}

/// A sound request of three agents.
#[must_use]
pub fn draft() -> Draft {
    let agent = |id: &str| AgentDraft {
        id: id.to_owned(),
        role: "DEV".to_owned(),
        ..AgentDraft::default()
    };
    Draft {
        task_id: "task-1".to_owned(),
        description: "Is 7 prime?".to_owned(),
        role: "DEV".to_owned(),
        agents: vec![agent("a"), agent("b"), agent("c")],
        model: "model-1".to_owned(),
        ..Draft::default()
    }
}

/// Terms with a default endpoint, under which [`draft`] is sound.
#[must_use]
pub fn terms() -> Terms {
    Terms {
        policy: Policy {
            models: std::collections::BTreeSet::new(),
            replaced: std::collections::BTreeMap::new(),
            execution_default: crate::execution::Execution::Direct,
            endpoint_default: Endpoint::parse("http://127.0.0.1:8000").ok(),
            allowed: crate::endpoint::AllowedOrigins::default(),
            model_default: None,
            routing: crate::routing::Routing::default(),
            strategy_default: PluginChoice::named("scripted"),
            scorer_default: PluginChoice::named("scripted"),
            timeout_default: Duration::from_secs(300),
            timeout_max: Duration::from_secs(1800),
            retries_default: 3,
            retries_max: 10,
        },
        metadata_allowed: vec!["language".to_owned()],
        limits: Limits::default(),
    }
}

/// A short prompt of an agent.
#[must_use]
pub fn prompt(agent: &str, text: &str) -> GenerationRequest {
    GenerationRequest {
        agent: AgentId::new(agent),
        phase: "answer".to_owned(),
        round: 0,
        messages: vec![Message {
            role: MessageRole::User,
            content: text.to_owned(),
        }],
        sampling: Sampling::default(),
        priority: None,
        deadline_ms: None,
    }
}

/// Knows a strategy and a scorer named `scripted`; both take a `count` of at least 1.
#[derive(Debug)]
pub struct FixedPlugins {
    known: BTreeMap<&'static str, [Arc<Plugin>; 2]>,
}

impl Default for FixedPlugins {
    fn default() -> Self {
        let pair = [Kind::Strategy, Kind::Scorer].map(|kind| Arc::new(scripted(kind)));
        Self {
            known: BTreeMap::from([("scripted", pair)]),
        }
    }
}

fn scripted(kind: Kind) -> Plugin {
    let schema =
        r#"{"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}"#;
    let name = "scripted".to_owned();
    let version = "1.0.0".to_owned();
    Plugin {
        reference: PluginRef {
            name: name.clone(),
            version: version.clone(),
            digest: Digest::of(kind.to_string().as_bytes()),
        },
        kind,
        descriptor: Descriptor {
            name,
            version,
            summary: "Does what a test says.".to_owned(),
            params_schema: schema.to_owned(),
        },
        params: ParamsSchema::parse(schema).expect("the schema is sound"),
    }
}

#[async_trait]
impl Catalogue for FixedPlugins {
    async fn listed(&self) -> Vec<Listed> {
        let listed = |plugin: &Arc<Plugin>| Listed {
            plugin: Arc::clone(plugin),
            contract: "0.1".to_owned(),
            source: Source::BuiltIn,
            bytes: 7,
            added_at_ms: 0,
            added_by: String::new(),
            signed_by: None,
        };
        self.known.values().flatten().map(listed).collect()
    }
}

#[async_trait]
impl Plugins for FixedPlugins {
    async fn resolve(
        &self,
        kind: Kind,
        choice: &PluginChoice,
    ) -> Result<Arc<Plugin>, plugin::Error> {
        let found = self.known.get(choice.name.as_str());
        let fits = |plugin: &&Arc<Plugin>| {
            let version = choice.version.as_ref();
            plugin.kind == kind
                && version.is_none_or(|version| *version == plugin.reference.version)
        };
        let found = found.and_then(|plugins| plugins.iter().find(fits));
        found.cloned().ok_or_else(|| plugin::Error::NotFound {
            kind,
            choice: choice.to_string(),
            near: near_names(&choice.name, self.known.keys().copied()),
        })
    }

    async fn assign(
        &self,
        kind: Kind,
        choice: &PluginChoice,
        _asking: &Asking<'_>,
    ) -> Result<Assigned, plugin::Error> {
        let plugin = self.resolve(kind, choice).await?;
        Ok(Assigned { plugin, draw: None })
    }
}
