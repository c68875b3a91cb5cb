//! How plugins arrive: in a folder that is watched, and from a registry.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;
mod oci;
