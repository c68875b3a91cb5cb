//! `plugin list` and `plugin inspect`: the plugins that a host has.

use conclave_core::channel::Arm;
use conclave_core::plugin::PluginChoice;
use semver::Version;
use serde_json::Value;

use super::args::{PluginInspectArgs, PluginListArgs};
use super::client::Client;
use super::pb;
use super::pb::plugin::{Channel, Kind};
use super::steer::{
    change_json, channels_json, channels_text, history_line, kind_word, not_found, percent, short,
};
use super::terminal::{Style, Terminal, clean, one_line};
use super::{Exit, json};

/// Changes of a name that are told with it.
const CHANGES_SHOWN: i32 = 5;

/// Columns below which a summary says nothing.
const SUMMARY_MIN: usize = 20;

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
    let mut client = Client::connect(&args.connection).await?;
    let plugins = client.plugins().await?;
    let found = chosen(&plugins, &args.plugin);
    if found.is_empty() {
        let asked = args.plugin.to_string();
        return Err(not_found(&plugins, &args.plugin.name, &asked));
    }
    let channels = client.channels(&args.plugin.name).await?;
    for one in found {
        let request = pb::ListPluginChangesRequest {
            page_size: CHANGES_SHOWN,
            plugin_name: one.plugin_name.clone(),
            kind: one.kind,
            ..pb::ListPluginChangesRequest::default()
        };
        let changes = client.changes(request).await?.changes;
        let channels = channels.iter().find(|channels| channels.kind == one.kind);
        let text = if args.connection.json {
            let mut told = json::host_plugin(one);
            told["channels"] = channels.map_or(Value::Null, channels_json);
            told["changes"] = changes.iter().map(change_json).collect();
            format!("{told}\n")
        } else {
            details(one, channels, &changes, terminal.style)
        };
        terminal.print(&text)?;
    }
    Ok(Exit::Success)
}

/// What a choice stands for, of each kind: of a bare name the stable version, and where there is none
/// the highest.
fn chosen<'a>(plugins: &'a [pb::Plugin], choice: &PluginChoice) -> Vec<&'a pb::Plugin> {
    let fits = |one: &&pb::Plugin| {
        let version = choice.version.as_deref();
        let digest = choice.digest.map(|digest| digest.to_string());
        let fits = |version: &str| match Arm::named(version) {
            Some(Arm::Stable) => one.channel() == Channel::Stable,
            Some(Arm::Canary) => one.channel() == Channel::Canary,
            None => *version == one.version,
        };
        one.plugin_name == choice.name
            && version.is_none_or(fits)
            && digest.is_none_or(|digest| digest == one.digest)
    };
    let kinds = [Kind::Strategy, Kind::Scorer].into_iter();
    let found = kinds.filter_map(|kind| {
        let of_kind = plugins.iter().filter(fits).filter(|one| one.kind() == kind);
        of_kind.max_by_key(|one| {
            let stable = one.channel() == Channel::Stable;
            (stable, Version::parse(&one.version).ok())
        })
    });
    found.collect()
}

/// What a component is to its name.
fn channel(one: &pb::Plugin) -> String {
    match one.channel() {
        Channel::Stable => "stable".to_owned(),
        Channel::Canary => format!("canary {}", percent(one.share_basis_points)),
        Channel::Unspecified => "-".to_owned(),
    }
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
    // On a narrow terminal the summary is what is not needed.
    let room = style.width.saturating_sub(width + 58);
    let room = if room < SUMMARY_MIN { 0 } else { room };
    let summary = if room == 0 { "" } else { "summary" };
    let header = format!(
        "{:8}  {:width$}  {:12}  {:13}  {:>4}  {:>9}  {summary}",
        "kind", "plugin", "digest", "channel", "held", "size"
    );
    let mut text = format!("{}\n", style.dim(header.trim_end()));
    for one in plugins {
        let row = format!(
            "{:8}  {:width$}  {:12}  {:13}  {:>4}  {:>9}  {}",
            kind_word(one.kind()),
            named(one),
            short(&one.digest),
            channel(one),
            one.held_by_count,
            size(one.size_bytes),
            match room {
                0 => String::new(),
                room => one_line(&one.summary, room),
            },
        );
        text.push_str(&format!("{}\n", row.trim_end()));
    }
    text
}

/// Where it comes from, when, and by whom.
fn origin(one: &pb::Plugin) -> String {
    use pb::plugin::Origin;
    let mut text = match one.origin() {
        Origin::BuiltIn => "built in".to_owned(),
        Origin::File => format!("the file {}", clean(&one.file_name)),
        Origin::Upload => "pushed".to_owned(),
        Origin::Oci => clean(&one.oci_reference),
        Origin::Unspecified => "?".to_owned(),
    };
    if !one.added_by.is_empty() {
        text.push_str(&format!(", by {}", clean(&one.added_by)));
    }
    if let Some(time) = one.add_time {
        text.push_str(&format!(", {time}"));
    }
    text
}

fn details(
    one: &pb::Plugin,
    channels: Option<&pb::PluginChannels>,
    changes: &[pb::PluginChange],
    style: Style,
) -> String {
    let is = match (one.channel(), one.is_default) {
        (Channel::Stable, true) => "stable, also for requests that name none".to_owned(),
        (Channel::Unspecified, _) => "neither stable nor tried".to_owned(),
        _ => channel(one),
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
        style.dim(kind_word(one.kind())),
        clean(&one.summary)
    );
    let signed = match one.signed_by.as_str() {
        "" => "no".to_owned(),
        key => format!("by {}", clean(key)),
    };
    for (name, value) in [
        ("Digest", format!("sha256:{}", one.digest)),
        ("Origin", origin(one)),
        ("Signed", signed),
        ("Size", size(one.size_bytes)),
        ("Contract", one.contract.clone()),
        ("Channel", is),
        ("Held by", format!("{} deliberations", one.held_by_count)),
    ] {
        text.push_str(&format!("{} {value}\n", style.dim(&format!("{name:<9}"))));
    }
    if let Some(channels) = channels {
        let name = style.dim(&clean(&one.plugin_name));
        text.push_str(&format!("\n{name}\n"));
        text.push_str(&channels_text(channels, style));
    }
    if !changes.is_empty() {
        text.push_str(&format!("\n{}\n", style.dim("Changes")));
        let lines = changes.iter().map(|one| format!("{}\n", history_line(one)));
        text.extend(lines);
    }
    text.push_str(&format!("\n{}\n{}\n", style.dim("Params"), clean(&schema)));
    text
}

fn size(bytes: i64) -> String {
    format!("{} KiB", bytes.div_euclid(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(kind: Kind, name: &str, version: &str) -> pb::Plugin {
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
    fn a_name_stands_for_the_stable_version_of_each_kind() {
        use pb::plugin::Kind::{Scorer, Strategy};
        let mut plugins = [
            plugin(Strategy, "vote", "0.9.0"),
            plugin(Strategy, "vote", "0.10.0"),
            plugin(Strategy, "vote", "0.11.0"),
            plugin(Scorer, "vote", "0.1.0"),
        ];
        plugins[1].set_channel(Channel::Stable);
        plugins[2].set_channel(Channel::Canary);
        plugins[2].share_basis_points = 250;
        plugins[1].held_by_count = 3;
        let versions = |choice: &str| {
            let found = chosen(&plugins, &choice.parse().unwrap());
            found
                .iter()
                .map(|one| one.version.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(versions("vote"), ["0.10.0", "0.1.0"]);
        assert_eq!(versions("vote@0.9.0"), ["0.9.0"]);
        assert_eq!(versions("vote@canary"), ["0.11.0"]);
        assert_eq!(versions("vot"), [] as [&str; 0]);
        insta::assert_snapshot!(table(&plugins, Style::PLAIN), @r"
        kind      plugin       digest        channel        held       size  summary
        strategy  vote@0.9.0   abababababab  -                 0      4 KiB  Votes.
        strategy  vote@0.10.0  abababababab  stable            3      4 KiB  Votes.
        strategy  vote@0.11.0  abababababab  canary 2.5%       0      4 KiB  Votes.
        scorer    vote@0.1.0   abababababab  -                 0      4 KiB  Votes.
        ");
        let told = details(&plugins[2], None, &[], Style::PLAIN);
        assert!(told.contains("Channel   canary 2.5%\n"), "{told}");
        assert!(told.contains("Params\n{}\n"), "{told}");
    }

    #[test]
    fn of_an_unknown_version_the_versions_are_told() {
        let plugins = [
            plugin(Kind::Strategy, "vote", "0.9.0"),
            plugin(Kind::Strategy, "vote", "0.10.0"),
        ];
        let error = not_found(&plugins, "vote", "vote@1.0.0").to_string();
        assert_eq!(
            error,
            "the host has no `vote@1.0.0`; it has vote@0.9.0, vote@0.10.0"
        );
        let error = not_found(&plugins, "vot", "vot").to_string();
        assert_eq!(error, "the host has no plugin `vot`; it has vote");
    }
}
