//! Who is let in: tokens, JWTs, certificates and modes, on the built binary.

mod audit;
mod jwt;
mod modes;
mod support;
mod tls;
mod tokens;
