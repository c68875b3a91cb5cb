//! How a strategy has its candidates graded: the scorer runs as an actor of its own.

use std::sync::Arc;

use crate::entry::Entry;
use crate::generation::Failure;
use crate::ids::Actor;
use crate::live::lock;
use crate::outcome::{Candidate, Cause, CauseKind, Score, clipped};
use crate::plugin::Kind;
use crate::runtime;

use super::guest::Guest;
use super::{State, Stopped};

impl Guest {
    /// Grades candidates with the deliberation's scorer.
    ///
    /// # Errors
    /// [`Stopped`], also when the scorer trapped or broke its contract: the session fails then, naming
    /// the scorer. Inside, the scorer's own error.
    pub async fn score(
        &self,
        candidates: Vec<Candidate>,
    ) -> Result<Result<Vec<Score>, Failure>, Stopped> {
        if candidates.is_empty() {
            return Ok(Err(Failure::Rejected(
                "candidates is empty, there must be at least one".to_owned(),
            )));
        }
        let scorer = {
            let state = &mut *lock(&self.session.state);
            state.check_open()?;
            self.end_wave(state);
            state.score_calls += 1;
            let scorer = Actor(state.score_calls);
            let entry = Entry::Scoring {
                actor: self.actor,
                scorer,
                candidates: candidates.clone(),
            };
            self.announce(state, entry)?;
            if let Some(result) = self.recorded_scores(state, scorer)? {
                return Ok(result);
            }
            self.catch_up(state);
            let now_ms = self.state_of(state).now_ms;
            self.session.begin(state, scorer, now_ms);
            scorer
        };
        let session = &self.session;
        let count = candidates.len();
        let task = session.task(session.accepted.request.scorer_params.to_string());
        let guest = Self::new(Arc::clone(session), scorer);
        let runtime = &session.ports.runtime;
        let result = runtime
            .evaluate(&session.accepted.scorer, task, candidates, guest)
            .await;
        self.end_of_scoring(scorer, count, result)
    }

    /// The grades that the journal holds for this call. The scorer need not run again then.
    fn recorded_scores(
        &self,
        state: &mut State,
        scorer: Actor,
    ) -> Result<Option<Result<Vec<Score>, Failure>>, Stopped> {
        let Some(front) = self.state_of(state).script.front().cloned() else {
            return Ok(None);
        };
        match &front.entry {
            Entry::Scored {
                scorer: recorded,
                result,
                ..
            } if *recorded == scorer => {
                self.announce(state, front.entry.clone())?;
                // The numbers of the generations that the scorer asked for stay used.
                let last = state.history.last_job_of(scorer);
                state.last_job = state.last_job.max(last.unwrap_or_default());
                self.catch_up(state);
                Ok(Some(result.clone()))
            }
            _ => Err(self.diverge(state, &front, &format!("answer score call {scorer}"))),
        }
    }

    fn end_of_scoring(
        &self,
        scorer: Actor,
        count: usize,
        result: Result<Vec<Score>, runtime::Error>,
    ) -> Result<Result<Vec<Score>, Failure>, Stopped> {
        let who = self.session.who(scorer);
        let returned = matches!(result, Ok(_) | Err(runtime::Error::Refused(_)));
        let blame = returned.then(|| self.session.left_over(scorer));
        let state = &mut *lock(&self.session.state);
        state.check_open()?;
        if let Some(cause) = blame.flatten() {
            return Err(self.blame(state, cause));
        }
        for (job, run) in state.jobs.close(Some(scorer)) {
            self.session.abandon(job, run);
        }
        let result = match result {
            Ok(scores) => match broken_rule(&scores, count) {
                None => Ok(scores),
                Some(rule) => {
                    let message = format!("{who} broke its contract: {rule}");
                    let cause = Cause::new(CauseKind::PluginInvalid, message);
                    return Err(self.blame(state, cause.by(Kind::Scorer)));
                }
            },
            Err(runtime::Error::Refused(text)) => {
                Err(Failure::Rejected(clipped(format!("{who}: {text}"))))
            }
            Err(runtime::Error::Stopped) => return Err(Stopped),
            Err(error) => {
                let cause = error.cause(&who).by(Kind::Scorer);
                return Err(self.blame(state, cause));
            }
        };
        let entry = Entry::Scored {
            actor: self.actor,
            scorer,
            result: result.clone(),
        };
        self.announce(state, entry)?;
        Ok(result)
    }
}

fn broken_rule(scores: &[Score], count: usize) -> Option<String> {
    if scores.len() != count {
        return Some(format!(
            "it returned {} scores for {count} candidates",
            scores.len()
        ));
    }
    scores.iter().find_map(Score::broken_rule)
}
