//! `plugin history`: what happened to the plugins of a host.

use super::args::HistoryArgs;
use super::{connect, json, kind_word, percent, versioned, wire_kind};
use crate::cli::terminal::{Terminal, clean};
use crate::cli::{Exit, pb};

/// Changes of one page.
const PAGE_SIZE: usize = 200;

/// Prints changes, the latest first, page by page.
pub(super) async fn history(args: &HistoryArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let limit = match args.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let mut request = pb::ListPluginChangesRequest {
        plugin_name: args.name.clone(),
        kind: wire_kind(args.kind),
        ..pb::ListPluginChangesRequest::default()
    };
    let mut shown = 0;
    loop {
        request.page_size = i32::try_from(PAGE_SIZE.min(limit - shown)).unwrap_or(i32::MAX);
        let page = client.changes(request.clone()).await?;
        for one in &page.changes {
            let text = match as_json {
                true => json::change(one).to_string(),
                false => line(one),
            };
            terminal.print(&format!("{text}\n"))?;
        }
        shown += page.changes.len();
        if page.next_page_token.is_empty() {
            return Ok(Exit::Success);
        }
        if shown >= limit {
            if !as_json {
                terminal.note(&format!(
                    "there is more; show it with --limit {}",
                    limit * 5
                ));
            }
            return Ok(Exit::Success);
        }
        request.page_token = page.next_page_token;
    }
}

/// When, who, what and why.
pub(in crate::cli) fn line(one: &pb::PluginChange) -> String {
    use pb::plugin_change::Action;
    let what = match one.action() {
        Action::Added => "added",
        Action::Promoted => "promoted",
        Action::CanaryChanged => "canary",
        Action::RolledBack => "rolled back",
        Action::Removed => "removed",
        Action::Unspecified => "?",
    };
    // A change of another kind may happen beside a canary that it is not about.
    let share = one
        .share_basis_points
        .filter(|_| one.action() == Action::CanaryChanged);
    let share = share.map(percent).unwrap_or_default();
    let by = match one.by.as_str() {
        "" => "the host",
        by => by,
    };
    let time = one.create_time.map(|time| time.to_string());
    // To the second: what follows it serves nobody's eyes.
    let time = time.unwrap_or_default();
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let plugin = versioned(&one.plugin_name, &one.plugin.clone().unwrap_or_default());
    let line = format!(
        "{time}  {:12}  {what:11}  {:8}  {plugin} {share}  {}",
        clean(by),
        kind_word(one.kind()),
        clean(&one.reason)
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line() {
        let mut change = pb::PluginChange {
            number: 3,
            create_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5,
            }),
            by: "ann".to_owned(),
            kind: pb::plugin::Kind::Strategy.into(),
            plugin_name: "vote".to_owned(),
            action: pb::plugin_change::Action::CanaryChanged.into(),
            plugin: Some(pb::PluginVersion {
                digest: "ab".repeat(32),
                version: "2.0.0".to_owned(),
            }),
            share_basis_points: Some(500),
            reason: "try\u{1b}[2J it".to_owned(),
            ..pb::PluginChange::default()
        };
        assert_eq!(
            line(&change),
            "2023-11-14 22:13:20  ann           canary       strategy  vote@2.0.0 5%  try[2J it"
        );
        change.by = String::new();
        change.share_basis_points = None;
        change.reason = String::new();
        assert!(line(&change).ends_with("vote@2.0.0"));
        assert!(line(&change).contains("  the host  "));
    }
}
