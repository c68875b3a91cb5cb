//! Plugins arrive, are tried, serve, go back and go, while the host runs: by its command line and
//! through gRPC, over crashes, and under load.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests wait for the tasks that they start"
)]

mod access;
mod arrive;
mod crash;
mod drain;
mod load;
mod regression;
mod steer;
mod support;
