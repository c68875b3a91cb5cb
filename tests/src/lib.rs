//! conclave-tests.
