//! `plugin push` and `plugin import`: how components come to a host.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::{ImportArgs, PushArgs, Then};
use super::{connect, json, kind_word, percent, short};
use crate::cli::client::Client;
use crate::cli::failure::{Usage, describe};
use crate::cli::pb::plugin::Channel;
use crate::cli::pb::rollout::Step;
use crate::cli::pb::upload_plugin_request::Part;
use crate::cli::plugin_sign::signature_of;
use crate::cli::terminal::{Terminal, clean};
use crate::cli::{Exit, pb};

/// Bytes of a chunk: some hundred of them are the largest component.
const CHUNK_BYTES: usize = 256 << 10;

/// Brings components, one after the other; one that is refused does not keep the others back.
pub(super) async fn push(args: &PushArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    if args.signature.is_some() && args.files.len() > 1 {
        let message = "--signature is of one file, but there are several";
        return Err(Usage(message.to_owned()).into());
    }
    let (mut client, as_json) = connect(&args.connection).await?;
    if let [file] = args.files.as_slice() {
        push_one(&mut client, args, file, terminal).await?;
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    for file in &args.files {
        if let Err(error) = push_one(&mut client, args, file, terminal).await {
            exit = Exit::Failure;
            terminal.note(&describe(&error, as_json));
        }
    }
    Ok(exit)
}

async fn push_one(
    client: &mut Client,
    args: &PushArgs,
    file: &Path,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let path = file.display();
    let bytes =
        std::fs::read(file).map_err(|error| Usage(format!("cannot read `{path}`: {error}")))?;
    if bytes.is_empty() {
        return Err(Usage(format!("`{path}` is empty")).into());
    }
    let metadata = pb::UploadMetadata {
        size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        signature: signature_of(file, args.signature.as_deref())?.unwrap_or_default(),
        validate_only: args.check_only,
        rollout: rollout(&args.then),
    };
    let live = terminal.err_is_terminal && !args.connection.json;
    let bar = progress(live, bytes.len() as u64);
    let told = bar.clone();
    let chunks: Vec<_> = bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
    let chunks = chunks.into_iter().map(move |chunk| {
        told.inc(chunk.len() as u64);
        if told.position() == told.length().unwrap_or_default() {
            told.set_message("the host checks and compiles it");
        }
        Part::Chunk(chunk)
    });
    let parts = std::iter::once(Part::Metadata(metadata)).chain(chunks);
    let parts = parts.map(|part| pb::UploadPluginRequest { part: Some(part) });
    let answer = client.upload(stream::iter(parts)).await;
    bar.finish_and_clear();
    let answer = answer.with_context(|| match args.check_only {
        true => format!("the host would not take `{path}`"),
        false => format!("the host did not take `{path}`"),
    })?;
    show(&answer, args.check_only, args.connection.json, terminal)
}

/// Has a component fetched.
pub(super) async fn import(args: &ImportArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let bar = progress(terminal.err_is_terminal && !as_json, 0);
    bar.set_message("the host fetches, checks and compiles it");
    let request = pb::ImportPluginRequest {
        reference: args.reference.clone(),
        rollout: rollout(&args.then),
    };
    let answer = client.import(request).await;
    bar.finish_and_clear();
    show(&answer?, false, as_json, terminal)?;
    Ok(Exit::Success)
}

fn rollout(then: &Then) -> Option<pb::Rollout> {
    let (step, share) = match (then.promote, then.canary) {
        (true, _) => (Step::Promote, 0),
        (false, Some(share)) => (Step::Canary, i32::from(share.basis_points())),
        (false, None) => return None,
    };
    Some(pb::Rollout {
        step: step.into(),
        share_basis_points: share,
        reason: then.reason.clone(),
    })
}

/// A bar on a terminal, and else nothing; of what has no length, a spinner.
fn progress(live: bool, length: u64) -> ProgressBar {
    if !live {
        return ProgressBar::hidden();
    }
    let template = match length {
        0 => "{spinner} {elapsed:>4} {wide_msg}",
        _ => "{spinner} {elapsed:>4} {bytes:>10} of {total_bytes} {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is written for it");
    let bar = ProgressBar::new(length).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show(
    answer: &pb::UploadPluginResponse,
    check_only: bool,
    as_json: bool,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let text = match as_json {
        true => format!("{}\n", json::arrival(answer)),
        false => text(answer, check_only),
    };
    terminal.print(&text)?;
    Ok(())
}

/// What became of it, and what comes next.
fn text(answer: &pb::UploadPluginResponse, check_only: bool) -> String {
    let plugin = answer.plugin.clone().unwrap_or_default();
    let name = clean(&plugin.plugin_name);
    let versioned = format!("{name}@{}", clean(&plugin.version));
    let verdict = match (check_only, answer.already_known) {
        (_, true) => "is there already",
        (true, false) => "can be pushed",
        (false, false) => "is taken",
    };
    let mut text = format!(
        "{versioned} {verdict}: a {}, sha256:{}\n",
        kind_word(plugin.kind()),
        short(&plugin.digest)
    );
    if !plugin.signed_by.is_empty() {
        text.push_str(&format!("  signed by {}\n", clean(&plugin.signed_by)));
    }
    for warning in &answer.warnings {
        text.push_str(&format!("  warning: {}\n", clean(warning)));
    }
    let next = match (check_only, plugin.channel()) {
        (true, _) => "nothing was changed".to_owned(),
        (false, Channel::Stable) => {
            format!("it is stable: it serves the deliberations that ask for {name}")
        }
        (false, Channel::Canary) => format!(
            "it is tried on {} of them; next: `conclave plugin inspect {name}`, which tells how to end it, then `conclave plugin promote {name}`",
            percent(plugin.share_basis_points)
        ),
        (false, Channel::Unspecified) => format!(
            "it serves nobody yet; next: `conclave plugin canary {versioned} --share 5%` or `conclave plugin promote {versioned}`"
        ),
    };
    text.push_str(&format!("  {next}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(channel: Channel) -> pb::UploadPluginResponse {
        pb::UploadPluginResponse {
            plugin: Some(pb::Plugin {
                plugin_name: "vote".to_owned(),
                version: "2.0.0".to_owned(),
                digest: "ab".repeat(32),
                kind: pb::plugin::Kind::Strategy.into(),
                channel: channel.into(),
                share_basis_points: 500,
                ..pb::Plugin::default()
            }),
            warnings: vec!["it is not signed".to_owned()],
            ..pb::UploadPluginResponse::default()
        }
    }

    #[test]
    fn the_next_step_is_told() {
        insta::assert_snapshot!(text(&answer(Channel::Unspecified), false), @r"
        vote@2.0.0 is taken: a strategy, sha256:abababababab
          warning: it is not signed
          it serves nobody yet; next: `conclave plugin canary vote@2.0.0 --share 5%` or `conclave plugin promote vote@2.0.0`
        ");
        let tried = text(&answer(Channel::Canary), false);
        assert!(tried.contains("it is tried on 5% of them"), "{tried}");
        let only = text(&answer(Channel::Unspecified), true);
        assert!(
            only.contains("can be pushed") && only.contains("nothing was changed"),
            "{only}"
        );
    }
}
