//! A scripted fake of the [`Inference`] port; [`contract`] holds what every adapter must keep.

pub mod contract;
mod script;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

pub use script::Script;

use crate::generation::Generation;
use crate::inference::{Error, Inference, Progress, Request};

/// One call that the fake received.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub request: Request,
    /// How far it came.
    pub state: CallState,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Its future is alive.
    Running,
    /// It gave a generation.
    Finished,
    /// It gave an error.
    Failed,
    /// Its future was dropped before its end.
    Aborted,
}

type Chooser = dyn Fn(&Request, u32) -> Script + Send + Sync;

/// An [`Inference`] that follows scripts and remembers every call in its order.
pub struct ScriptedInference {
    choose: Box<Chooser>,
    calls: watch::Sender<Vec<Call>>,
}

impl ScriptedInference {
    /// Asks `choose` for the script of each call; it gets the call's number, from 1.
    pub fn new(choose: impl Fn(&Request, u32) -> Script + Send + Sync + 'static) -> Self {
        Self {
            choose: Box::new(choose),
            calls: watch::Sender::new(Vec::new()),
        }
    }

    /// Answers every call with this text at once.
    #[must_use]
    pub fn answering(text: &str) -> Self {
        let text = text.to_owned();
        Self::new(move |_, _| Script::answer(&text))
    }

    /// Takes the scripts in turn; a call after the last one is rejected.
    pub fn in_turn(scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts: Mutex<VecDeque<_>> = Mutex::new(scripts.into_iter().collect());
        Self::new(move |request, number| {
            let next = scripts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            next.unwrap_or_else(|| {
                Script::fail(Error::NotAllowed {
                    endpoint: contract::endpoint_of(request),
                    reason: format!("no script is left for call {number}"),
                })
            })
        })
    }

    /// Every call so far, in the order in which they were first polled.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// The attempts in this state, in the order of their calls.
    #[must_use]
    pub fn attempts(&self, state: CallState) -> Vec<String> {
        let calls = self.calls.borrow();
        let of_state = calls.iter().filter(|call| call.state == state);
        of_state.map(|call| call.request.id.to_string()).collect()
    }

    /// Waits until the calls satisfy the condition.
    pub async fn until(&self, condition: impl FnMut(&Vec<Call>) -> bool) {
        let satisfied = self.calls.subscribe().wait_for(condition).await.is_ok();
        debug_assert!(satisfied, "the sender is in self");
    }

    fn begin(&self, request: &Request) -> (u32, Open<'_>) {
        let mut place = 0;
        self.calls.send_modify(|calls| {
            place = calls.len();
            calls.push(Call {
                request: request.clone(),
                state: CallState::Running,
            });
        });
        let open = Open {
            calls: &self.calls,
            place,
            state: CallState::Aborted,
        };
        (u32::try_from(place + 1).unwrap_or(u32::MAX), open)
    }
}

impl fmt::Debug for ScriptedInference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedInference")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Inference for ScriptedInference {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        let (number, mut open) = self.begin(request);
        let result = (self.choose)(request, number).play(request, progress).await;
        open.state = match result {
            Ok(_) => CallState::Finished,
            Err(_) => CallState::Failed,
        };
        result
    }
}

/// Writes down how a call ended, even when its future is dropped.
struct Open<'a> {
    calls: &'a watch::Sender<Vec<Call>>,
    place: usize,
    state: CallState,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.calls
            .send_modify(|calls| calls[self.place].state = self.state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::ids::ModelName;

    fn request(attempt: u32) -> Request {
        let endpoint = Endpoint::parse("http://scripted").unwrap();
        contract::request(&endpoint, &ModelName::new("m"), attempt)
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_takes_its_virtual_time_and_reports_its_tokens() {
        let second = Duration::from_secs(1);
        let fake = ScriptedInference::new(move |_, _| {
            Script::answer("four two one")
                .after(60 * second)
                .between(second)
        });
        let progress = Progress::silent();
        let answer = fake.generate(&request(1), &progress).await.unwrap();
        assert_eq!(answer.text, "four two one");
        assert_eq!(answer.latency_ms, 62_000);
        assert_eq!(answer.usage.completion_tokens, 3);
        assert_eq!(progress.tokens(), 3);
        assert_eq!(
            fake.attempts(CallState::Finished),
            ["deliberation-contract-1-1"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn scripts_in_turn_end_in_a_rejection_and_a_drop_is_an_abort() {
        let fake = ScriptedInference::in_turn([Script::tokens(["a", "b"]).then_hang()]);
        let (first, progress) = (request(1), Progress::silent());
        tokio::select! {
            _ = fake.generate(&first, &progress) => unreachable!("it hangs"),
            () = tokio::time::sleep(Duration::from_secs(9)) => (),
        }
        fake.until(|calls| calls[0].state == CallState::Aborted)
            .await;
        assert_eq!(progress.tokens(), 2);
        let error = fake.generate(&request(2), &progress).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(fake.calls()[1].state, CallState::Failed);
    }
}
