//! End-to-end tests of Conclave: the host as the binary that is shipped, with a model server, clients
//! and plugins around it.
//!
//! A test starts a [`stub_server::StubServer`], a [`host::Host`] that asks it, and a
//! [`client::Client`] of that host. Nothing sleeps for a fixed time: tests hold and release the
//! stub's answers, and wait for events. Every wait is bounded by [`patience::PATIENCE`].

pub mod beside;
pub mod binary;
pub mod cache;
pub mod client;
pub mod command;
pub mod components;
pub mod dead_server;
pub mod draft;
pub mod executor;
pub mod host;
pub mod local_model;
mod log;
pub mod memory;
pub mod nats;
pub mod node;
pub mod oci_registry;
pub mod patience;
pub mod plugins;
pub mod processes;
pub mod project;
pub mod python;
pub mod ray;
pub mod serving;
pub mod steady;
pub mod stub_server;
pub mod vllm;
pub mod web;
