//! A deliberation as a reader sees it: a fold over its journal.

use crate::entry::{Accepted, Entry, Record};
use crate::ids::Seq;
use crate::outcome::{Cause, Outcome, Spent, Verdict};
use crate::tally::Tally;

/// What a deliberation has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It was accepted and has not finished: it may be queued, running or resting.
    Running,
    /// It has an answer.
    Completed(Box<Outcome>),
    /// It has none.
    Failed(Cause),
    /// A client cancelled it; the text is the client's reason.
    Cancelled(String),
}

/// A deliberation.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What was accepted.
    pub accepted: Accepted,
    /// What has become of it. A state other than running never changes.
    pub state: State,
    /// What it cost up to now.
    pub spent: Spent,
    /// The last entry of its journal.
    pub last: Seq,
    /// When that was, in milliseconds since acceptance.
    pub last_at_ms: u64,
}

impl View {
    /// The deliberation that these records tell of; `None` when the first is not its acceptance.
    #[must_use]
    pub fn of(records: &[Record]) -> Option<Self> {
        let Entry::Accepted(accepted) = &records.first()?.entry else {
            return None;
        };
        let last = records.last()?;
        Self::ended(accepted, last).or_else(|| {
            let tally = Tally::of(records.iter().map(|record| &record.entry));
            Some(Self {
                accepted: Accepted::clone(accepted),
                state: State::Running,
                spent: tally.spent(),
                last: last.seq,
                last_at_ms: last.at_ms,
            })
        })
    }

    /// The finished deliberation, which its first and its last entry tell of; `None` when `last` is
    /// not its end.
    #[must_use]
    pub fn ended(accepted: &Accepted, last: &Record) -> Option<Self> {
        let Entry::Finished { verdict, spent } = &last.entry else {
            return None;
        };
        Some(Self {
            accepted: accepted.clone(),
            state: match verdict.clone() {
                Verdict::Completed(outcome) => State::Completed(outcome),
                Verdict::Failed(cause) => State::Failed(cause),
                Verdict::Cancelled(reason) => State::Cancelled(reason),
            },
            spent: *spent,
            last: last.seq,
            last_at_ms: last.at_ms,
        })
    }

    /// Whether it has its one outcome.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state != State::Running
    }
}
