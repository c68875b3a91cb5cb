//! Plugins arrive, are tried, serve, go back and go, while the host runs: by its command line and
//! through gRPC, over crashes, and under load.

mod access;
mod arrive;
mod crash;
mod drain;
mod load;
mod steer;
mod support;
