//! The names that most plugins need, for `use conclave_sdk::prelude::*`.

pub use crate::{
    Agent, Candidate, Context, Error, Failure, Generation, GenerationRequest, Level, NoParams,
    Outcome, Ranked, Score, Scorer, Session, Strategy, Task,
};
