//! What operators see of a host: metrics, traces, and the dashboard and rules that are made of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod collector;
mod exposition;
mod metrics;
mod names;
mod traces;
