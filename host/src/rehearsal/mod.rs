//! Runs a plugin in the real runtime without a host: a scripted model server, a journal in memory, and
//! a clock that nobody waits for.
//!
//! A [`Play`] is one deliberation, from its first record or from any later one; [`play()`] takes it to
//! its end. On that stand the canned deliberation of the check ([`canned`]), the cases of
//! `conclave plugin test` ([`case`]), the suite that every plugin passes ([`conformance`]), and the
//! replay of what a host recorded ([`replay`]).

mod answers;
pub mod canned;
pub mod case;
mod cast;
pub mod conformance;
mod divergence;
mod logged;
pub mod record;
mod recorded;
pub mod replay;
mod scene;
mod stage;

pub use self::answers::{Answer, Answers, Failing, What};
pub use self::cast::{Grades, Lead, RecordedScores, Score};
pub use self::scene::{Scene, scene_policy};
pub use self::stage::{Play, Played, Unplayable, play};

#[cfg(test)]
mod tests;
