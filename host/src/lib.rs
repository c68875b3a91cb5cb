//! Conclave, an execution host for LLM deliberation: the adapters behind the ports of
//! `conclave-core`, one module a technology, and what the binary is composed of.

pub mod access;
pub mod arrivals;
pub mod cli;
pub mod clusters;
pub mod config;
pub mod dispatch;
pub mod errand;
pub mod events_page;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod nats;
pub mod openai;
pub mod plugin_store;
pub mod pool;
pub mod ray;
pub mod rehearsal;
pub mod serve;
pub mod signature;
pub mod sqlite;
pub mod telemetry;
pub mod tls;
pub mod wasm;
mod watched;
