//! `plugin canary`, `promote`, `rollback` and `remove`: what names stand for.

use anyhow::bail;
use conclave_core::plugin::PluginChoice;

use super::args::{CanaryArgs, PromoteArgs, RemoveArgs, RollbackArgs};
use super::{
    channels_json, channels_text, connect, kind_word, not_found, percent, short, versioned,
    wire_kind,
};
use crate::cli::failure::Usage;
use crate::cli::terminal::{Terminal, clean};
use crate::cli::{Exit, json, pb};

/// Tries a version.
pub(super) async fn canary(args: &CanaryArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let (plugin_name, version, digest) = parts(&args.plugin);
    let request = pb::StartCanaryRequest {
        kind: wire_kind(args.order.kind),
        plugin_name,
        version,
        digest,
        share_basis_points: args.share.basis_points().into(),
        rules: args.rule.iter().map(|rule| rule.0.clone()).collect(),
        reason: args.order.reason.clone(),
        expected_revision: args.order.revision,
    };
    let before = client.channels(&request.plugin_name).await?;
    let after = client.start_canary(request).await?;
    let before = before.iter().find(|one| one.kind == after.kind);
    let name = clean(&after.plugin_name);
    let tried = after.canary.clone().unwrap_or_default();
    let mut told = format!(
        "{} is tried on {} of the deliberations",
        versioned(&name, &tried.plugin.clone().unwrap_or_default()),
        percent(tried.share_basis_points)
    );
    if let Some(ended) = before.and_then(|before| ended_trial(before, &tried)) {
        told.push_str(&format!("\n  {ended}"));
    }
    // The host may roll it back by itself before: the revision keeps the next rollback from going further.
    let revision = after.revision;
    let next = format!(
        "see how it does: `conclave plugin inspect {name}`; then `conclave plugin promote {name}` or `conclave plugin rollback {name} --revision {revision}`"
    );
    show(&after, &told, &next, as_json, terminal)
}

/// The trial of another version that began to be tried ends, if there was one.
fn ended_trial(before: &pb::PluginChannels, tried: &pb::Canary) -> Option<String> {
    let ended = before
        .canary
        .as_ref()
        .filter(|it| it.plugin != tried.plugin)?;
    let plugin = ended.plugin.clone().unwrap_or_default();
    let versioned = versioned(&clean(&before.plugin_name), &plugin);
    let rules = match ended.rules.len() {
        0 => String::new(),
        1 => ", with its rule".to_owned(),
        count => format!(", with its {count} rules"),
    };
    Some(format!("the trial of {versioned} has ended{rules}"))
}

/// Makes a version stable.
pub(super) async fn promote(args: &PromoteArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let (plugin_name, version, digest) = parts(&args.plugin);
    let request = pb::PromotePluginRequest {
        kind: wire_kind(args.order.kind),
        plugin_name,
        version,
        digest,
        reason: args.order.reason.clone(),
        expected_revision: args.order.revision,
    };
    let after = client.promote(request).await?;
    let name = clean(&after.plugin_name);
    let stable = after.stable.clone().unwrap_or_default();
    let told = format!("{} is stable", versioned(&name, &stable));
    let next = format!(
        "undo it: `conclave plugin rollback {name}`; who still runs on the version before: `conclave plugin drain {name}`"
    );
    show(&after, &told, &next, as_json, terminal)
}

/// Goes back.
pub(super) async fn rollback(args: &RollbackArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let channels = client.channels(&args.name).await?;
    let kind = wire_kind(args.order.kind);
    let mut of_kind = channels.iter().filter(|one| kind == 0 || one.kind == kind);
    let before = of_kind.next().cloned().unwrap_or_default();
    let request = pb::RollbackPluginRequest {
        kind,
        plugin_name: args.name.clone(),
        reason: args.order.reason.clone(),
        expected_revision: args.order.revision,
    };
    let after = client.rollback(request).await?;
    let (told, next) = went_back(&before, &after);
    show(&after, &told, &next, as_json, terminal)
}

/// What a rollback did, and how to undo it.
fn went_back(before: &pb::PluginChannels, after: &pb::PluginChannels) -> (String, String) {
    let name = clean(&after.plugin_name);
    let stable = versioned(&name, &after.stable.clone().unwrap_or_default());
    if before.stable != after.stable {
        let left = versioned(&name, &before.stable.clone().unwrap_or_default());
        return (
            format!("{stable} is stable again, {left} is not"),
            format!("undo it: `conclave plugin promote {left}`"),
        );
    }
    let tried = before.canary.clone().unwrap_or_default();
    let share = percent(tried.share_basis_points);
    let left = versioned(&name, &tried.plugin.unwrap_or_default());
    (
        format!("{left} is tried no more, {stable} stays stable"),
        format!("undo it: `conclave plugin canary {left} --share {share}`"),
    )
}

/// Removes a version.
pub(super) async fn remove(args: &RemoveArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let plugins = client.plugins().await?;
    let request = pb::DeletePluginRequest {
        name: meant(&plugins, &args.plugin, wire_kind(args.kind))?
            .name
            .clone(),
        reason: args.reason.clone(),
    };
    let removed = client.remove(request).await?;
    if as_json {
        terminal.print(&format!("{}\n", json::host_plugin(&removed)))?;
        return Ok(Exit::Success);
    }
    let mut text = format!(
        "{}@{} is removed: a {}, sha256:{}\n",
        clean(&removed.plugin_name),
        clean(&removed.version),
        kind_word(removed.kind()),
        short(&removed.digest)
    );
    if removed.held_by_count > 0 {
        let held = removed.held_by_count;
        text.push_str(&format!(
            "  {held} deliberations still run on it, and go on\n"
        ));
    }
    text.push_str("  undo it: push its file again\n");
    terminal.print(&text)?;
    Ok(Exit::Success)
}

/// The one plugin that is meant by `NAME@VERSION`, or by the first digits of its digest.
fn meant<'a>(plugins: &'a [pb::Plugin], typed: &str, kind: i32) -> anyhow::Result<&'a pb::Plugin> {
    const DIGITS_MIN: usize = 8;
    let of_kind = plugins.iter().filter(|one| kind == 0 || one.kind == kind);
    let digits = match typed.strip_prefix("sha256:") {
        Some(digits) => Some(digits),
        None => typed.split_once("@sha256:").map(|(_, digits)| digits),
    };
    let (found, name): (Vec<_>, _) = if let Some(digits) = digits {
        if digits.len() < DIGITS_MIN {
            let message = format!("`{typed}` is too short: give {DIGITS_MIN} digits of the digest");
            return Err(Usage(message).into());
        }
        let fits = |one: &&pb::Plugin| one.digest.starts_with(digits);
        (of_kind.filter(fits).collect(), typed)
    } else {
        let Some((name, version)) = typed.split_once('@') else {
            let message = format!("`{typed}` names no version: say {typed}@VERSION");
            return Err(Usage(message).into());
        };
        let fits = |one: &&pb::Plugin| one.plugin_name == name && one.version == version;
        (of_kind.filter(fits).collect(), name)
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(not_found(plugins, name, typed)),
        _ => bail!("`{typed}` is several plugins: say --kind, or more digits of the digest"),
    }
}

fn parts(choice: &PluginChoice) -> (String, String, String) {
    let digest = choice.digest.map(|digest| digest.to_string());
    (
        choice.name.clone(),
        choice.version.clone().unwrap_or_default(),
        digest.unwrap_or_default(),
    )
}

fn show(
    after: &pb::PluginChannels,
    told: &str,
    next: &str,
    as_json: bool,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    if as_json {
        terminal.print(&format!("{}\n", channels_json(after)))?;
    } else {
        let channels = channels_text(after, terminal.style);
        terminal.print(&format!("{told}\n{channels}{next}\n"))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Style;

    fn version(version: &str, digit: &str) -> pb::PluginVersion {
        pb::PluginVersion {
            digest: digit.repeat(64),
            version: version.to_owned(),
        }
    }

    fn channels() -> pb::PluginChannels {
        pb::PluginChannels {
            plugin_name: "vote".to_owned(),
            stable: Some(version("1.0.0", "a")),
            canary: Some(pb::Canary {
                plugin: Some(version("2.0.0", "b")),
                share_basis_points: 500,
                rules: vec![pb::CanaryRule {
                    tenant: "acme".to_owned(),
                    share_basis_points: 10_000,
                    ..pb::CanaryRule::default()
                }],
                evidence: "it did well".to_owned(),
            }),
            before: vec![version("", "c")],
            revision: 7,
            ..pb::PluginChannels::default()
        }
    }

    #[test]
    fn what_a_name_stands_for_is_told_whole() {
        insta::assert_snapshot!(channels_text(&channels(), Style::PLAIN), @r"
        Stable    1.0.0  sha256:aaaaaaaaaaaa
        Canary    2.0.0  sha256:bbbbbbbbbbbb  5%
        Before    (not listed)  sha256:cccccccccccc
        Rule      tenant=acme:100%
        Evidence  it did well
        Revision  7
        ");
    }

    #[test]
    fn a_trial_that_another_one_ends_is_told() {
        let before = channels();
        let same = before.canary.clone().unwrap();
        assert_eq!(ended_trial(&before, &same), None);
        let other = pb::Canary {
            plugin: Some(version("3.0.0", "d")),
            ..pb::Canary::default()
        };
        assert_eq!(
            ended_trial(&before, &other).unwrap(),
            "the trial of vote@2.0.0 has ended, with its rule"
        );
    }

    #[test]
    fn a_rollback_tells_what_it_undid_and_how_to_undo_it() {
        let before = channels();
        let mut after = before.clone();
        after.canary = None;
        let (told, next) = went_back(&before, &after);
        assert_eq!(told, "vote@2.0.0 is tried no more, vote@1.0.0 stays stable");
        assert_eq!(
            next,
            "undo it: `conclave plugin canary vote@2.0.0 --share 5%`"
        );
        let mut older = after.clone();
        older.stable = older.before.pop();
        let (told, next) = went_back(&after, &older);
        assert_eq!(
            told,
            "vote@sha256:cccccccccccc is stable again, vote@1.0.0 is not"
        );
        assert_eq!(next, "undo it: `conclave plugin promote vote@1.0.0`");
    }

    #[test]
    fn what_is_to_be_removed_is_named_exactly() {
        let plugin = |name: &str, version: &str, digit: &str| pb::Plugin {
            plugin_name: name.to_owned(),
            version: version.to_owned(),
            digest: digit.repeat(64),
            kind: pb::plugin::Kind::Strategy.into(),
            ..pb::Plugin::default()
        };
        let plugins = [plugin("vote", "1.0.0", "a"), plugin("vote", "2.0.0", "b")];
        let meant = |typed: &str| meant(&plugins, typed, 0).map(|one| one.version.clone());
        assert_eq!(meant("vote@2.0.0").unwrap(), "2.0.0");
        assert_eq!(meant("sha256:aaaaaaaa").unwrap(), "1.0.0");
        assert_eq!(meant("vote@sha256:bbbbbbbbb").unwrap(), "2.0.0");
        for (typed, why) in [
            ("vote", "names no version"),
            ("sha256:aaa", "is too short"),
            ("vote@3.0.0", "it has vote@1.0.0, vote@2.0.0"),
            ("vot@1.0.0", "no plugin `vot@1.0.0`; it has vote"),
        ] {
            let error = meant(typed).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
