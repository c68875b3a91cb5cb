//! conclave.
