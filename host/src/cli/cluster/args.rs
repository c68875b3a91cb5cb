//! What can be typed about clusters and models.

use clap::{Args, Subcommand};

use super::help;
use crate::cli::Connection;

/// `conclave cluster` and what follows it.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the Ray clusters of a host: health, nodes, GPUs, executors, queues.
    ///
    /// What a cluster does not tell, as the use of GPUs that it has none of, is left out.
    Status(StatusArgs),
    /// Show the models that a host serves, with their replicas.
    ///
    /// A replica that does not come up is shown with why, and with the end of its job's log.
    Models(ModelsArgs),
    /// Start a model's replicas, and wait until they are healthy.
    ///
    /// Without --replicas, the host scales them by itself between the bounds of the configuration, from
    /// one at the least. With it, so many run until another `up` or `down`, over restarts of the host
    /// too.
    Up(UpArgs),
    /// Stop a model's replicas once their generations have ended.
    ///
    /// The wish survives a restart of the host: the model stays down until `up`.
    Down(DownArgs),
    /// Give a cluster no more work; what runs there goes on to its end.
    ///
    /// Other clusters take over what waits. The wish survives a restart of the host.
    Drain(DrainArgs),
    /// Give a drained cluster work again.
    ///
    /// It takes its part at once, by its weight.
    Resume(ResumeArgs),
}

impl ClusterCommand {
    /// Where the host is.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Status(args) => &args.connection,
            Self::Models(args) => &args.connection,
            Self::Up(args) => &args.connection,
            Self::Down(args) => &args.connection,
            Self::Drain(args) => &args.connection,
            Self::Resume(args) => &args.connection,
        }
    }
}

/// `conclave cluster status`
#[derive(Debug, Args)]
#[command(after_help = help::STATUS)]
pub struct StatusArgs {
    /// The cluster's name [default: all].
    #[arg(default_value = "", hide_default_value = true)]
    pub cluster: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cluster models`
#[derive(Debug, Args)]
#[command(after_help = help::MODELS)]
pub struct ModelsArgs {
    /// The model's name [default: all].
    #[arg(default_value = "", hide_default_value = true)]
    pub model: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cluster up`
#[derive(Debug, Args)]
#[command(after_help = help::UP)]
pub struct UpArgs {
    /// The model's name, as requests have it.
    pub model: String,
    /// How many replicas.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub replicas: Option<u16>,
    /// Do not wait until they are healthy.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1_800)]
    pub timeout: u64,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cluster down`
#[derive(Debug, Args)]
#[command(after_help = help::DOWN)]
pub struct DownArgs {
    /// The model's name, as requests have it.
    pub model: String,
    /// Do not wait until they have stopped.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cluster drain`
#[derive(Debug, Args)]
#[command(after_help = help::DRAIN)]
pub struct DrainArgs {
    /// The cluster's name.
    pub cluster: String,
    /// Wait until nothing runs there any more.
    #[arg(long)]
    pub wait: bool,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cluster resume`
#[derive(Debug, Args)]
#[command(after_help = help::RESUME)]
pub struct ResumeArgs {
    /// The cluster's name.
    pub cluster: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}
