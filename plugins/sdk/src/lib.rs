//! conclave-sdk.
