//! `plugin check`: the checks of the host, without one.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Exit;
use super::args::PluginCheckArgs;
use super::failure::Usage;
use super::plugin_sign;
use super::progress::Progress;
use super::terminal::{Terminal, clean, one_line};
use crate::config::{self, Environment, Loaded, Sources};
use crate::signature::Admitted;
use crate::wasm::{Checked, ComponentError, Engine, EngineConfig, Refusal};

/// A component, and the settings that it is checked by.
pub(super) struct Offline {
    bytes: Vec<u8>,
    pub(super) loaded: Loaded,
}

impl Offline {
    pub(super) fn open(
        file: &Path,
        config: Option<&Path>,
        environment: &Environment,
    ) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file)
            .map_err(|error| Usage(format!("cannot read `{}`: {error}", file.display())))?;
        let sources = Sources {
            file: config.map(Path::to_owned),
            environment: environment.clone(),
            ..Sources::default()
        };
        let loaded = config::load(&sources)?;
        Ok(Self { bytes, loaded })
    }

    /// Checks it as a host would.
    pub(super) async fn check(
        &self,
        progress: &Progress,
    ) -> anyhow::Result<Result<Checked, Refusal>> {
        let engine = Engine::start(EngineConfig {
            // One component is checked, and not kept.
            instances_max: 1,
            compiled_max: 1,
            cache_dir: None,
            ..self.loaded.config.engine()
        });
        let engine = engine.context("cannot start the plugin engine")?;
        progress.compiling(self.bytes.len());
        let verdict = engine.check(self.bytes.as_slice()).await;
        progress.done();
        match verdict {
            Ok(checked) => Ok(Ok(checked)),
            Err(ComponentError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(error).context("the component cannot be checked"),
        }
    }
}

/// Says whether a component may be a plugin, or every reason why not.
pub(super) async fn check(
    args: &PluginCheckArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let path = args.file.display();
    let offline = Offline::open(&args.file, args.config.as_deref(), environment)?;
    let progress = Progress::new(terminal, args.json);
    let mut verdict = offline.check(&progress).await?;
    let mut admitted = Admitted::Unasked;
    if let Ok(checked) = &verdict {
        let (policy, named) = (&offline.loaded.signatures, args.signature.as_deref());
        match plugin_sign::admitted(policy, checked, &args.file, named)? {
            Ok(it) => admitted = it,
            Err(refusal) => verdict = Err(refusal),
        }
    }
    let exit = if verdict.is_ok() {
        Exit::Success
    } else {
        Exit::Failure
    };
    let shown = if args.json {
        format!("{}\n", as_json(&verdict, &admitted))
    } else {
        as_text(&path.to_string(), &verdict, &admitted)
    };
    terminal.print(&shown)?;
    Ok(exit)
}

pub(super) fn as_text(
    path: &str,
    verdict: &Result<Checked, Refusal>,
    admitted: &Admitted,
) -> String {
    match verdict {
        Ok(Checked {
            plugin,
            contract,
            canned,
        }) => format!(
            "{path} is a {kind}: {reference}, contract {contract}\n  {summary}\n  sha256:{digest}\n  {canned}\n{signed}",
            kind = plugin.kind,
            reference = plugin.reference,
            summary = clean(&plugin.descriptor.summary),
            digest = plugin.reference.digest,
            signed = match admitted {
                Admitted::Unasked => String::new(),
                Admitted::Signed(key) => format!("  signed with the trusted key {key}\n"),
                Admitted::Doubted(error) => format!("  taken with a warning: {error}\n"),
            },
            canned = one_line(&canned.to_string(), 400),
        ),
        Err(refusal) => {
            let reasons = refusal
                .reasons
                .iter()
                .map(|reason| format!("  - {}\n", clean(reason)));
            format!(
                "{path} cannot be a plugin:\n{}",
                reasons.collect::<String>()
            )
        }
    }
}

fn as_json(verdict: &Result<Checked, Refusal>, admitted: &Admitted) -> Value {
    let (signed_by, warnings) = match admitted {
        Admitted::Unasked => (None, Vec::new()),
        Admitted::Signed(key) => (Some(key.to_string()), Vec::new()),
        Admitted::Doubted(error) => (None, vec![error.to_string()]),
    };
    match verdict {
        Ok(Checked {
            plugin,
            contract,
            canned,
        }) => json!({
            "ok": true,
            "kind": plugin.kind,
            "name": plugin.reference.name,
            "version": plugin.reference.version,
            "digest": plugin.reference.digest,
            "contract": contract,
            "rehearsal": canned.to_string(),
            "summary": plugin.descriptor.summary,
            "signed_by": signed_by,
            "warnings": warnings,
            "params_schema": serde_json::from_str::<Value>(&plugin.descriptor.params_schema).ok(),
        }),
        Err(refusal) => json!({ "ok": false, "reasons": refusal.reasons }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::testkit::piped;
    use super::*;

    #[tokio::test]
    async fn every_reason_is_listed_and_the_exit_code_says_no() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("module.wasm");
        std::fs::write(&file, wat::parse_str("(module)").unwrap()).unwrap();
        for json in [false, true] {
            let args = PluginCheckArgs {
                file: file.clone(),
                config: None,
                signature: None,
                json,
            };
            let (mut terminal, out, _) = piped();
            let exit = check(&args, &Environment::default(), &mut terminal)
                .await
                .unwrap();
            assert_eq!(exit, Exit::Failure);
            let out = out.text();
            let listed = if json {
                let out: Value = serde_json::from_str(&out).unwrap();
                assert_eq!(out["ok"], false);
                out["reasons"].as_array().unwrap().len()
            } else {
                assert!(out.contains("cannot be a plugin:"), "{out}");
                out.matches("\n  - ").count()
            };
            assert!(listed >= 1);
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_wrong_usage() {
        let args = PluginCheckArgs {
            file: "/no/such.wasm".into(),
            config: None,
            signature: None,
            json: false,
        };
        let (mut terminal, ..) = piped();
        let error = check(&args, &Environment::default(), &mut terminal)
            .await
            .unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error:#}");
    }
}
