//! The model server of a record: it knows what was asked for there, word for word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conclave_core::entry::{Entry, Record, digest_of};
use conclave_core::generation::{Failure, Generation, GenerationRequest};
use conclave_core::ids::{Digest, JobId};

use super::answers::{Answer, Answers, Failing, What};

/// The generations of a record, by what was asked for.
#[derive(Debug)]
pub(super) struct Recorded {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_request: BTreeMap<Digest, VecDeque<Ended>>,
    unrecorded: Vec<String>,
}

#[derive(Clone, Debug)]
struct Ended {
    after: Duration,
    result: Result<Generation, Failure>,
}

impl Recorded {
    /// The generations of these records.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut asked = BTreeMap::new();
        let mut state = State::default();
        for record in records {
            match &record.entry {
                Entry::Submitted { job, request, .. } => {
                    asked.insert(*job, (*request, record.at_ms));
                }
                Entry::Completed { job, result, .. } => {
                    let Some((request, at_ms)) = asked.get(job) else {
                        continue;
                    };
                    let after = Duration::from_millis(record.at_ms.saturating_sub(*at_ms));
                    let ended = Ended {
                        after,
                        result: result.clone(),
                    };
                    let equal = state.by_request.entry(*request).or_default();
                    equal.push_back(ended);
                }
                _ => {}
            }
        }
        Self {
            state: Mutex::new(state),
        }
    }

    /// What was asked for and is not in the record, each in a sentence.
    pub(super) fn unrecorded(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unrecorded.clone()
    }
}

impl Answers for Recorded {
    fn answer(&self, job: JobId, request: &GenerationRequest) -> Answer {
        let digest = digest_of(request);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.by_request.get_mut(&digest);
        let silence = |after| Answer {
            after,
            what: What::Silence,
        };
        let Some(ended) = next.and_then(VecDeque::pop_front) else {
            let agent = match request.agent.is_empty() {
                true => String::new(),
                false => format!("agent `{}`, ", request.agent),
            };
            let sentence = format!(
                "generation {job} is not in the record: {agent}phase `{}`, round {}",
                request.phase, request.round
            );
            // It is asked for again when it is sent again, and in each call of a scorer.
            if !state.unrecorded.contains(&sentence) {
                state.unrecorded.push(sentence);
            }
            let text = "this generation is not in the record".to_owned();
            return Answer::failing(Failing::Unavailable(text), Duration::ZERO);
        };
        let after = ended.after;
        match ended.result {
            Ok(generation) => Answer {
                after,
                what: What::Generation(generation),
            },
            Err(Failure::Rejected(text)) => Answer::failing(Failing::Rejected(text), after),
            Err(Failure::Unavailable(text)) => Answer::failing(Failing::Unavailable(text), after),
            // Nobody waited for it, or it was not there in time: now, too.
            Err(Failure::Cancelled | Failure::DeadlineExceeded | Failure::BudgetExhausted(_)) => {
                silence(after)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::generation::{Message, MessageRole, Sampling};
    use conclave_core::ids::AgentId;

    use super::*;

    #[test]
    fn what_is_not_in_the_record_is_told_once_however_often_it_is_asked_for() {
        let recorded = Recorded::of(&[]);
        let mut request = GenerationRequest {
            agent: AgentId::new(""),
            phase: "grade".to_owned(),
            round: 0,
            messages: vec![Message {
                role: MessageRole::User,
                content: "?".to_owned(),
            }],
            sampling: Sampling::default(),
            priority: None,
            deadline_ms: None,
        };
        recorded.answer(JobId(1), &request);
        recorded.answer(JobId(1), &request);
        request.agent = AgentId::new("ada");
        recorded.answer(JobId(2), &request);
        assert_eq!(
            recorded.unrecorded(),
            [
                "generation 1 is not in the record: phase `grade`, round 0",
                "generation 2 is not in the record: agent `ada`, phase `grade`, round 0",
            ]
        );
    }
}
