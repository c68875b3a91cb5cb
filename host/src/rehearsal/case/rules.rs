//! The scripted model server of a case: rules in order, the first that fits decides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conclave_core::generation::{FinishReason, GenerationRequest};
use conclave_core::ids::JobId;
use serde::Deserialize;

use crate::rehearsal::{Answer, Answers, Failing, What};

/// One `[[generation]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rule {
    /// Only for generations of this agent; empty for those of no agent.
    pub(super) agent: Option<String>,
    /// Only for this phase.
    pub(super) phase: Option<String>,
    /// Only for this round.
    pub(super) round: Option<u32>,
    /// Only where a message holds this text.
    pub(super) prompt: Option<String>,
    /// The answer.
    pub(super) text: Option<String>,
    /// The answers, one after the other; the last stands for all that follow.
    pub(super) texts: Vec<String>,
    /// What a reasoning model thought first.
    pub(super) reasoning: Option<String>,
    /// The error instead of an answer.
    pub(super) failure: Option<Failure>,
    /// From sending to the answer.
    pub(super) latency_ms: Option<u64>,
    /// Why the answer ends.
    pub(super) finish: Option<Finish>,
    /// Tokens of the answer; its words when it is absent.
    pub(super) tokens: Option<u32>,
    /// The logarithms of the probabilities of its tokens.
    pub(super) logprobs: Vec<f32>,
    /// How often the rule may be used; then the next one that fits decides.
    pub(super) times: Option<u32>,
}

/// How a generation may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Failure {
    /// No model server can answer.
    Unavailable,
    /// The request can never succeed.
    Rejected,
    /// There is no answer: the generation's own deadline passes, or the deliberation's.
    Silent,
}

/// Why an answer may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Finish {
    /// The model ended it.
    Stop,
    /// It was cut off.
    Length,
    /// The server ended it.
    Aborted,
}

/// How long an answer takes when nothing is said: long enough for what a plugin does at once.
const LATENCY: Duration = Duration::from_millis(1_000);

impl Rule {
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let ways = [
            self.text.is_some(),
            !self.texts.is_empty(),
            self.failure.is_some(),
        ];
        match ways.iter().filter(|is_there| **is_there).count() {
            1 => None,
            0 => Some("needs one of `text`, `texts` and `failure`"),
            _ => Some("has more than one of `text`, `texts` and `failure`"),
        }
    }

    fn fits(&self, request: &GenerationRequest, used: u32) -> bool {
        let holds = |text: &String| {
            let mut messages = request.messages.iter();
            messages.any(|message| message.content.contains(text))
        };
        self.times.is_none_or(|times| used < times)
            && (self.agent.as_ref()).is_none_or(|agent| agent == request.agent.as_str())
            && (self.phase.as_ref()).is_none_or(|phase| *phase == request.phase)
            && self.round.is_none_or(|round| round == request.round)
            && self.prompt.as_ref().is_none_or(holds)
    }

    fn answer(&self, used: u32) -> Answer {
        let after = self.latency_ms.map_or(LATENCY, Duration::from_millis);
        match self.failure {
            Some(Failure::Unavailable) => {
                let text = "the case says that it is unavailable".to_owned();
                return Answer::failing(Failing::Unavailable(text), after);
            }
            Some(Failure::Rejected) => {
                let text = "the case says that it is rejected".to_owned();
                return Answer::failing(Failing::Rejected(text), after);
            }
            Some(Failure::Silent) => {
                return Answer {
                    after,
                    what: What::Silence,
                };
            }
            None => {}
        }
        let nth = usize::try_from(used).unwrap_or(usize::MAX);
        let listed = self.texts.get(nth).or(self.texts.last());
        let text = self.text.as_ref().or(listed);
        let mut answer = Answer::text(text.map_or("", String::as_str), after);
        if let What::Generation(generation) = &mut answer.what {
            generation.reasoning = self.reasoning.clone();
            generation.logprobs = self.logprobs.clone();
            if let Some(tokens) = self.tokens {
                generation.usage.completion_tokens = tokens;
            }
            generation.finish = match self.finish {
                Some(Finish::Length) => FinishReason::Length,
                Some(Finish::Aborted) => FinishReason::Aborted,
                Some(Finish::Stop) | None => FinishReason::Stop,
            };
        }
        answer
    }
}

/// The rules, with how often each was used.
pub(super) struct Rules {
    rules: Vec<Rule>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: Vec<u32>,
    unmatched: Vec<String>,
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let state = State {
            used: vec![0; rules.len()],
            unmatched: Vec::new(),
        };
        Self {
            rules,
            state: Mutex::new(state),
        }
    }

    /// The generations that no rule fitted, each as a problem.
    pub(super) fn unmatched(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unmatched.clone()
    }
}

impl Answers for Rules {
    fn answer(&self, job: JobId, request: &GenerationRequest) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(at, rule)| rule.fits(request, state.used[*at]));
        let Some((at, rule)) = found else {
            let prompt = request.messages.last();
            let prompt = prompt.map_or("", |message| message.content.as_str());
            let prompt: String = prompt.chars().take(120).collect();
            state.unmatched.push(format!(
                "generation {job} fits no [[generation]]: agent `{}`, phase `{}`, round {}, prompt {prompt:?}",
                request.agent, request.phase, request.round
            ));
            let text = "no [[generation]] of the case fits".to_owned();
            return Answer::failing(Failing::Rejected(text), LATENCY);
        };
        let used = state.used[at];
        state.used[at] += 1;
        rule.answer(used)
    }
}
