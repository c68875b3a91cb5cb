//! What a plugin can do while it runs.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use serde::Serialize;

use crate::error::{Error, Failure};
use crate::executor::{Executor, Job, Sleep};
use crate::host::Scoring;
use crate::types::{Budget, Candidate, Generation, GenerationRequest, Level, Score, milliseconds};

/// The session around a plugin: generations, time, chance, and words to watchers.
///
/// Whatever it answers is the same again when the deliberation is replayed after a crash.
#[derive(Clone)]
pub struct Session {
    executor: Rc<Executor>,
}

impl Session {
    pub(crate) fn new(executor: Rc<Executor>) -> Self {
        Self { executor }
    }

    /// Asks for a generation and returns at once; await the job for its result.
    ///
    /// # Errors
    ///
    /// [`Failure::Rejected`] when the request is invalid, and [`Failure::BudgetExhausted`] when a
    /// limit of the deliberation is reached.
    pub fn submit(&self, request: GenerationRequest) -> Result<Job, Failure> {
        self.executor.submit(request)
    }

    /// Asks for a generation and waits for its result.
    ///
    /// # Errors
    ///
    /// Those of [`Session::submit`], and whatever ends the generation.
    pub async fn generate(&self, request: GenerationRequest) -> Result<Generation, Failure> {
        self.submit(request)?.await
    }

    /// Waits for this long, in the deliberation's time. Generations go on meanwhile.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.executor.sleep(milliseconds(duration))
    }

    /// Runs a future for at most this long, then drops it: jobs that it holds are cancelled.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the time passed first.
    pub async fn timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        match select(pin!(future), pin!(self.sleep(duration))).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// Runs futures together, and returns their outputs in the order of the futures.
    ///
    /// Unlike `join_all` it begins the next one only when the deliberation's limit on open
    /// generations leaves room for it, if each has one generation open at a time.
    pub async fn all<F: Future>(&self, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
        let room = self.remaining().open_generations;
        let room = room.map_or(usize::MAX, |room| room.max(1) as usize);
        let numbered = futures
            .into_iter()
            .enumerate()
            .map(|(number, future)| async move { (number, future.await) });
        let mut waiting = numbered.fuse();
        let mut running: FuturesUnordered<_> = waiting.by_ref().take(room).collect();
        let mut outputs = Vec::new();
        while let Some(output) = running.next().await {
            outputs.push(output);
            running.extend(waiting.next());
        }
        outputs.sort_by_key(|(number, _)| *number);
        outputs.into_iter().map(|(_, output)| output).collect()
    }

    /// What is left of the deliberation's limits.
    #[must_use]
    pub fn remaining(&self) -> Budget {
        self.executor.host().remaining()
    }

    /// The time from the deliberation's acceptance to the last effect of this plugin.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.executor.host().elapsed_ms().into())
    }

    /// The next number of the deliberation's own generator: 0 to 2147483647, uniform.
    #[must_use]
    pub fn random(&self) -> u32 {
        self.executor.host().random()
    }

    /// Tells watchers something: a short kind (letters, digits, `-`, `_`, `.`; at most 64
    /// characters) and a value, which they see as JSON.
    ///
    /// # Errors
    ///
    /// Fails when the value has no JSON form, as a map whose keys are no texts.
    pub fn emit(&self, kind: &str, value: &impl Serialize) -> Result<(), Error> {
        let payload = serde_json::to_string(value)
            .map_err(|error| Error::new(error).context(format_args!("event `{kind}`")))?;
        self.executor.host().emit(kind, &payload);
        Ok(())
    }

    /// Writes to the host's log under this deliberation's id, where its operator has plugins logged.
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        self.executor.host().log(level, &message.to_string());
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// The session around a strategy: that of every plugin, and the deliberation's scorer.
#[derive(Clone)]
pub struct Context {
    session: Session,
    scoring: Rc<dyn Scoring>,
}

impl Context {
    pub(crate) fn new(session: Session, scoring: Rc<dyn Scoring>) -> Self {
        Self { session, scoring }
    }

    /// Grades candidates with the scorer that the client chose: one score for each, in order.
    ///
    /// There must be at least one candidate. The strategy stands still meanwhile; generations that
    /// are open go on.
    ///
    /// # Errors
    ///
    /// [`Failure::Rejected`] carries the scorer's own error.
    pub fn score(&self, candidates: &[Candidate]) -> Result<Vec<Score>, Failure> {
        self.scoring.score(candidates)
    }
}

impl Deref for Context {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

/// The time of a [`Session::timeout`] passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time given passed")
    }
}

impl std::error::Error for Elapsed {}
