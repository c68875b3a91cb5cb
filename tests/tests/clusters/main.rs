//! The host with real Ray clusters: it starts model servers and executors there, and runs deliberations in
//! all three modes while it, Ray, executors and actors are killed. A head takes ten seconds to start, so
//! each test walks through several scenes with its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod config;
mod direct;
mod pool;
mod rig;
mod two;
mod waves;
