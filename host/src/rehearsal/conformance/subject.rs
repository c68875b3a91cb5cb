//! The plugin that a suite is about, in the deliberations that it is put into.

use std::sync::Arc;

use conclave_core::entry::Record;
use conclave_core::outcome::Candidate;
use conclave_core::plugin::{Kind, PluginRef};
use conclave_core::request;
use serde_json::Value;

use crate::rehearsal::canned::candidates;
use crate::rehearsal::{Answers, Grades, Lead, Play, Played, Scene, Score, play};
use crate::wasm::{Checked, Solo};

/// A component, with params that it accepts.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(super) solo: Solo,
    kind: Kind,
    reference: PluginRef,
    params: Value,
}

/// Params that the plugin does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plugin does not accept the params {params}: {violation}")]
pub struct Unsuitable {
    /// The params.
    pub params: String,
    /// The first rule that they break.
    pub violation: String,
}

/// One deliberation for it: what differs from the usual one.
pub(super) struct Trial {
    pub(super) scene: Scene,
    pub(super) candidates: Vec<Candidate>,
    pub(super) cancel_at_ms: Option<u64>,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            scene: Scene::of_agents(3),
            candidates: candidates(),
            cancel_at_ms: None,
        }
    }
}

impl Subject {
    /// A plugin that was checked.
    ///
    /// # Errors
    /// When its schema does not accept the params.
    pub fn new(solo: Solo, checked: &Checked, params: Value) -> Result<Self, Unsuitable> {
        let violations = checked.plugin.params.violations("params", &params);
        if let Some(first) = violations.first() {
            return Err(Unsuitable {
                params: params.to_string(),
                violation: first.to_string(),
            });
        }
        Ok(Self {
            kind: solo.kind(),
            solo,
            reference: checked.plugin.reference.clone(),
            params,
        })
    }

    /// Which kind of plugin it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The first record of a trial.
    pub(super) fn accepted(&self, trial: &Trial) -> Result<Record, request::Error> {
        let mut scene = trial.scene.clone();
        let params = self.params.to_string();
        match self.kind {
            Kind::Strategy => {
                scene.strategy = self.reference.clone();
                scene.draft.strategy_params = params;
            }
            Kind::Scorer => {
                scene.scorer = self.reference.clone();
                scene.draft.scorer_params = params;
            }
        }
        scene.accepted()
    }

    /// Runs a trial from its start, or from behind the records that it has already.
    pub(super) async fn run(
        &self,
        trial: &Trial,
        behind: Vec<Record>,
        answers: Arc<dyn Answers>,
    ) -> Result<Played, String> {
        let records = match behind.is_empty() {
            true => vec![self.accepted(trial).map_err(|error| error.to_string())?],
            false => behind,
        };
        let component = self.solo.clone();
        let (strategy, scorer) = match self.kind {
            Kind::Strategy => {
                let grades = Score::Grades(Grades::falling());
                (Lead::Component(component), grades)
            }
            Kind::Scorer => {
                let lead = Lead::Grading(trial.candidates.clone());
                (lead, Score::Component(component))
            }
        };
        let played = play(Play {
            records,
            strategy,
            scorer,
            answers,
            cancel_at_ms: trial.cancel_at_ms,
        });
        played.await.map_err(|error| error.to_string())
    }
}
