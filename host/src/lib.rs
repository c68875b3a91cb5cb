//! Conclave, an execution host for LLM deliberation: the adapters behind the ports of
//! `conclave-core`, one module a technology, and what the binary is composed of.

pub mod grpc;
pub mod openai;
pub mod plugin_store;
pub mod sqlite;
pub mod wasm;
