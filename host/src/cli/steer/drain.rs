//! `plugin drain`: which deliberations still run on which version.

use std::time::Duration;

use indicatif::ProgressBar;

use super::args::DrainArgs;
use super::{connect, json, kind_word, not_found, short, versioned};
use crate::cli::failure::Usage;
use crate::cli::pb::plugin::Channel;
use crate::cli::terminal::{Style, Terminal};
use crate::cli::{Exit, pb};

/// How often a host is asked again.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Deliberations of a version that are named on a line.
const NAMES_SHOWN: usize = 3;

/// Shows who runs on what, and if asked for, waits until nobody runs on what serves no more.
pub(super) async fn drain(args: &DrainArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    if let Some((name, _)) = args.name.split_once('@') {
        let message = format!(
            "`{}` names a version; drain takes a name: `{name}`",
            args.name
        );
        return Err(Usage(message).into());
    }
    let (mut client, as_json) = connect(&args.connection).await?;
    let before = client.uses(&args.name).await?;
    if before.is_empty() && !args.name.is_empty() && client.channels(&args.name).await?.is_empty() {
        return Err(not_found(&client.plugins().await?, &args.name, &args.name));
    }
    let live = args.wait && terminal.err_is_terminal && !as_json;
    let bar = match live {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    bar.enable_steady_tick(Duration::from_millis(120));
    let mut told = String::new();
    let uses = loop {
        let uses = client.uses(&args.name).await?;
        let left = left(&uses);
        if !args.wait || left.is_empty() {
            break uses;
        }
        if live {
            bar.set_message(left);
        } else if !as_json && left != told {
            terminal.note(&left);
            told = left;
        }
        tokio::time::sleep(ASKED_EVERY).await;
    };
    bar.finish_and_clear();
    let text = match as_json {
        true => uses
            .iter()
            .map(|one| format!("{}\n", json::plugin_use(one)))
            .collect(),
        false => table(&uses, terminal.style),
    };
    terminal.print(&text)?;
    if uses.is_empty() && !as_json {
        terminal.note("nobody runs");
    }
    Ok(Exit::Success)
}

/// Who still runs on versions that serve no more; empty when nobody does.
fn left(uses: &[pb::PluginUse]) -> String {
    let old = uses
        .iter()
        .filter(|one| one.channel() == Channel::Unspecified);
    let parts = old.map(|one| {
        let version = one.plugin.clone().unwrap_or_default();
        format!(
            "{} on {}",
            one.deliberation_count,
            versioned(&one.plugin_name, &version)
        )
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    match parts.is_empty() {
        true => parts,
        false => format!("deliberations still run: {parts}"),
    }
}

fn table(uses: &[pb::PluginUse], style: Style) -> String {
    if uses.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = uses
        .iter()
        .map(|one| {
            let version = one.plugin.clone().unwrap_or_default();
            (versioned(&one.plugin_name, &version), version.digest, one)
        })
        .collect();
    let width = rows.iter().map(|(plugin, ..)| plugin.chars().count()).max();
    let width = width.unwrap_or_default().max("plugin".len());
    let header = format!(
        "{:8}  {:width$}  {:12}  {:7}  {:>4}  deliberations",
        "kind", "plugin", "digest", "channel", "held"
    );
    let mut text = format!("{}\n", style.dim(&header));
    for (plugin, digest, one) in &rows {
        let channel = match one.channel() {
            Channel::Stable => "stable",
            Channel::Canary => "canary",
            Channel::Unspecified => "-",
        };
        let ids = one.deliberations.iter().take(NAMES_SHOWN);
        let mut ids: Vec<_> = ids
            .map(|name| name.trim_start_matches("deliberations/"))
            .collect();
        if usize::try_from(one.deliberation_count).unwrap_or_default() > ids.len() {
            ids.push("…");
        }
        text.push_str(&format!(
            "{:8}  {plugin:width$}  {:12}  {channel:7}  {:>4}  {}\n",
            kind_word(one.kind()),
            short(digest),
            one.deliberation_count,
            ids.join(" ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(version: &str, channel: Channel, count: i32) -> pb::PluginUse {
        let names = (0..count.min(20)).map(|at| format!("deliberations/deliberation-{at}"));
        pb::PluginUse {
            kind: pb::plugin::Kind::Strategy.into(),
            plugin_name: "vote".to_owned(),
            plugin: Some(pb::PluginVersion {
                digest: "ab".repeat(32),
                version: version.to_owned(),
            }),
            channel: channel.into(),
            deliberation_count: count,
            deliberations: names.collect(),
        }
    }

    #[test]
    fn only_what_serves_no_more_is_waited_for() {
        let serving = [
            one("2.0.0", Channel::Stable, 3),
            one("3.0.0", Channel::Canary, 1),
        ];
        assert_eq!(left(&serving), "");
        let old = [one("1.0.0", Channel::Unspecified, 2)];
        assert_eq!(left(&old), "deliberations still run: 2 on vote@1.0.0");
    }

    #[test]
    fn uses_stand_in_columns() {
        let uses = [
            one("1.0.0", Channel::Unspecified, 4),
            one("2.0.0", Channel::Stable, 1),
        ];
        insta::assert_snapshot!(table(&uses, Style::PLAIN), @r"
        kind      plugin      digest        channel  held  deliberations
        strategy  vote@1.0.0  abababababab  -           4  deliberation-0 deliberation-1 deliberation-2 …
        strategy  vote@2.0.0  abababababab  stable      1  deliberation-0
        ");
        assert_eq!(table(&[], Style::PLAIN), "");
    }
}
