//! `plugin list` and `plugin inspect`: the plugins that a host has.

use anyhow::bail;
use conclave_core::plugin::{PluginChoice, near_names};
use semver::Version;
use serde_json::Value;

use super::args::{PluginInspectArgs, PluginListArgs};
use super::client::Client;
use super::pb;
use super::terminal::{Style, Terminal, clean, one_line};
use super::{Exit, json};

/// Prints a line for each plugin.
pub(super) async fn list(args: &PluginListArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let plugins = Client::connect(&args.connection).await?.plugins().await?;
    let text = if args.connection.json {
        let lines = plugins
            .iter()
            .map(|one| format!("{}\n", json::host_plugin(one)));
        lines.collect()
    } else {
        table(&plugins, terminal.style)
    };
    terminal.print(&text)?;
    Ok(Exit::Success)
}

/// Prints all that is known of one plugin.
pub(super) async fn inspect(
    args: &PluginInspectArgs,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let plugins = Client::connect(&args.connection).await?.plugins().await?;
    let found = chosen(&plugins, &args.plugin);
    if found.is_empty() {
        let names = plugins.iter().map(|one| one.plugin_name.as_str());
        let near = near_names(&args.plugin.name, names).join(", ");
        bail!("the host has no plugin `{}`; it has {near}", args.plugin);
    }
    for one in found {
        let text = if args.connection.json {
            format!("{}\n", json::host_plugin(one))
        } else {
            details(one, terminal.style)
        };
        terminal.print(&text)?;
    }
    Ok(Exit::Success)
}

/// What a choice stands for: of each kind the one with the highest version.
fn chosen<'a>(plugins: &'a [pb::Plugin], choice: &PluginChoice) -> Vec<&'a pb::Plugin> {
    let fits = |one: &&pb::Plugin| {
        let version = choice.version.as_ref();
        let digest = choice.digest.map(|digest| digest.to_string());
        one.plugin_name == choice.name
            && version.is_none_or(|version| *version == one.version)
            && digest.is_none_or(|digest| digest == one.digest)
    };
    let kinds = [pb::plugin::Kind::Strategy, pb::plugin::Kind::Scorer].into_iter();
    let found = kinds.filter_map(|kind| {
        let of_kind = plugins.iter().filter(fits).filter(|one| one.kind() == kind);
        of_kind.max_by_key(|one| Version::parse(&one.version).ok())
    });
    found.collect()
}

fn table(plugins: &[pb::Plugin], style: Style) -> String {
    let named = |one: &pb::Plugin| {
        let star = if one.is_default { " *" } else { "" };
        format!(
            "{}@{}{star}",
            one_line(&one.plugin_name, 40),
            one_line(&one.version, 20)
        )
    };
    let width = plugins.iter().map(|one| named(one).chars().count()).max();
    let width = width.unwrap_or_default().max("plugin".len());
    let room = style.width.saturating_sub(width + 36).max(20);
    let header = format!(
        "{:8}  {:width$}  {:12}  {:>8}  summary",
        "kind", "plugin", "digest", "size"
    );
    let mut text = format!("{}\n", style.dim(&header));
    for one in plugins {
        let row = format!(
            "{:8}  {:width$}  {:12}  {:>8}  {}",
            kind(one),
            named(one),
            one.digest.get(..12).unwrap_or(&one.digest),
            size(one.size_bytes),
            one_line(&one.summary, room),
        );
        text.push_str(&format!("{}\n", row.trim_end()));
    }
    text
}

fn details(one: &pb::Plugin, style: Style) -> String {
    let origin = match one.origin() {
        pb::plugin::Origin::File => format!("the file {}", clean(&one.file_name)),
        _ => "built in".to_owned(),
    };
    let served = match one.is_default {
        true => "requests that name none, too",
        false => "requests that name it",
    };
    let schema: Result<Value, _> = serde_json::from_str(&one.params_schema_json);
    let schema = schema.and_then(|schema| serde_json::to_string_pretty(&schema));
    let schema = schema.unwrap_or_else(|_| one.params_schema_json.clone());
    let mut text = format!(
        "{} {}\n{}\n\n",
        style.bold(&format!(
            "{}@{}",
            clean(&one.plugin_name),
            clean(&one.version)
        )),
        style.dim(kind(one)),
        clean(&one.summary)
    );
    for (name, value) in [
        ("Digest", format!("sha256:{}", one.digest)),
        ("Origin", origin),
        ("Size", size(one.size_bytes)),
        ("Contract", one.contract.clone()),
        ("Serves", served.to_owned()),
    ] {
        text.push_str(&format!("{} {value}\n", style.dim(&format!("{name:<9}"))));
    }
    text.push_str(&format!("\n{}\n{}\n", style.dim("Params"), clean(&schema)));
    text
}

fn kind(one: &pb::Plugin) -> &'static str {
    match one.kind() {
        pb::plugin::Kind::Strategy => "strategy",
        pb::plugin::Kind::Scorer => "scorer",
        pb::plugin::Kind::Unspecified => "?",
    }
}

fn size(bytes: i64) -> String {
    format!("{} KiB", bytes.div_euclid(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(kind: pb::plugin::Kind, name: &str, version: &str) -> pb::Plugin {
        pb::Plugin {
            kind: kind.into(),
            plugin_name: name.to_owned(),
            version: version.to_owned(),
            digest: "ab".repeat(32),
            size_bytes: 4096,
            summary: "Votes.".to_owned(),
            params_schema_json: "{}".to_owned(),
            ..pb::Plugin::default()
        }
    }

    #[test]
    fn a_name_stands_for_the_highest_version_of_each_kind() {
        use pb::plugin::Kind::{Scorer, Strategy};
        let plugins = [
            plugin(Strategy, "vote", "0.9.0"),
            plugin(Strategy, "vote", "0.10.0"),
            plugin(Scorer, "vote", "0.1.0"),
        ];
        let versions = |choice: &str| {
            let found = chosen(&plugins, &choice.parse().unwrap());
            found
                .iter()
                .map(|one| one.version.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(versions("vote"), ["0.10.0", "0.1.0"]);
        assert_eq!(versions("vote@0.9.0"), ["0.9.0"]);
        assert_eq!(versions("vot"), [] as [&str; 0]);
        let shown = table(&plugins, Style::PLAIN);
        assert!(
            shown.contains("strategy  vote@0.10.0  abababababab     4 KiB  Votes.\n"),
            "{shown}"
        );
        assert!(details(&plugins[0], Style::PLAIN).contains("Params\n{}\n"));
    }
}
