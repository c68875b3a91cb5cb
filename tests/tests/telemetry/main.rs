//! What operators see of a host: metrics, traces, and the dashboard and rules that are made of them.

mod collector;
mod exposition;
mod metrics;
mod names;
mod traces;
