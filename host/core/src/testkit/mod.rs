//! Fakes and contract suites for the ports.

pub mod inference;
pub mod journal;
