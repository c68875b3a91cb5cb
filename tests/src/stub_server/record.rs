//! What the stub remembers of the requests that it got.

use serde::Serialize;
use tokio::sync::watch;

/// A generation request as it came.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// Counts from 1 since the server's start.
    pub number: u64,
    /// The model.
    pub model: String,
    /// The sha256 of roles and contents, each followed by a zero byte, as hexadecimal digits.
    pub prompt_sha256: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// How many answers are asked for, where that is said.
    pub n: Option<u32>,
    /// The seed.
    pub seed: Option<u64>,
    /// The bound of tokens.
    pub max_tokens: Option<u32>,
    /// The temperature.
    pub temperature: Option<f64>,
    /// The JSON Schema that the answer shall have.
    pub json_schema: Option<serde_json::Value>,
    /// What the user said last.
    pub last_user_message: String,
    /// The `x-request-id` header.
    pub request_id: Option<String>,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
    /// The `tracestate` header.
    pub tracestate: Option<String>,
    /// Whether an `authorization` header came.
    pub authorized: bool,
    /// The status of the answer, 0 before there is one.
    pub status: u16,
    /// Tokens of all answers that were sent, known at the end.
    pub tokens_sent: u32,
    /// How far it came.
    pub state: State,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is held, waits or streams.
    Running,
    /// The stub sent all that it had to send, be it half an answer or a refusal.
    Completed,
    /// The client went away before.
    Aborted,
}

/// The requests since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Records {
    pub(super) requests: Vec<Recorded>,
    /// How many more there were than are recorded.
    unrecorded: u64,
    /// The number of the last request before the first of these.
    #[serde(skip)]
    before: u64,
}

impl Records {
    /// How many requests are recorded; a benchmark sends more, and reads none of them.
    const MAX: usize = 100_000;

    fn of_number(&mut self, number: u64) -> Option<&mut Recorded> {
        let place = number.checked_sub(self.before + 1)?;
        self.requests.get_mut(usize::try_from(place).ok()?)
    }
}

/// Records requests and tells those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Recorder(watch::Sender<Records>);

impl Recorder {
    pub(super) fn all(&self) -> Records {
        self.0.borrow().clone()
    }

    pub(super) async fn until(&self, mut condition: impl FnMut(&[Recorded]) -> bool) {
        let mut records = self.0.subscribe();
        let satisfied = records.wait_for(|records| condition(&records.requests));
        let _ = satisfied.await;
    }

    pub(super) fn reset(&self) {
        self.0.send_modify(|records| {
            let seen = records.requests.len() as u64 + records.unrecorded;
            *records = Records {
                before: records.before + seen,
                ..Records::default()
            };
        });
    }

    /// Records a request and gives it its number.
    pub(super) fn begin(self: &std::sync::Arc<Self>, mut recorded: Recorded) -> Open {
        let mut number = 0;
        self.0.send_modify(|records| {
            let seen = records.requests.len() as u64 + records.unrecorded;
            number = records.before + seen + 1;
            recorded.number = number;
            if records.requests.len() < Records::MAX {
                records.requests.push(recorded);
            } else {
                records.unrecorded += 1;
            }
        });
        Open {
            recorder: std::sync::Arc::clone(self),
            number,
            status: 0,
            tokens_sent: 0,
            state: State::Aborted,
        }
    }
}

/// A request that is not over; dropping it records how it ended.
#[derive(Debug)]
pub(super) struct Open {
    recorder: std::sync::Arc<Recorder>,
    pub(super) number: u64,
    pub(super) status: u16,
    pub(super) tokens_sent: u32,
    state: State,
}

impl Open {
    /// All was sent.
    pub(super) fn complete(&mut self) {
        self.state = State::Completed;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.recorder.0.send_modify(|records| {
            if let Some(recorded) = records.of_number(self.number) {
                recorded.status = self.status;
                recorded.tokens_sent = self.tokens_sent;
                recorded.state = self.state;
            }
        });
    }
}
