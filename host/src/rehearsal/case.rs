//! A case of `conclave plugin test`: a readable file that says what is asked, what the model server
//! answers, and what must come of it.

mod expect;
mod file;
mod rules;
mod short;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conclave_core::outcome::Candidate;
use conclave_core::plugin::Kind;
use serde_json::Value;

use super::scene::Scene;
use super::{Grades, Lead, Play, Played, Score, play, record, replay};
use crate::wasm::{Checked, Solo};

use self::file::CaseFile;
use self::rules::Rules;

/// Why a case cannot be run. What a run should have been and was not is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no case.
    #[error("`{path}` is no case: {message}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// With line and key, where they are known.
        message: String,
    },
}

/// A case that can be run.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without `.toml`.
    pub name: String,
    path: PathBuf,
    file: CaseFile,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What differs from what was expected; empty when the case passes.
    pub problems: Vec<String>,
    /// The run, for whoever wants to look.
    pub played: Played,
}

/// Finds a scorer that a case names.
pub trait Scorers: Send + Sync {
    /// The bytes of a scorer of the host's own, by name.
    fn built_in(&self, name: &str) -> Option<Vec<u8>>;
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// When the file cannot be read, or is none; an unknown key is named with its line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let name = path.file_stem().unwrap_or_default();
        Self::parse(&text, &name.to_string_lossy(), path)
    }

    fn parse(text: &str, name: &str, path: &Path) -> Result<Self, Error> {
        let file: CaseFile = toml::from_str(text).map_err(|error| Error::Invalid {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let case = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            file,
        };
        match case.file.contradiction() {
            Some(message) => Err(case.invalid(message)),
            None => Ok(case),
        }
    }

    /// The params of the plugin.
    #[must_use]
    pub fn params(&self) -> Value {
        Value::Object(self.file.params.clone())
    }

    fn invalid(&self, message: impl Into<String>) -> Error {
        Error::Invalid {
            path: self.path.clone(),
            message: message.into(),
        }
    }

    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }

    fn read_beside(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let path = self.beside(path);
        std::fs::read(&path).map_err(|source| Error::Unreadable { path, source })
    }

    /// Runs the case with a plugin.
    ///
    /// # Errors
    /// When something that it names cannot be used.
    pub async fn run(
        &self,
        solo: &Solo,
        checked: &Checked,
        engine: &crate::wasm::Engine,
        scorers: &dyn Scorers,
    ) -> Result<Ran, Error> {
        match &self.file.record {
            Some(path) => self.run_record(path, solo, checked).await,
            None => self.run_script(solo, checked, engine, scorers).await,
        }
    }

    async fn run_script(
        &self,
        solo: &Solo,
        checked: &Checked,
        engine: &crate::wasm::Engine,
        scorers: &dyn Scorers,
    ) -> Result<Ran, Error> {
        let violations = checked.plugin.params.violations("params", &self.params());
        if let Some(first) = violations.first() {
            return Err(self.invalid(format!("the plugin does not accept its params: {first}")));
        }
        let scene = self.scene(checked);
        let accepted = scene
            .accepted()
            .map_err(|error| self.invalid(error.to_string()))?;
        let rules = Arc::new(Rules::new(self.file.generation.clone()));
        let (strategy, scorer) = match checked.plugin.kind {
            Kind::Strategy => {
                let scorer = self.scorer(engine, scorers).await?;
                (Lead::Component(solo.clone()), scorer)
            }
            Kind::Scorer => {
                let lead = Lead::Grading(self.candidates()?);
                (lead, Score::Component(solo.clone()))
            }
        };
        let played = play(Play {
            records: vec![accepted],
            strategy,
            scorer,
            answers: rules.clone(),
            cancel_at_ms: self.file.cancel_at_ms,
        });
        let played = played
            .await
            .map_err(|error| self.invalid(error.to_string()))?;
        let mut problems = rules.unmatched();
        problems.extend(self.file.expect.problems(&played));
        Ok(Ran { problems, played })
    }

    fn scene(&self, checked: &Checked) -> Scene {
        let task = &self.file.task;
        let mut scene = Scene::of_agents(0);
        let draft = &mut scene.draft;
        draft.task_id = task.id.clone();
        draft.description = task.description.clone();
        draft.role = task.role.clone();
        draft.agents = task.drafts();
        draft.metadata = task.metadata.clone();
        draft.timeout = task.timeout_seconds.map(Duration::from_secs);
        let limits = &mut scene.limits;
        let given = &self.file.limits;
        limits.generations_max = given.generations_max.unwrap_or(limits.generations_max);
        limits.open_generations_max = given
            .open_generations_max
            .unwrap_or(limits.open_generations_max);
        let params = self.params().to_string();
        match checked.plugin.kind {
            Kind::Strategy => {
                scene.strategy = checked.plugin.reference.clone();
                draft.strategy_params = params;
                let of_scorer = self.file.scorer.params.clone();
                draft.scorer_params = Value::Object(of_scorer).to_string();
            }
            Kind::Scorer => {
                scene.scorer = checked.plugin.reference.clone();
                draft.scorer_params = params;
            }
        }
        scene
    }

    fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let candidates = &self.file.candidates;
        if candidates.is_empty() {
            let message = "a scorer needs `candidates = [\"…\"]` to grade";
            return Err(self.invalid(message));
        }
        Ok((1..).zip(candidates).map(|(at, one)| one.of(at)).collect())
    }

    async fn scorer(
        &self,
        engine: &crate::wasm::Engine,
        scorers: &dyn Scorers,
    ) -> Result<Score, Error> {
        let given = &self.file.scorer;
        if !given.scores.is_empty() {
            return Ok(Score::Grades(Grades::ByPlace(given.scores.clone())));
        }
        if !given.by_agent.is_empty() {
            return Ok(Score::Grades(Grades::ByAgent(given.by_agent.clone())));
        }
        let name = &given.name;
        let bytes = match &given.component {
            Some(component) => self.read_beside(component)?,
            None => scorers.built_in(name).ok_or_else(|| {
                self.invalid(format!("scorer: there is no built-in scorer `{name}`"))
            })?,
        };
        let refused = |reason: String| self.invalid(format!("scorer: {reason}"));
        let solo = engine.solo(bytes.into()).await;
        let solo = solo.map_err(|refusal| refused(refusal.to_string()))?;
        if solo.kind() != Kind::Scorer {
            return Err(refused("it is a strategy".to_owned()));
        }
        Ok(Score::Component(solo))
    }

    /// Runs the plugin on what was recorded.
    async fn run_record(&self, path: &Path, solo: &Solo, checked: &Checked) -> Result<Ran, Error> {
        let bytes = self.read_beside(path)?;
        let records = record::read(&bytes);
        let records = records.map_err(|error| {
            let path = self.beside(path);
            self.invalid(format!("`{}` is no record: {error}", path.display()))
        })?;
        let unplayable = |error: super::Unplayable| self.invalid(error.to_string());
        let reference = checked.plugin.reference.clone();
        let mut problems = Vec::new();
        let wants_outcome = self.file.expect.wants_outcome();
        if self.file.expect.divergence.is_some() || !wants_outcome {
            let replayed = replay::again(&records, solo, &reference).await;
            let replayed = replayed.map_err(unplayable)?;
            let expected = self.file.expect.divergence.unwrap_or(false);
            match &replayed.divergence {
                Some(divergence) if !expected => problems.push(divergence.clone()),
                None if expected => {
                    problems.push("expected a divergence from the record, got none".to_owned());
                }
                _ => {}
            }
            if !wants_outcome {
                return Ok(Ran {
                    problems,
                    played: replayed.played,
                });
            }
        }
        let anew = replay::anew(&records, solo, &reference, None);
        let anew = anew.await.map_err(unplayable)?;
        problems.extend(anew.unrecorded);
        problems.extend(self.file.expect.problems(&anew.played));
        Ok(Ran {
            problems,
            played: anew.played,
        })
    }
}

/// What a table of TOML is as JSON.
type Table = serde_json::Map<String, Value>;
/// Text by text.
type Texts = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
