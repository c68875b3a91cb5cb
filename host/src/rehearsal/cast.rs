//! Who plays: the component that is rehearsed, and a stand-in for the other part.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use conclave_core::entry::{Entry, Record};
use conclave_core::ids::{AgentId, Seq};
use conclave_core::outcome::{Candidate, Proposal, Ranked, Score as Grade};
use conclave_core::plugin::PluginRef;
use conclave_core::runtime::{Error, PluginTask, Runtime};
use conclave_core::session::Guest;

use crate::wasm::Solo;

/// The part of the strategy.
#[derive(Clone, Debug)]
pub enum Lead {
    /// A component.
    Component(Solo),
    /// Puts these candidates forward, and ranks them by their grades.
    Grading(Vec<Candidate>),
}

/// The part of the scorer.
#[derive(Clone, Debug)]
pub enum Score {
    /// A component.
    Component(Solo),
    /// Grades that are known beforehand.
    Grades(Grades),
    /// What a scorer answered in a record.
    Recorded(Arc<RecordedScores>),
}

/// Grades that are known beforehand; a candidate without one gets 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Grades {
    /// By the candidate's place in the call; the last stands for all that follow.
    ByPlace(Vec<f64>),
    /// By the candidate's agent.
    ByAgent(BTreeMap<String, f64>),
}

impl Grades {
    /// The first candidate is the best, and each that follows is worse.
    #[must_use]
    pub fn falling() -> Self {
        Self::ByPlace(vec![0.9, 0.8, 0.7, 0.6, 0.5])
    }

    fn of(&self, place: usize, candidate: &Candidate) -> f64 {
        match self {
            Self::ByPlace(grades) => {
                let grade = grades.get(place).or(grades.last());
                grade.copied().unwrap_or_default()
            }
            Self::ByAgent(grades) => {
                let grade = grades.get(candidate.agent.as_str());
                grade.copied().unwrap_or_default()
            }
        }
    }
}

const NOT_GRADED: &str = "these candidates were not graded in the record";

/// What was graded: each candidate's agent and content.
type Graded = Vec<(AgentId, String)>;

/// The grades of a record, by what was graded.
#[derive(Debug)]
pub struct RecordedScores {
    by_candidates: BTreeMap<Graded, Result<Vec<Grade>, String>>,
    /// Who grades what the record does not know.
    otherwise: Option<Solo>,
}

impl RecordedScores {
    /// The grades in a journal; `otherwise` grades what it does not know.
    #[must_use]
    pub fn new(records: &[Record], otherwise: Option<Solo>) -> Self {
        let mut by_candidates = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for record in records {
            match &record.entry {
                Entry::Scoring {
                    scorer, candidates, ..
                } => {
                    asked.insert(*scorer, key(candidates));
                }
                Entry::Scored { scorer, result, .. } => {
                    if let Some(key) = asked.remove(scorer) {
                        let result = result.clone().map_err(|failure| failure.to_string());
                        by_candidates.insert(key, result);
                    }
                }
                _ => {}
            }
        }
        Self {
            by_candidates,
            otherwise,
        }
    }

    fn of(&self, candidates: &[Candidate]) -> Option<Result<Vec<Grade>, String>> {
        self.by_candidates.get(&key(candidates)).cloned()
    }
}

/// What candidates are graded by.
fn key(candidates: &[Candidate]) -> Graded {
    let parts = |one: &Candidate| (one.agent.clone(), one.content.clone());
    candidates.iter().map(parts).collect()
}

/// Both parts.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) strategy: Lead,
    pub(super) scorer: Score,
    /// The entry of its journal that the strategy had not come to when it ended.
    pub(super) ended_before: Arc<OnceLock<Seq>>,
}

#[async_trait]
impl Runtime for Cast {
    async fn deliberate(
        &self,
        _strategy: &PluginRef,
        task: PluginTask,
        guest: Guest,
    ) -> Result<Proposal, Error> {
        match &self.strategy {
            Lead::Component(solo) => {
                let ended = solo.deliberate(task, guest.clone()).await;
                // Who was stopped might have come to it.
                let by_itself = !matches!(ended, Err(Error::Stopped));
                if let Some(awaited) = guest.awaited().filter(|_| by_itself) {
                    let _ = self.ended_before.set(awaited);
                }
                ended
            }
            Lead::Grading(candidates) => grade(candidates.clone(), &guest).await,
        }
    }

    async fn evaluate(
        &self,
        _scorer: &PluginRef,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Grade>, Error> {
        let grades = match &self.scorer {
            Score::Component(solo) => return solo.evaluate(task, candidates, guest).await,
            Score::Recorded(recorded) => {
                return match (recorded.of(&candidates), &recorded.otherwise) {
                    (Some(result), _) => result.map_err(Error::Refused),
                    (None, Some(solo)) => solo.evaluate(task, candidates, guest).await,
                    (None, None) => Err(Error::Refused(NOT_GRADED.to_owned())),
                };
            }
            Score::Grades(grades) => grades,
        };
        let places = candidates.iter().enumerate();
        let grade = |(place, candidate)| Grade {
            value: grades.of(place, candidate),
            confidence: None,
            rationale: None,
        };
        Ok(places.map(grade).collect())
    }
}

/// The strategy that only grades.
async fn grade(candidates: Vec<Candidate>, guest: &Guest) -> Result<Proposal, Error> {
    let scored = guest.score(candidates.clone()).await;
    let scores = scored.map_err(|_| Error::Stopped)?;
    let scores = scores.map_err(|failure| Error::Refused(failure.to_string()))?;
    let pairs = candidates.into_iter().zip(scores);
    let mut ranked: Vec<_> = pairs
        .map(|(candidate, score)| Ranked { candidate, score })
        .collect();
    ranked.sort_by(|left, right| right.score.value.total_cmp(&left.score.value));
    Ok(Proposal {
        ranked,
        reasoning: "the best grade".to_owned(),
        rounds: 1,
        stopped_early: false,
        metadata: BTreeMap::new(),
    })
}
