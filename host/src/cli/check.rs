//! `serve --check`: the effective configuration, and what can be checked without serving.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use conclave_core::plugin::Plugins as _;
use serde_json::{Value, json};

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
        format!("{}\n", as_json(&loaded, &findings))
    } else {
        as_toml(&loaded, &findings)
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

fn as_json(loaded: &Loaded, findings: &Findings) -> Value {
    json!({
        "ok": findings.problems.is_empty(),
        "problems": findings.problems,
        "notices": findings.notices,
        "plugins": findings.plugins,
        "config": loaded.config,
    })
}

/// The whole is a configuration file: findings stand in it as comments.
fn as_toml(loaded: &Loaded, findings: &Findings) -> String {
    let mut text = format!(
        "{}\n# plugins: {}\n",
        loaded.to_toml(),
        findings.plugins.join(", ")
    );
    for notice in &findings.notices {
        text.push_str(&format!("# note: {notice}\n"));
    }
    match findings.problems.len() {
        0 => text.push_str("# all checks passed\n"),
        1 => text.push_str("# 1 check failed, see below\n"),
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
    for (kind, key, choice) in config.default_plugins() {
        if let Err(error) = store.resolve(kind, &choice).await {
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

    fn sources(set: &[(&str, &str)]) -> ServeArgs {
        ServeArgs {
            set: set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            json: true,
            ..ServeArgs::default()
        }
    }

    #[test]
    fn what_is_printed_is_a_configuration_file() {
        let args = sources(&[("inference.endpoint", "http://vllm:8000")]);
        let loaded = config::load(&args.sources(Environment::default())).unwrap();
        let mut findings = Findings {
            notices: vec!["GRPC_PORT is not used".to_owned()],
            plugins: vec!["sample-vote@0.1.0".to_owned(), "agreement@0.1.0".to_owned()],
            ..Findings::default()
        };
        let shown = as_toml(&loaded, &findings);
        assert!(
            shown.contains("endpoint = \"http://vllm:8000\"  # flag --set"),
            "{shown}"
        );
        assert!(shown.ends_with("# all checks passed\n"), "{shown}");
        assert!(toml::from_str::<config::Config>(&shown).is_ok(), "{shown}");
        findings.problems.push("x".to_owned());
        assert!(as_toml(&loaded, &findings).ends_with("# 1 check failed, see below\n"));
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("not/made/yet");
        writable(&data_dir).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
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
        let (mut terminal, out, _) = piped();
        let environment = Environment::default();
        let exit = check(&sources(&set), &environment, &mut terminal)
            .await
            .unwrap();
        assert_eq!(exit, Exit::Failure);
        let report: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
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
