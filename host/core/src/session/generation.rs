//! Sends one generation, tries it again where that can help, and journals its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;

use crate::chain::Chain;
use crate::entry::Entry;
use crate::generation::{Failure, Generation, GenerationRequest};
use crate::ids::{Actor, JobId, ModelName};
use crate::inference::{self, AttemptId, Progress};
use crate::live::lock;
use crate::slots::Rank;
use crate::wave::Wave;

use super::jobs::Run;
use super::log::Unwritable;
use super::{Session, State, chance};

/// A generation to be sent.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) job: JobId,
    pub(super) request: GenerationRequest,
    pub(super) model: ModelName,
    /// When the plugin asked for it, in milliseconds since acceptance.
    pub(super) submitted_at_ms: u64,
    /// Attempts that the journal holds.
    pub(super) attempts: u32,
    /// Those of them that were retries.
    pub(super) retries: u32,
    /// Who asks.
    pub(super) actor: Actor,
    /// Which of its waves it belongs to.
    pub(super) wave: Arc<Wave>,
}

/// Where the attempts at one generation stand.
struct Attempts {
    request: inference::Request,
    deadline: Instant,
    /// Counts the tokens of all attempts.
    progress: Arc<Progress>,
    /// The number that tokens are shown under.
    current: Arc<AtomicU32>,
}

impl Session {
    /// Journals the attempt and starts sending.
    pub(super) fn send(self: &Arc<Self>, state: &mut State, order: Order) {
        let job = order.job;
        let attempt = order.attempts + 1;
        self.log.append(Entry::Attempt {
            job,
            attempt,
            after: None,
            temperature: order.request.sampling.temperature,
        });
        let judges = state.jobs.open_of(order.actor);
        let attempts = self.attempts(order, attempt, judges);
        let progress = Arc::clone(&attempts.progress);
        // Before it may end.
        self.handle.note_open(job, &progress);
        let session = Arc::clone(self);
        let drive = async move { session.drive(job, attempts).await };
        // In a trace, it belongs to the plugin that asks for it.
        let task = self
            .ports
            .tasks
            .spawn("generation", drive.in_current_span());
        let task = task.abort_handle();
        state.jobs.sent(job, Run { task, progress });
    }

    fn attempts(self: &Arc<Self>, order: Order, attempt: u32, open: u32) -> Attempts {
        let accepted_at_ms = self.accepted.accepted_at_ms;
        let own = order
            .request
            .deadline_ms
            .map(|ms| order.submitted_at_ms + u64::from(ms));
        let deadline_ms = own.unwrap_or(u64::MAX).min(self.accepted.deadline_ms());
        let deadline = self
            .ports
            .clock
            .instant_of(accepted_at_ms.saturating_add(deadline_ms));
        let id = AttemptId {
            deliberation: self.accepted.id.clone(),
            job: order.job,
            attempt,
        };
        let current = Arc::new(AtomicU32::new(attempt));
        let rank = Rank {
            deliberation: self.accepted.request.priority,
            own: order.request.priority.or(own_priority(order.actor, open)),
        };
        Attempts {
            progress: self.progress(order.job, Arc::clone(&current)),
            current,
            request: inference::Request {
                id,
                retries: order.retries,
                wave: order.wave,
                execution: self.accepted.request.execution,
                endpoint: self.accepted.request.endpoint.clone(),
                model: order.model,
                messages: order.request.messages.into(),
                sampling: order.request.sampling,
                timeout: Duration::ZERO,
                rank,
                traceparent: self.accepted.traceparent.clone(),
                tracestate: self.accepted.tracestate.clone(),
            },
            deadline,
        }
    }

    /// Shows tokens to watchers, if there are any.
    fn progress(self: &Arc<Self>, job: JobId, attempt: Arc<AtomicU32>) -> Arc<Progress> {
        let session = Arc::clone(self);
        Arc::new(Progress::new(move |text| {
            if session.handle.is_watched() {
                session
                    .log
                    .tokens(job, attempt.load(Ordering::Relaxed), text);
            }
        }))
    }

    async fn drive(self: &Arc<Self>, job: JobId, attempts: Attempts) {
        let progress = Arc::clone(&attempts.progress);
        let deadline = attempts.deadline;
        let (result, wasted_tokens) = match self
            .ports
            .clock
            .timeout_at(deadline, self.attempt(attempts))
            .await
        {
            Ok(Ok(tried)) => tried,
            // The session rests; the generation is sent again when it is resumed.
            Ok(Err(Unwritable)) => return,
            Err(_) => (Err(Failure::DeadlineExceeded), progress.tokens()),
        };
        self.complete(job, result, wasted_tokens);
    }

    /// Tries until there is a result, or another attempt cannot help; with it, the tokens of the
    /// attempts that failed.
    async fn attempt(
        self: &Arc<Self>,
        mut attempts: Attempts,
    ) -> Result<(Result<Generation, Failure>, u32), Unwritable> {
        let progress = Arc::clone(&attempts.progress);
        loop {
            // Output commit: the request leaves the host.
            self.log.durable().await?;
            let wasted_tokens = progress.tokens();
            let slots = self.ports.in_flight.of(attempts.request.execution);
            let in_flight = slots.acquire(attempts.request.rank).await;
            attempts.request.timeout = attempts
                .deadline
                .saturating_duration_since(self.ports.clock.now());
            self.handle.note_sending();
            let inference = &self.ports.inference;
            let error = match inference.generate(&attempts.request, &progress).await {
                Ok(generation) => return Ok((Ok(generation), wasted_tokens)),
                Err(error) => error,
            };
            drop(in_flight);
            let AttemptId { job, attempt, .. } = attempts.request.id;
            tracing::debug!(id = %attempts.request.id, error = %Chain(&error), "a generation failed");
            let failure = failure(&error, attempts.request.retries);
            let is_last = attempts.request.retries >= self.accepted.request.retries_max;
            if !error.is_retryable() || is_last && !error.is_wait() {
                return Ok((Err(failure), progress.tokens()));
            }
            let jitter = chance::jitter(self.accepted.seed, job, attempt);
            let wait = self
                .ports
                .retry
                .wait(attempts.request.retries, jitter, error.retry_after());
            if self.ports.clock.now() + wait >= attempts.deadline {
                let text = format!("{failure}; the deadline passes before it may be tried again");
                return Ok((Err(Failure::Unavailable(text)), progress.tokens()));
            }
            self.ports.clock.sleep(wait).await;
            if error.is_wait() {
                // It was not sent: it is the same attempt still, which only the deadline bounds.
                continue;
            }
            attempts.request.retries += 1;
            attempts.request.id.attempt += 1;
            attempts.current.store(attempt + 1, Ordering::Relaxed);
            self.log.append(Entry::Attempt {
                job,
                attempt: attempt + 1,
                after: Some(failure),
                temperature: attempts.request.sampling.temperature,
            });
        }
    }

    /// Journals the end of a generation that its plugin still wants, and wakes the plugin.
    fn complete(&self, job: JobId, result: Result<Generation, Failure>, wasted_tokens: u32) {
        let mut state = lock(&self.state);
        if !state.jobs.is_open(job) {
            return;
        }
        let entry = Entry::Completed {
            job,
            result: result.clone(),
            wasted_tokens,
        };
        self.handle.note_ended(job);
        let Some(record) = self.log.append(entry) else {
            return;
        };
        state.jobs.done(job, record.seq, Arc::new(result));
        drop(state);
        self.stirred.notify_waiters();
    }
}

/// How urgent a generation is whose plugin does not say. A deliberation whose scorer asks is nearly done,
/// and the fewer of its calls are open, the nearer: what it holds is free the sooner.
fn own_priority(actor: Actor, open: u32) -> Option<u8> {
    const JUDGES: u8 = 64;
    let open = u8::try_from(open).unwrap_or(u8::MAX);
    (actor != Actor::STRATEGY).then_some(open.min(JUDGES))
}

/// What a plugin is told of an error.
fn failure(error: &inference::Error, retries: u32) -> Failure {
    let text = Chain(error).to_string();
    if error.is_retryable() {
        let attempts = retries + 1;
        Failure::Unavailable(format!("{text} (attempt {attempts})"))
    } else {
        Failure::Rejected(text)
    }
}
