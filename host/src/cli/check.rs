//! `serve --check`: the effective configuration, and what can be checked without serving.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use conclave_core::plugin::{Kind, Plugins as _};
use serde_json::json;

use super::Exit;
use super::args::ServeArgs;
use super::scratch::Scratch;
use super::terminal::Terminal;
use crate::config::{self, Config, Environment, Loaded};
use crate::plugin_store::PluginStore;
use crate::wasm::{Engine, EngineConfig};

/// What was found beside the configuration itself.
#[derive(Debug, Default)]
struct Findings {
    /// What must be mended before the host starts.
    problems: Vec<String>,
    /// What the operator should know.
    notices: Vec<String>,
    /// Plugins that would be loaded.
    plugins: Vec<String>,
}

/// Prints the configuration and what is wrong with it. A configuration that does not load is an
/// error, which names everything that is wrong with it.
pub(super) async fn check(
    args: &ServeArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let loaded = config::load(&args.sources(environment.clone()))?;
    let findings = find(&loaded).await?;
    let shown = if args.json {
        let report = json!({
            "ok": findings.problems.is_empty(),
            "problems": findings.problems,
            "notices": findings.notices,
            "plugins": findings.plugins,
            "config": loaded.config,
        });
        format!("{report}\n")
    } else {
        format!("{}\n{}", loaded.to_toml(), as_comments(&findings))
    };
    terminal.print(&shown)?;
    for problem in findings.problems.iter().filter(|_| !args.json) {
        terminal.note(&format!("error: {problem}"));
    }
    Ok(if findings.problems.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// Comments, so that the whole output is a configuration file.
fn as_comments(findings: &Findings) -> String {
    let mut text = format!("# plugins: {}\n", findings.plugins.join(", "));
    for notice in &findings.notices {
        text.push_str(&format!("# note: {notice}\n"));
    }
    match findings.problems.len() {
        0 => text.push_str("# all checks passed\n"),
        count => text.push_str(&format!("# {count} checks failed, see below\n")),
    }
    text
}

async fn find(loaded: &Loaded) -> anyhow::Result<Findings> {
    let config = &loaded.config;
    let mut findings = Findings {
        notices: loaded.notices.clone(),
        ..Findings::default()
    };
    if let Err(error) = writable(&config.server.data_dir) {
        let dir = config.server.data_dir.display();
        findings.problems.push(format!(
            "the data directory `{dir}` is not writable: {error}; make it writable, or set `server.data_dir` to another one"
        ));
    }
    if let Err(error) = plugins(config, &mut findings).await {
        findings.problems.push(format!("{error:#}"));
    }
    Ok(findings)
}

/// Loads the plugins as `serve` does, but into a store that is thrown away.
async fn plugins(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let scratch = Scratch::new().context("cannot make a temporary directory")?;
    let engine = Engine::start(EngineConfig {
        cache_dir: None,
        ..config.engine()
    });
    let engine = Arc::new(engine.context("cannot start the plugin engine")?);
    let store = PluginStore::open(scratch.path(), engine).context("cannot open a plugin store")?;
    store
        .load_built_in()
        .await
        .context("cannot load the built-in plugins")?;
    if let Some(dir) = &config.plugins.dir
        && let Err(error) = store.load_dir(dir).await
    {
        let error = anyhow::Error::new(error);
        let mend = "mend or remove the file, or set `plugins.dir` to another directory";
        findings.problems.push(format!("{error:#}; {mend}"));
    }
    let policy = config.terms().policy;
    for (kind, key, choice) in [
        (
            Kind::Strategy,
            "plugins.strategy_default",
            &policy.strategy_default,
        ),
        (
            Kind::Scorer,
            "plugins.scorer_default",
            &policy.scorer_default,
        ),
    ] {
        if let Err(error) = store.resolve(kind, choice).await {
            findings.problems.push(format!("`{key}`: {error}"));
        }
    }
    let listed = store.list().into_iter();
    findings.plugins = listed
        .map(|listed| listed.plugin.reference.to_string())
        .collect();
    Ok(())
}

/// Whether files can be made in the directory, or it in the nearest one above it that exists.
fn writable(dir: &Path) -> std::io::Result<()> {
    let absolute = std::path::absolute(dir)?;
    let existing = absolute
        .ancestors()
        .find(|dir| dir.exists())
        .unwrap_or(&absolute);
    let probe: PathBuf = existing.join(format!(".conclave-check-{}", std::process::id()));
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::super::terminal::testkit::piped;
    use super::*;

    async fn checked(set: &[(&str, &str)], json: bool) -> (Exit, String, String) {
        let args = ServeArgs {
            set: set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            json,
            ..ServeArgs::default()
        };
        let (mut terminal, out, err) = piped();
        let exit = check(&args, &Environment::default(), &mut terminal)
            .await
            .unwrap();
        (exit, out.text(), err.text())
    }

    #[tokio::test]
    async fn a_sound_configuration_is_printed_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("not/made/yet");
        let set = [
            ("server.data_dir", data_dir.to_str().unwrap()),
            ("inference.endpoint", "http://vllm:8000"),
        ];
        let (exit, out, err) = checked(&set, false).await;
        assert_eq!((exit, err.as_str()), (Exit::Success, ""));
        assert!(
            out.contains("endpoint = \"http://vllm:8000\"  # flag --set"),
            "{out}"
        );
        assert!(
            out.contains("# all checks passed") && out.contains("sample-vote@"),
            "{out}"
        );
        assert!(toml::from_str::<toml::Table>(&out).is_ok(), "{out}");
        assert!(!data_dir.exists());
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_told_with_how_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broken.wasm"), "no component").unwrap();
        let set = [
            ("server.data_dir", "/proc/conclave"),
            ("plugins.dir", dir.path().to_str().unwrap()),
            ("plugins.strategy_default", "sampel-vote"),
        ];
        let (exit, out, _) = checked(&set, true).await;
        assert_eq!(exit, Exit::Failure);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let problems = report["problems"].to_string();
        for part in [
            "`/proc/conclave` is not writable",
            "broken.wasm",
            "did you mean `sample-vote`?",
        ] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
        assert!(
            report["notices"]
                .to_string()
                .contains("no model server is configured"),
            "{report}"
        );
    }
}
