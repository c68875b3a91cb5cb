//! A fake of the [`Runtime`] port that runs plugins written as Rust closures, natively.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::outcome::{Candidate, Proposal, Ranked, Score};
use crate::plugin::PluginRef;
use crate::runtime::{Error, PluginTask, Runtime};
use crate::session::{Guest, Stopped};

type Strategy =
    dyn Fn(PluginTask, Guest) -> BoxFuture<'static, Result<Proposal, Error>> + Send + Sync;
type Scorer = dyn Fn(PluginTask, Vec<Candidate>, Guest) -> BoxFuture<'static, Result<Vec<Score>, Error>>
    + Send
    + Sync;

/// Runs one strategy and one scorer, whatever a session is pinned to.
#[derive(Clone)]
pub struct ScriptedRuntime {
    strategy: Arc<Strategy>,
    scorer: Arc<Scorer>,
}

impl ScriptedRuntime {
    /// Runs this strategy, and a scorer that gives every candidate 0.5.
    pub fn new<F>(strategy: impl Fn(PluginTask, Guest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Proposal, Error>> + Send + 'static,
    {
        Self {
            strategy: Arc::new(move |task, guest| Box::pin(strategy(task, guest))),
            scorer: Arc::new(|_, candidates, _| {
                Box::pin(async move { Ok(candidates.iter().map(|_| score(0.5)).collect()) })
            }),
        }
    }

    /// Runs this scorer instead.
    #[must_use]
    pub fn with_scorer<F>(
        mut self,
        scorer: impl Fn(PluginTask, Vec<Candidate>, Guest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<Score>, Error>> + Send + 'static,
    {
        self.scorer =
            Arc::new(move |task, candidates, guest| Box::pin(scorer(task, candidates, guest)));
        self
    }
}

#[async_trait]
impl Runtime for ScriptedRuntime {
    async fn deliberate(
        &self,
        _strategy: &PluginRef,
        task: PluginTask,
        guest: Guest,
    ) -> Result<Proposal, Error> {
        (self.strategy)(task, guest).await
    }

    async fn evaluate(
        &self,
        _scorer: &PluginRef,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Score>, Error> {
        (self.scorer)(task, candidates, guest).await
    }
}

impl fmt::Debug for ScriptedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedRuntime").finish_non_exhaustive()
    }
}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// A grade without confidence or rationale.
#[must_use]
pub fn score(value: f64) -> Score {
    Score {
        value,
        confidence: None,
        rationale: None,
    }
}

/// A proposal with these candidates, each with its grade, best first.
#[must_use]
pub fn proposal(candidates: Vec<Candidate>, scores: Vec<Score>) -> Proposal {
    let pairs = candidates.into_iter().zip(scores);
    let mut ranked: Vec<_> = pairs
        .map(|(candidate, score)| Ranked { candidate, score })
        .collect();
    ranked.sort_by(|left, right| right.score.value.total_cmp(&left.score.value));
    Proposal {
        ranked,
        reasoning: "the highest score".to_owned(),
        rounds: 1,
        stopped_early: false,
        metadata: std::collections::BTreeMap::new(),
    }
}
