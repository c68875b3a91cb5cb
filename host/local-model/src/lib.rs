//! conclave-local-model.
