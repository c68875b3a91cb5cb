//! Generations on clusters: the host's pool on a real NATS server, with executors that the tests play
//! themselves, and with the real one as a process.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod adoption;
mod answers;
mod cancel;
mod fake;
mod outages;
mod proxy;
mod real;
mod rig;
mod silence;
