//! What can be typed to steer the plugins of a host.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use conclave_core::channel::Share;
use conclave_core::plugin::PluginChoice;

use super::help;
use super::rule::Rule;
use crate::cli::Connection;

/// `conclave plugin push` and what follows it.
#[derive(Debug, Subcommand)]
pub enum SteerCommand {
    /// Bring components to a host.
    ///
    /// The host checks each, compiles it and lists it; a refusal lists every reason and changes
    /// nothing. The first of its name serves at once, every other one only when it is told to: with
    /// --promote or --canary, or later with the commands of these names.
    Push(PushArgs),
    /// Have a host fetch a component from an OCI registry.
    ///
    /// The reference names the component by its digest. The host fetches it, and does with it what it
    /// does with one that is pushed.
    Import(ImportArgs),
    /// Try a version on a share of the deliberations.
    ///
    /// A name alone stands for the version that arrived last. The share can be changed by the same
    /// command again. Rules give other shares to some deliberations; the first that matches decides.
    Canary(CanaryArgs),
    /// Make a version stable, which ends the canary.
    ///
    /// A name alone stands for its canary. Deliberations that run stay on the version that they began
    /// with; `conclave plugin drain` shows them.
    Promote(PromoteArgs),
    /// End the canary, or go back to the version before.
    ///
    /// Where a version is tried, it is tried no more. Where none is, the version that was stable before
    /// is stable again.
    Rollback(RollbackArgs),
    /// Remove a version that neither is stable nor tried.
    ///
    /// Deliberations that run on it go on; its bytes are deleted when the last of them has ended.
    Remove(RemoveArgs),
    /// Tell what happened to the plugins of a host, the latest first.
    ///
    /// Each line says when, who, what, and why. With --json it is a JSON object a line.
    History(HistoryArgs),
    /// Show which deliberations still run on which version.
    ///
    /// A deliberation ends on the version that it began with. With --wait the command waits until
    /// nobody runs on a version that is neither stable nor tried.
    Drain(DrainArgs),
}

impl SteerCommand {
    /// How it reaches the host.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Push(args) => &args.connection,
            Self::Import(args) => &args.connection,
            Self::Canary(args) => &args.connection,
            Self::Promote(args) => &args.connection,
            Self::Rollback(args) => &args.connection,
            Self::Remove(args) => &args.connection,
            Self::History(args) => &args.connection,
            Self::Drain(args) => &args.connection,
        }
    }
}

/// A kind of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Decides.
    Strategy,
    /// Grades.
    Scorer,
}

/// What is done once a component is taken.
#[derive(Debug, Default, Args)]
pub struct Then {
    /// Make it stable.
    #[arg(long, conflicts_with = "canary")]
    pub promote: bool,
    /// Try it on this share of the deliberations, for example 5%.
    #[arg(long, value_name = "SHARE")]
    pub canary: Option<Share>,
    /// Why; it is kept in the history.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

/// `conclave plugin push`
#[derive(Debug, Args)]
#[command(after_help = help::PUSH)]
pub struct PushArgs {
    /// The components.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The detached signature of the only FILE [default: FILE.sig, if it is there].
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// What is done once it is taken.
    #[command(flatten)]
    pub then: Then,
    /// Only have the host check it; nothing changes.
    #[arg(long, conflicts_with_all = ["promote", "canary"])]
    pub check_only: bool,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin import`
#[derive(Debug, Args)]
#[command(after_help = help::IMPORT)]
pub struct ImportArgs {
    /// REGISTRY/REPOSITORY@sha256:DIGEST.
    pub reference: String,
    /// What is done once it is taken.
    #[command(flatten)]
    pub then: Then,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// What all orders have.
#[derive(Debug, Default, Args)]
pub struct Order {
    /// Which kind, where a strategy and a scorer have the name.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Why; it is kept in the history.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Refuse it unless the name is at this revision, as `inspect` shows it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub revision: Option<i64>,
}

/// `conclave plugin canary`
#[derive(Debug, Args)]
#[command(after_help = help::CANARY)]
pub struct CanaryArgs {
    /// NAME, NAME@VERSION or NAME@sha256:DIGEST.
    pub plugin: PluginChoice,
    /// The share of the deliberations that no rule matches, for example 5%.
    #[arg(long, value_name = "SHARE")]
    pub share: Share,
    /// Another share for some: conditions and a share, as in tenant=acme,role=qa:50%; may stand several
    /// times.
    #[arg(long, value_name = "RULE")]
    pub rule: Vec<Rule>,
    /// What all orders have.
    #[command(flatten)]
    pub order: Order,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin promote`
#[derive(Debug, Args)]
#[command(after_help = help::PROMOTE)]
pub struct PromoteArgs {
    /// NAME, NAME@VERSION or NAME@sha256:DIGEST; a name stands for its canary.
    pub plugin: PluginChoice,
    /// What all orders have.
    #[command(flatten)]
    pub order: Order,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin rollback`
#[derive(Debug, Args)]
#[command(after_help = help::ROLLBACK)]
pub struct RollbackArgs {
    /// The plugin's name.
    pub name: String,
    /// What all orders have.
    #[command(flatten)]
    pub order: Order,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin remove`
#[derive(Debug, Args)]
#[command(after_help = help::REMOVE)]
pub struct RemoveArgs {
    /// NAME@VERSION, or sha256:DIGEST, of which the first eight digits are enough.
    pub plugin: String,
    /// Which kind, where a strategy and a scorer have the name.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Why; it is kept in the history.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin history`
#[derive(Debug, Args)]
#[command(after_help = help::HISTORY)]
pub struct HistoryArgs {
    /// The plugin's name [default: all].
    #[arg(default_value = "", hide_default_value = true)]
    pub name: String,
    /// How many changes at most; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Which kind, where a strategy and a scorer have the name.
    #[arg(long, value_name = "KIND", requires = "name")]
    pub kind: Option<Kind>,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin drain`
#[derive(Debug, Args)]
#[command(after_help = help::DRAIN)]
pub struct DrainArgs {
    /// The plugin's name [default: all].
    #[arg(default_value = "", hide_default_value = true)]
    pub name: String,
    /// Wait until nobody runs on a version that is neither stable nor tried.
    #[arg(long)]
    pub wait: bool,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}
