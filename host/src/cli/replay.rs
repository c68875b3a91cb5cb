//! `replay`: a past deliberation once more, offline.

mod source;

use std::path::Path;

use anyhow::{Context as _, bail};
use conclave_core::entry::{Accepted, Entry, Record};
use conclave_core::ids::DeliberationId;
use conclave_core::plugin::PluginRef;
use serde_json::{Value, json};

use self::source::Source;
use super::Exit;
use super::args::ReplayArgs;
use super::failure::Usage;
use super::progress::Progress;
use super::steps::{Step, ending, steps};
use super::terminal::{Terminal, clean};
use crate::rehearsal::record;
use crate::rehearsal::replay::{Again, Anew, again, anew, verdict_of};
use crate::wasm::{Engine, EngineConfig, Solo};

/// Replays, or writes the record to a file.
pub(super) async fn replay(args: &ReplayArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut source = Source::of(args).await?;
    let progress = Progress::new(terminal, args.connection.json);
    progress.step("reading the record");
    let records = source.records(&progress).await?;
    let Some(Entry::Accepted(accepted)) = records.first().map(|record| &record.entry) else {
        bail!("the record does not begin with the acceptance of a deliberation");
    };
    if let Some(path) = &args.export {
        progress.done();
        return export(path, &records, args.connection.json, terminal);
    }
    let engine = Engine::start(EngineConfig {
        instances_max: 1,
        compiled_max: 4,
        cache_dir: None,
        ..EngineConfig::default()
    });
    let engine = engine.context("cannot start the plugin engine")?;
    let (solo, reference, is_other) = match &args.plugin {
        Some(path) => {
            let (solo, reference) = other(&engine, path, &progress).await?;
            (solo, reference, true)
        }
        None => {
            progress.step("fetching and compiling the strategy");
            let solo = source.strategy(accepted, &engine, &progress).await?;
            (solo, accepted.strategy.clone(), false)
        }
    };
    progress.step("replaying");
    let replayed = again(&records, &solo, &reference).await?;
    let begun = match is_other && replayed.divergence.is_some() {
        true => {
            let scorer = source.scorer(accepted, &engine, &progress).await;
            Some(anew(&records, &solo, &reference, scorer).await?)
        }
        false => None,
    };
    progress.done();
    let shown = Shown {
        accepted,
        records: &records,
        reference: &reference,
        again: &replayed,
        anew: begun.as_ref(),
    };
    terminal.print(&match args.connection.json {
        true => format!("{}\n", shown.to_json()),
        false => shown.to_text(),
    })?;
    Ok(match replayed.divergence {
        None => Exit::Success,
        Some(_) => Exit::Failure,
    })
}

fn export(
    path: &Path,
    records: &[Record],
    as_json: bool,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    std::fs::write(path, record::write(records))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    let (file, count) = (path.display().to_string(), records.len());
    terminal.print(&match as_json {
        true => format!("{}\n", json!({ "file": file, "entries": count })),
        false => format!("{count} entries are in {}\n", clean(&file)),
    })?;
    Ok(Exit::Success)
}

/// A component of the user's.
async fn other(
    engine: &Engine,
    path: &Path,
    progress: &Progress,
) -> anyhow::Result<(Solo, PluginRef)> {
    let bytes = std::fs::read(path)
        .map_err(|error| Usage(format!("cannot read `{}`: {error}", path.display())))?;
    progress.compiling(bytes.len());
    let solo = engine.solo(bytes.into()).await;
    let solo = solo.with_context(|| format!("`{}` cannot be a plugin", path.display()))?;
    let described = solo.describe().await;
    let described = described.with_context(|| format!("`{}`: describe", path.display()))?;
    let reference = PluginRef {
        name: described.name,
        version: described.version,
        digest: solo.digest(),
    };
    Ok((solo, reference))
}

/// What came of a replay.
struct Shown<'a> {
    accepted: &'a Accepted,
    records: &'a [Record],
    reference: &'a PluginRef,
    again: &'a Again,
    anew: Option<&'a Anew>,
}

impl Shown<'_> {
    /// The recorded steps, with the prompts of whoever asked again.
    fn steps(&self) -> Vec<Step> {
        let requests = match self.again.divergence {
            None => self.again.played.requests.clone(),
            // Whoever diverged asked for something else.
            Some(_) => std::collections::BTreeMap::new(),
        };
        steps(self.records, &requests)
    }

    fn recorded_end(&self) -> String {
        verdict_of(self.records).map_or_else(|| "it has not ended".to_owned(), ending)
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for step in self.steps() {
            text.push_str(&format!("{}\n", step.line()));
        }
        let reference = self.reference;
        match &self.again.divergence {
            None => {
                text.push_str(&format!(
                    "\n{reference} repeated every step of {}\n",
                    self.accepted.id
                ));
            }
            Some(divergence) => {
                text.push_str(&format!(
                    "\n{reference} does something else than the record\n  first divergence: {}\n",
                    clean(divergence)
                ));
            }
        }
        if let Some(anew) = self.anew {
            self.tell_anew(anew, &mut text);
        }
        // What the plugin logs while it repeats a record is not told twice: a run of its own has all.
        let last = self.anew.map_or(&self.again.played, |anew| &anew.played);
        for line in &last.log {
            text.push_str(&format!("log {}\n", clean(line)));
        }
        text
    }

    fn tell_anew(&self, anew: &Anew, text: &mut String) {
        let now = once(ending(&anew.played.verdict), text);
        text.push_str(&format!(
            "  recorded: {}\n  now:      {now}\n",
            once(self.recorded_end(), text)
        ));
        for unrecorded in &anew.unrecorded {
            text.push_str(&format!("  {}\n", clean(unrecorded)));
        }
        if !anew.unrecorded.is_empty() {
            text.push_str("  what is not in the record was answered as unavailable\n");
        }
        text.push_str("\nanew, on what was recorded:\n");
        for mut step in steps(&anew.played.records, &anew.played.requests) {
            step.text = once(step.text, text);
            text.push_str(&format!("{}\n", step.line()));
        }
    }

    fn to_json(&self) -> Value {
        let list = |steps: Vec<Step>| steps.iter().map(Step::to_json).collect::<Vec<_>>();
        let anew = self.anew.map(|anew| {
            json!({
                "end": ending(&anew.played.verdict),
                "unrecorded": anew.unrecorded,
                "steps": list(steps(&anew.played.records, &anew.played.requests)),
                "log": anew.played.log,
            })
        });
        json!({
            "deliberation": self.accepted.id,
            "plugin": self.reference,
            "steps": list(self.steps()),
            "recorded_end": self.recorded_end(),
            "end": ending(&self.again.played.verdict),
            "divergence": self.again.divergence,
            "log": self.again.played.log,
            "anew": anew,
        })
    }
}

/// An ending, without a reason that was told already: that of a trap fills some lines.
fn once(ending: String, told: &str) -> String {
    match ending.strip_prefix("failed: ") {
        Some(reason) if told.contains(reason) => "failed, as told above".to_owned(),
        _ => ending,
    }
}

/// The id in what a user typed.
fn id_of(typed: &str) -> DeliberationId {
    DeliberationId::new(typed.strip_prefix("deliberations/").unwrap_or(typed))
}
