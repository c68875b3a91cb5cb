//! The engine: takes jobs, decodes them on its own threads, tells of each token.

mod scheduler;
mod sequence;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::model::Model;
use crate::sampler::Sampling;
use crate::tokenizer::Tokenizer;
use scheduler::Scheduler;
use sequence::Sequence;

/// Why a job is not taken, or the engine does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{running} answers run and {waiting} wait: there is no room for {asked} more")]
    Full {
        running: usize,
        waiting: usize,
        asked: usize,
    },
    #[error("the engine is stopping")]
    Stopping,
    #[error("cannot start the threads of the engine")]
    Threads(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One answer to decode.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// At least one token.
    pub(crate) prompt: Vec<u32>,
    /// Most tokens to answer with; at least one.
    pub(crate) tokens_max: usize,
    pub(crate) sampling: Sampling,
    pub(crate) stops: Vec<String>,
    /// How many alternatives to report for each token; `None` reports no probabilities.
    pub(crate) top_logprobs: Option<usize>,
}

/// What happens to a job, in order; `Finished` is the last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Text {
        text: String,
        /// Tokens decoded so far.
        tokens: usize,
        /// The tokens since the last event, if the job asked for them; without the one that ends
        /// the answer.
        logprobs: Vec<TokenLogprob>,
    },
    Finished {
        reason: Reason,
        /// Tokens decoded, with the one that ended the answer.
        tokens: usize,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The model ended its turn, or a stop sequence was complete.
    Stop,
    /// The tokens ran out.
    Length,
}

/// A token with the logarithm of its probability, and of the likeliest in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenLogprob {
    pub(crate) token: u32,
    pub(crate) logprob: f32,
    pub(crate) top: Vec<(u32, f32)>,
}

/// How much may happen at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Jobs decoded at once.
    pub(crate) slots: usize,
    /// Jobs that may wait for a slot.
    pub(crate) queue: usize,
    /// Threads that share each step.
    pub(crate) threads: usize,
}

/// What the engine does, for `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counters {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    /// Jobs whose receiver was dropped before the end.
    pub(crate) aborted_total: u64,
    pub(crate) completed_total: u64,
    /// Tokens decoded for all jobs.
    pub(crate) generation_tokens_total: u64,
}

/// A handle to the engine; its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Notified when a job comes or the engine is to stop.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    running: usize,
    aborted_total: u64,
    completed_total: u64,
    generation_tokens_total: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    /// Its place among the jobs that share a receiver, from 0.
    place: usize,
    events: mpsc::Sender<(usize, Event)>,
}

impl Engine {
    /// Starts the threads; the handle ends after [`Engine::stop`].
    pub(crate) fn start(
        model: Model,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(limits.threads)
            .thread_name(|i| format!("decode-{i}"))
            .build()
            .map_err(|e| Error::Threads(e.into()))?;
        let shared = Arc::new(Shared {
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let scheduler = Scheduler::new(model, tokenizer, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || pool.install(|| scheduler.run()))
            .map_err(|e| Error::Threads(e.into()))?;
        Ok((Self { shared }, thread))
    }

    /// Takes all of these jobs or none; dropping the receiver aborts them at the next token.
    ///
    /// Each event comes with the place of its job, from 0. The receiver ends when all jobs have,
    /// without [`Event::Finished`] for those that run when the engine stops.
    pub(crate) fn submit(&self, jobs: Vec<Job>) -> Result<mpsc::Receiver<(usize, Event)>, Error> {
        // As many places as there can be events: a slow reader never holds up the others.
        let events_max = jobs.iter().map(|job| job.tokens_max + 2).sum();
        let (events, receiver) = mpsc::channel(events_max);
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(Error::Stopping);
        }
        let free = self.shared.limits.slots.saturating_sub(state.running);
        if state.waiting.len() + jobs.len() > free + self.shared.limits.queue {
            return Err(Error::Full {
                running: state.running,
                waiting: state.waiting.len(),
                asked: jobs.len(),
            });
        }
        let jobs = jobs.into_iter().enumerate();
        state.waiting.extend(jobs.map(|(place, job)| Waiting {
            job,
            place,
            events: events.clone(),
        }));
        self.shared.changed.notify_one();
        Ok(receiver)
    }

    pub(crate) fn counters(&self) -> Counters {
        let state = self.shared.lock();
        Counters {
            running: state.running,
            waiting: state.waiting.len(),
            aborted_total: state.aborted_total,
            completed_total: state.completed_total,
            generation_tokens_total: state.generation_tokens_total,
        }
    }

    /// Whether the engine takes no more jobs: told to stop, or by a fault.
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.lock().stopping
    }

    /// Drops all jobs and ends the threads after the step that runs.
    pub(crate) fn stop(&self) {
        self.shared.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is counters and a queue: whole at every point where a holder may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.waiting.clear();
        self.changed.notify_all();
    }
}
