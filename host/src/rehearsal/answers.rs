//! The model server of a rehearsal: it answers as it is told, in no real time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::clock::Clock;
use conclave_core::endpoint::Endpoint;
use conclave_core::entry::{Accepted, Record};
use conclave_core::generation::{FinishReason, Generation, GenerationRequest, Usage};
use conclave_core::ids::JobId;
use conclave_core::inference::{Error, Inference, Progress, Request};
use conclave_core::observer::Observer;

/// What comes of each generation.
pub trait Answers: Send + Sync {
    /// What the model server does with this attempt, asked for when it is sent. The number of the job
    /// tells equal requests apart.
    fn answer(&self, job: JobId, request: &GenerationRequest) -> Answer;
}

/// What the model server does with one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When, from its sending.
    pub after: Duration,
    /// What.
    pub what: What,
}

/// The ends of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A result. Its latency is set to that of the answer.
    Generation(Generation),
    /// An error.
    Failure(Failing),
    /// Nothing, for ever.
    Silence,
}

/// How a model server fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It will never accept the request, for this reason.
    Rejected(String),
    /// It cannot be reached, for this reason.
    Unavailable(String),
}

impl Answer {
    /// This text after a time.
    #[must_use]
    pub fn text(text: &str, after: Duration) -> Self {
        let tokens = u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
        let generation = Generation {
            text: text.to_owned(),
            reasoning: None,
            finish: FinishReason::Stop,
            usage: Usage {
                prompt_tokens: 10,
                cached_tokens: 0,
                completion_tokens: tokens,
            },
            logprobs: Vec::new(),
            latency_ms: 0,
            placement: None,
        };
        Self {
            after,
            what: What::Generation(generation),
        }
    }

    /// This failure after a time.
    #[must_use]
    pub fn failing(failing: Failing, after: Duration) -> Self {
        Self {
            after,
            what: What::Failure(failing),
        }
    }
}

/// What plugins asked for, by the number of the generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Mutex<BTreeMap<JobId, GenerationRequest>>>);

impl Asked {
    pub(super) fn get(&self, job: JobId) -> Option<GenerationRequest> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(&job).cloned()
    }

    pub(super) fn all(&self) -> BTreeMap<JobId, GenerationRequest> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Observer for Asked {
    fn journaled(&self, _accepted: &Accepted, _record: &Record) {}

    fn asked(&self, job: JobId, request: &GenerationRequest) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(job, request.clone());
    }
}

/// The port, on top of answers.
pub(super) struct ModelServer {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) asked: Asked,
    pub(super) clock: Clock,
    /// Generations that run now.
    pub(super) open: Arc<AtomicUsize>,
}

#[async_trait]
impl Inference for ModelServer {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        let _open = Open::of(&self.open);
        let job = request.id.job;
        let refuse = |message: &str| Error::Rejected {
            endpoint: nowhere(),
            status: 400,
            message: message.to_owned(),
        };
        let asked = self.asked.get(job);
        let asked = asked.ok_or_else(|| refuse("nobody asked for it"))?;
        let answer = self.answers.answer(job, &asked);
        // Answers of one time come in the order of their numbers, in every run.
        let order = Duration::from_micros(u64::from(job.0 % 1_000));
        self.clock.sleep(answer.after + order).await;
        match answer.what {
            What::Generation(mut generation) => {
                progress.token(&generation.text);
                generation.latency_ms = u32::try_from(answer.after.as_millis()).unwrap_or(u32::MAX);
                Ok(generation)
            }
            What::Failure(Failing::Rejected(message)) => Err(refuse(&message)),
            What::Failure(Failing::Unavailable(message)) => Err(Error::Unavailable {
                endpoint: nowhere(),
                retry_after: None,
                source: message.into(),
            }),
            What::Silence => std::future::pending().await,
        }
    }
}

/// The endpoint of rehearsals, which is never called.
fn nowhere() -> Endpoint {
    Endpoint::parse("http://rehearsal.invalid").expect("it is a URL")
}

/// Counts a generation for as long as it runs, even when its future is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
