//! Fakes and contract suites for the ports, and a host made of them.

pub mod cluster;
pub mod cluster_contract;
pub mod host;
pub mod inference;
pub mod journal;
pub mod probe;
pub mod registry;
pub mod runtime;
