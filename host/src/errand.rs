//! A generation on its way to an engine, once a server was chosen for it; what both the adapter that
//! calls model servers and the one that hands work to a cluster's executors run.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use conclave_core::cluster::Placement;
use conclave_core::endpoint::Endpoint;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Progress, Request};

/// One request to one server, for one answer or for several that differ in nothing but chance.
#[derive(Clone, Debug)]
pub struct Errand {
    /// What is asked; of several, what the first of them asked.
    pub request: Request,
    /// Who is asked.
    pub endpoint: Endpoint,
    /// Whether the host chose the endpoint by itself, so that it needs no permission.
    pub own: bool,
    /// How many answers are wanted, from 1.
    pub choices: usize,
    /// Where the server is, if the host runs it.
    pub placement: Option<Placement>,
    /// In which order the engine shall work, the least first; `None` where it takes no order.
    pub priority: Option<i32>,
}

impl Errand {
    /// The request for one answer of the endpoint that it names.
    ///
    /// # Errors
    /// [`Error::NoServer`] when it names none.
    pub fn as_named(request: &Request) -> Result<Self, Error> {
        let none = || Error::NoServer {
            model: request.model.clone(),
            reason: "the request names no endpoint".to_owned(),
            retry_after: None,
        };
        Ok(Self {
            endpoint: request.endpoint.clone().ok_or_else(none)?,
            request: request.clone(),
            own: false,
            choices: 1,
            placement: None,
            priority: None,
        })
    }
}

impl Errand {
    /// Names the work.
    #[must_use]
    pub fn work_id(&self) -> String {
        work_id(&self.request, self.choices)
    }
}

/// Names work, as [`Request::work_id`] does: several answers at once are other work than one.
#[must_use]
pub fn work_id(request: &Request, choices: usize) -> String {
    let id = request.work_id();
    match choices {
        1 => id,
        choices => format!("{id}-x{choices}"),
    }
}

/// Runs errands.
///
/// Dropping the future aborts the generation in the engine, as in
/// [`Inference`](conclave_core::inference::Inference).
#[async_trait]
pub trait Backend: Send + Sync {
    /// Runs one errand; when it returns `Ok`, every answer was finished. Answers that were finished
    /// before an error stand.
    async fn run(&self, errand: &Errand, answers: &dyn Answers) -> Result<(), Error>;
}

/// Who waits for the answers to an errand; `choice` is from 0 to below [`Errand::choices`].
pub trait Answers: Send + Sync {
    /// Where it runs now.
    fn placed(&self, placement: &Placement);

    /// So many tokens of an answer came, with this text; reasoning comes without text.
    fn tokens(&self, choice: usize, count: u32, text: &str);

    /// An answer is whole; told once for each choice.
    fn finished(&self, choice: usize, generation: Generation);
}

/// Waits for the only answer to an errand.
#[derive(Debug)]
pub struct OnlyAnswer<'a> {
    progress: &'a Progress,
    generation: Mutex<Option<Generation>>,
}

impl<'a> OnlyAnswer<'a> {
    /// Tells its tokens there.
    #[must_use]
    pub fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            generation: Mutex::default(),
        }
    }

    /// The answer, once the errand was run.
    #[must_use]
    pub fn take(self) -> Option<Generation> {
        let generation = self.generation.into_inner();
        generation.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers for OnlyAnswer<'_> {
    fn placed(&self, placement: &Placement) {
        self.progress.placed(placement.clone());
    }

    fn tokens(&self, _: usize, count: u32, text: &str) {
        self.progress.tokens_came(count, text);
    }

    fn finished(&self, _: usize, generation: Generation) {
        let mut slot = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(generation);
    }
}
