//! Write Conclave strategies and scorers in Rust.
//!
//! A plugin is a `cdylib` crate for the target `wasm32-wasip2` that implements [`Strategy`] or
//! [`Scorer`] and exports it with [`strategy!`] or [`scorer!`]. This is a whole one:
//!
//! ```
//! use conclave_sdk::prelude::*;
//!
//! pub struct AskAll;
//!
//! impl Strategy for AskAll {
//!     const NAME: &'static str = "ask-all";
//!     const SUMMARY: &'static str = "Asks every agent once and lets the scorer choose.";
//!     type Params = NoParams;
//!
//!     async fn deliberate(ctx: &Context, task: Task, _: NoParams) -> Result<Outcome, Error> {
//!         let ask = |agent| ctx.generate(GenerationRequest::for_agent(agent).user(&task.description));
//!         let answers = ctx.all(task.agents.iter().map(ask)).await;
//!         let mut candidates = Vec::new();
//!         for (agent, answer) in task.agents.iter().zip(answers) {
//!             candidates.push(Candidate::from_generation(agent, answer?));
//!         }
//!         let scores = ctx.score(&candidates)?;
//!         Ok(Outcome::by_score(candidates, scores, "the best score"))
//!     }
//! }
//!
//! conclave_sdk::strategy!(AskAll);
//! ```
//!
//! # Waiting
//!
//! A [`Job`] is a future: `join_all`, `select`, `FuturesUnordered` and streams work on it, and
//! dropping it cancels the generation. [`Session::sleep`] and [`Session::timeout`] wait for time.
//! [`Session::all`] is a `join_all` that keeps the deliberation's limit on open generations.
//!
//! A plugin must make the same calls whenever it gets the same answers. The combinators of
//! [`futures`] do; the macro `select!`, which draws lots, is for others. Prefer `BTreeMap` to
//! `HashMap` for what reaches the host.
//!
//! # Parameters
//!
//! `Params` is a type that derives `serde::Deserialize` and `schemars::JsonSchema`; a plugin
//! depends on both crates itself. The host checks a client's parameters against the schema before
//! a deliberation starts, so documentation comments, defaults and
//! `#[serde(deny_unknown_fields)]` reach the client.
//!
//! # Tests
//!
//! Plugins run natively in unit tests, on a scripted host: see `testing`.

#[doc(hidden)]
pub mod bindings;
mod context;
mod error;
mod executor;
#[doc(hidden)]
pub mod export;
pub mod extract;
mod host;
mod plugin;
pub mod prelude;
mod request;
mod seeds;
pub mod template;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod types;
pub mod vote;

/// The crate `futures-util`, whose combinators work on a [`Job`].
pub use futures_util as futures;

pub use crate::context::{Context, Elapsed, Session};
pub use crate::error::{Error, Failure};
pub use crate::executor::{Job, Sleep};
pub use crate::plugin::{NoParams, Scorer, Strategy};
pub use crate::seeds::Seeds;
pub use crate::types::{
    Agent, Budget, Candidate, FinishReason, Generation, GenerationRequest, Level, Message,
    MessageRole, Outcome, Ranked, Sampling, Score, Task, Usage,
};
