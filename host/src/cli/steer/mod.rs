//! The commands of operators: bring plugins to a host, point names at them, and see who runs on them.

pub mod args;
mod drain;
mod help;
mod history;
mod json;
mod orders;
mod push;
mod rule;

use anyhow::anyhow;
use conclave_core::plugin::near_names;

use super::client::Client;
use super::terminal::{Style, Terminal, clean};
use super::{Exit, pb};
use args::{Kind, SteerCommand};

pub(super) use history::line as history_line;
pub(super) use json::{change as change_json, channels as channels_json};
pub use rule::Rule;
pub(super) use rule::percent;

/// Runs one of the commands.
pub(super) async fn run(command: &SteerCommand, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    match command {
        SteerCommand::Push(args) => push::push(args, terminal).await,
        SteerCommand::Import(args) => push::import(args, terminal).await,
        SteerCommand::Canary(args) => orders::canary(args, terminal).await,
        SteerCommand::Promote(args) => orders::promote(args, terminal).await,
        SteerCommand::Rollback(args) => orders::rollback(args, terminal).await,
        SteerCommand::Remove(args) => orders::remove(args, terminal).await,
        SteerCommand::History(args) => history::history(args, terminal).await,
        SteerCommand::Drain(args) => drain::drain(args, terminal).await,
    }
}

/// The kind of the wire; not said, the host finds out.
fn wire_kind(kind: Option<Kind>) -> i32 {
    match kind {
        None => pb::plugin::Kind::Unspecified.into(),
        Some(Kind::Strategy) => pb::plugin::Kind::Strategy.into(),
        Some(Kind::Scorer) => pb::plugin::Kind::Scorer.into(),
    }
}

pub(super) fn kind_word(kind: pb::plugin::Kind) -> &'static str {
    match kind {
        pb::plugin::Kind::Strategy => "strategy",
        pb::plugin::Kind::Scorer => "scorer",
        pb::plugin::Kind::Unspecified => "?",
    }
}

/// The first digits of a digest, which people compare.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// `vote@1.0.0`, or the digest of what has no version any more.
fn versioned(name: &str, version: &pb::PluginVersion) -> String {
    match version.version.as_str() {
        "" => format!("{}@sha256:{}", clean(name), short(&version.digest)),
        version => format!("{}@{}", clean(name), clean(version)),
    }
}

/// What a name stands for, a line for each channel.
pub(super) fn channels_text(one: &pb::PluginChannels, style: Style) -> String {
    let mut text = String::new();
    let mut line = |channel: &str, version: &pb::PluginVersion, more: &str| {
        let shown = match version.version.as_str() {
            "" => "(not listed)".to_owned(),
            version => clean(version),
        };
        let digest = short(&version.digest);
        let channel = style.dim(&format!("{channel:<9}"));
        text.push_str(&format!("{channel} {shown}  sha256:{digest}{more}\n"));
    };
    match &one.stable {
        Some(stable) => line("Stable", stable, ""),
        None => line("Stable", &pb::PluginVersion::default(), ""),
    }
    if let Some(canary) = &one.canary {
        let plugin = canary.plugin.clone().unwrap_or_default();
        line(
            "Canary",
            &plugin,
            &format!("  {}", percent(canary.share_basis_points)),
        );
    }
    if let Some(before) = one.before.first() {
        line("Before", before, "");
    }
    for rule in one.canary.iter().flat_map(|canary| &canary.rules) {
        text.push_str(&format!(
            "{} {}\n",
            style.dim("Rule     "),
            clean(&rule::typed(rule))
        ));
    }
    let evidence = one.canary.as_ref().map_or("", |canary| &canary.evidence);
    if !evidence.is_empty() {
        text.push_str(&format!("{} {}\n", style.dim("Evidence "), clean(evidence)));
    }
    text.push_str(&format!("{} {}\n", style.dim("Revision "), one.revision));
    text
}

/// The error of a plugin that is not there: of an unknown version it names the versions, of an unknown
/// name those that come near.
pub(super) fn not_found(plugins: &[pb::Plugin], name: &str, asked: &str) -> anyhow::Error {
    let versions: Vec<_> = plugins
        .iter()
        .filter(|one| one.plugin_name == name)
        .map(|one| format!("{}@{}", clean(&one.plugin_name), clean(&one.version)))
        .collect();
    if !versions.is_empty() {
        return anyhow!("the host has no `{asked}`; it has {}", versions.join(", "));
    }
    let names = plugins.iter().map(|one| one.plugin_name.as_str());
    let mut near = near_names(name, names);
    near.dedup();
    anyhow!(
        "the host has no plugin `{asked}`; it has {}",
        near.join(", ")
    )
}

/// A connection, and whether to print JSON.
async fn connect(connection: &super::Connection) -> anyhow::Result<(Client, bool)> {
    Ok((Client::connect(connection).await?, connection.json))
}
