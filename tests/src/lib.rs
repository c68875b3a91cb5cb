//! conclave-tests.

pub mod stub_server;
