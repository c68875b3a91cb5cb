//! conclave-core.
