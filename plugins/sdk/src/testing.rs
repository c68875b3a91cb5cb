//! A scripted host, on which plugins run in native unit tests.
//!
//! ```
//! # use conclave_sdk::{Candidate, Context, Error, GenerationRequest, NoParams, Outcome, Strategy, Task};
//! # struct AskFirst;
//! # impl Strategy for AskFirst {
//! #     const NAME: &'static str = "ask-first";
//! #     const SUMMARY: &'static str = "Asks the first agent.";
//! #     type Params = NoParams;
//! #     async fn deliberate(ctx: &Context, task: Task, _: NoParams) -> Result<Outcome, Error> {
//! #         let agent = &task.agents[0];
//! #         let answer = ctx.generate(GenerationRequest::for_agent(agent).user("?")).await?;
//! #         let candidates = vec![Candidate::from_generation(agent, answer)];
//! #         let scores = ctx.score(&candidates)?;
//! #         Ok(Outcome::by_score(candidates, scores, "it is the only one"))
//! #     }
//! # }
//! use conclave_sdk::testing::{Script, task};
//!
//! let script = Script::new(|request| Ok(format!("hello from {}", request.agent)));
//! let outcome = script.deliberate::<AskFirst>(task("Say hello.", &["ada"])).unwrap();
//! assert_eq!(outcome.ranked[0].candidate.content, "hello from ada");
//! assert_eq!(script.requests().len(), 1);
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::error::Failure;
use crate::host::{Event, Host, Scoring, Submitted};
use crate::plugin::{self, Scorer, Strategy};
use crate::types::{
    Agent, Budget, Candidate, FinishReason, Generation, GenerationRequest, Level, Outcome, Score,
    Task, Usage,
};

/// A task with agents of these ids, the model `model`, and no parameters.
#[must_use]
pub fn task(description: &str, agents: &[&str]) -> Task {
    let agent = |id: &&str| Agent {
        id: (*id).to_owned(),
        role: String::new(),
        model: "model".to_owned(),
        prompt_template: None,
    };
    Task {
        id: "task".to_owned(),
        description: description.to_owned(),
        role: String::new(),
        agents: agents.iter().map(agent).collect(),
        model: "model".to_owned(),
        metadata: Vec::new(),
        params: "{}".to_owned(),
    }
}

type Answer = dyn Fn(&GenerationRequest) -> Result<String, Failure>;
type Latency = dyn Fn(&GenerationRequest) -> u32;
type Grade = dyn Fn(&[Candidate]) -> Result<Vec<Score>, Failure>;

/// A host that answers from closures, with a clock of its own: nothing really waits.
///
/// Generations finish after their latency, and those of one latency in the order in which they
/// were submitted. Clones share what was recorded.
#[derive(Clone)]
pub struct Script {
    answer: Rc<Answer>,
    latency: Rc<Latency>,
    grade: Rc<Grade>,
    budget: Budget,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    now_ms: Cell<u32>,
    random: Cell<u32>,
    /// By the time at which they finish and their index.
    open: RefCell<BTreeMap<(u32, u32), Result<Generation, Failure>>>,
    requests: RefCell<Vec<GenerationRequest>>,
    cancelled: RefCell<Vec<u32>>,
    events: RefCell<Vec<(String, String)>>,
}

impl Script {
    /// A host whose models answer so. Every candidate has the score 0.5, every generation takes one
    /// millisecond, and nothing is limited.
    pub fn new(answer: impl Fn(&GenerationRequest) -> Result<String, Failure> + 'static) -> Self {
        Self {
            answer: Rc::new(answer),
            latency: Rc::new(|_| 1),
            grade: Rc::new(|candidates| Ok(vec![Score::new(0.5); candidates.len()])),
            budget: Budget {
                generations: None,
                tokens: None,
                wall_ms: None,
                open_generations: None,
            },
            state: Rc::default(),
        }
    }

    /// Sets how many milliseconds a generation takes.
    #[must_use]
    pub fn latency(mut self, latency: impl Fn(&GenerationRequest) -> u32 + 'static) -> Self {
        self.latency = Rc::new(latency);
        self
    }

    /// Sets the deliberation's scorer.
    #[must_use]
    pub fn scorer(
        mut self,
        grade: impl Fn(&[Candidate]) -> Result<Vec<Score>, Failure> + 'static,
    ) -> Self {
        self.grade = Rc::new(grade);
        self
    }

    /// Sets how many generations there may be in all, and how many at once.
    #[must_use]
    pub fn limits(mut self, generations: Option<u32>, open_generations: Option<u32>) -> Self {
        self.budget.generations = generations;
        self.budget.open_generations = open_generations;
        self
    }

    /// Runs a strategy.
    ///
    /// # Errors
    ///
    /// The strategy's own sentence.
    pub fn deliberate<S: Strategy>(&self, task: Task) -> Result<Outcome, String> {
        plugin::deliberate::<S>(task, Rc::new(self.clone()), Rc::new(self.clone()))
            .map_err(|error| error.message().to_owned())
    }

    /// Runs a scorer.
    ///
    /// # Errors
    ///
    /// The scorer's own sentence.
    pub fn evaluate<S: Scorer>(
        &self,
        task: Task,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Score>, String> {
        plugin::evaluate::<S>(task, candidates, Rc::new(self.clone()))
            .map_err(|error| error.message().to_owned())
    }

    /// The requests that were submitted, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<GenerationRequest> {
        self.state.requests.borrow().clone()
    }

    /// The numbers of the jobs that were cancelled, in order.
    #[must_use]
    pub fn cancelled(&self) -> Vec<u32> {
        self.state.cancelled.borrow().clone()
    }

    /// Kind and JSON of the events that were emitted, in order.
    #[must_use]
    pub fn events(&self) -> Vec<(String, String)> {
        self.state.events.borrow().clone()
    }

    /// The time on the host's clock, in milliseconds from the deliberation's acceptance.
    #[must_use]
    pub fn now_ms(&self) -> u32 {
        self.state.now_ms.get()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.state.requests.borrow().len()).expect("a test submits few requests")
    }

    fn open(&self) -> u32 {
        u32::try_from(self.state.open.borrow().len()).expect("a test submits few requests")
    }
}

impl Host for Script {
    fn submit(&self, request: GenerationRequest) -> Result<Submitted, Failure> {
        if self.remaining().generations == Some(0) {
            return Err(Failure::BudgetExhausted("generations".to_owned()));
        }
        if self.remaining().open_generations == Some(0) {
            return Err(Failure::BudgetExhausted("open generations".to_owned()));
        }
        let index = self.count();
        let latency_ms = (self.latency)(&request);
        let outcome = (self.answer)(&request).map(|text| Generation {
            job: index + 1,
            text,
            reasoning: None,
            finish: FinishReason::Stop,
            usage: Usage {
                prompt_tokens: 1,
                cached_tokens: 0,
                completion_tokens: 1,
            },
            logprobs: Vec::new(),
            latency_ms,
        });
        self.state.requests.borrow_mut().push(request);
        let finish_ms = self.state.now_ms.get() + latency_ms;
        self.state
            .open
            .borrow_mut()
            .insert((finish_ms, index), outcome);
        Ok(Submitted {
            id: index + 1,
            index,
        })
    }

    fn next(&self, timeout_ms: Option<u32>) -> Event {
        let now_ms = self.state.now_ms.get();
        let mut open = self.state.open.borrow_mut();
        let Some(entry) = open.first_entry() else {
            return Event::Empty;
        };
        let (finish_ms, index) = *entry.key();
        let deadline_ms = timeout_ms.map(|timeout| now_ms.saturating_add(timeout));
        if let Some(deadline_ms) = deadline_ms.filter(|deadline| *deadline < finish_ms) {
            self.state.now_ms.set(deadline_ms);
            return Event::TimedOut;
        }
        let outcome = entry.remove();
        self.state.now_ms.set(now_ms.max(finish_ms));
        Event::Completed { index, outcome }
    }

    fn cancel(&self, index: u32) {
        self.state
            .open
            .borrow_mut()
            .retain(|(_, open), _| *open != index);
        self.state.cancelled.borrow_mut().push(index + 1);
    }

    fn sleep(&self, milliseconds: u32) {
        self.state
            .now_ms
            .set(self.state.now_ms.get() + milliseconds);
    }

    fn remaining(&self) -> Budget {
        let mut budget = self.budget;
        budget.generations = budget
            .generations
            .map(|all| all.saturating_sub(self.count()));
        budget.open_generations = budget
            .open_generations
            .map(|all| all.saturating_sub(self.open()));
        budget
    }

    fn elapsed_ms(&self) -> u32 {
        self.state.now_ms.get()
    }

    fn random(&self) -> u32 {
        let number = self.state.random.get();
        self.state.random.set(number + 1);
        number
    }

    fn emit(&self, kind: &str, payload: &str) {
        let event = (kind.to_owned(), payload.to_owned());
        self.state.events.borrow_mut().push(event);
    }

    fn log(&self, _level: Level, _message: &str) {}
}

impl Scoring for Script {
    fn score(&self, candidates: &[Candidate]) -> Result<Vec<Score>, Failure> {
        (self.grade)(candidates)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("now_ms", &self.now_ms())
            .field("requests", &self.count())
            .finish_non_exhaustive()
    }
}
