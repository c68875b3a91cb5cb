//! What an author has: tests of a plugin, replays of what a host recorded, and errors that say where.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod checking;
mod replaying;
mod support;
mod testing;
