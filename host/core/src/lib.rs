//! Conclave's core: what a deliberation is, how it runs and how it is journaled. It knows no
//! technology: adapters implement its ports, and cargo keeps them out.
//!
//! Start with [`session`]: every host function that a plugin can call lands there.

pub mod account;
pub mod canary;
pub mod chain;
pub mod channel;
pub mod clock;
pub mod cluster;
pub mod drain;
pub mod endpoint;
pub mod entry;
pub mod events;
pub mod execution;
pub mod filter;
pub mod fleet;
pub mod follow;
pub mod generation;
pub mod ids;
pub mod inference;
pub mod inspect;
pub mod journal;
pub mod limits;
pub mod listing;
pub mod live;
pub mod notebook;
pub mod observer;
pub mod outbox;
pub mod outcome;
pub mod params;
pub mod plugin;
pub mod priority;
pub mod registry;
pub mod request;
pub mod retry;
pub mod routing;
pub mod run;
pub mod runtime;
pub mod session;
pub mod slots;
pub mod span;
pub mod submit;
pub mod tally;
pub mod task_type;
pub mod tasks;
pub mod tasks_extracted;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod view;
pub mod wave;
