//! conclave-plugin-build.
