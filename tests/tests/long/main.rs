//! What takes too long for `make test`: `make test-full` runs it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod engine;
mod hosted;
mod toolchains;
mod vllm;
