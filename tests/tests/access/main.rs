//! Who is let in: tokens, JWTs, certificates and modes, on the built binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod audit;
mod jwt;
mod modes;
mod support;
mod tls;
mod tokens;
