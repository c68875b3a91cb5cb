//! What takes too long for `make test`: `make test-full` runs it.

mod engine;
mod toolchains;
mod vllm;
