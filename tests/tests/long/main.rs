//! What takes too long for `make test`: `make test-full` runs it.

mod toolchains;
