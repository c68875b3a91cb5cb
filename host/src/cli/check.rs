//! `serve --check`: the effective configuration, and what can be checked without serving.

mod clusters;
mod dependencies;

use std::sync::Arc;

use anyhow::Context as _;
use conclave_core::plugin::Plugins as _;
use serde_json::{Value, json};

use super::Exit;
use super::args::ServeArgs;
use super::scratch::Scratch;
use super::terminal::Terminal;
use crate::access::Access;
use crate::arrivals::folder::Folder;
use crate::config::{self, Environment, Loaded};
use crate::plugin_store::PluginStore;
use crate::tls::Tls;
use crate::wasm::{Engine, EngineConfig};
use dependencies::{Dependency, State};

/// What was found beside the configuration itself.
#[derive(Debug, Default)]
struct Findings {
    /// What must be mended before the host starts.
    problems: Vec<String>,
    /// What the operator should know.
    notices: Vec<String>,
    /// Plugins that would be loaded.
    plugins: Vec<String>,
    /// What the host depends on.
    dependencies: Vec<Dependency>,
}

impl Findings {
    /// Why the host could not serve.
    fn errors(&self) -> Vec<&str> {
        let problems = self.problems.iter().map(String::as_str);
        problems.chain(self.details(State::Refused)).collect()
    }

    /// What would not work although the host could serve.
    fn warnings(&self) -> Vec<String> {
        let degraded = self.dependencies.iter();
        degraded
            .filter(|one| one.state == State::Degraded)
            .map(|one| format!("{}: {}", one.name, one.detail))
            .collect()
    }

    fn details(&self, state: State) -> impl Iterator<Item = &str> {
        let dependencies = self.dependencies.iter();
        dependencies
            .filter(move |one| one.state == state)
            .map(|one| one.detail.as_str())
    }
}

/// Prints the configuration and what is wrong with it. A configuration that does not load is an
/// error, which names everything that is wrong with it.
pub(super) async fn check(
    args: &ServeArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let loaded = config::load(&args.sources(environment.clone()))?;
    if terminal.err_is_terminal && !args.json {
        terminal.note("testing model servers, ports, directories and plugins");
    }
    let findings = find(&loaded).await;
    let shown = if args.json {
        format!("{}\n", as_json(&loaded, &findings))
    } else {
        as_toml(&loaded, &findings)
    };
    terminal.print(&shown)?;
    let errors = findings.errors();
    if !args.json {
        for warning in findings.warnings() {
            terminal.note(&format!("warning: {warning}"));
        }
        for error in &errors {
            terminal.note(&format!("error: {error}"));
        }
    }
    Ok(if errors.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

fn as_json(loaded: &Loaded, findings: &Findings) -> Value {
    json!({
        "ok": findings.errors().is_empty(),
        "problems": findings.errors(),
        "warnings": findings.warnings(),
        "notices": findings.notices,
        "plugins": findings.plugins,
        "dependencies": findings.dependencies,
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
    for fine in findings
        .dependencies
        .iter()
        .filter(|one| one.state == State::Ok)
    {
        text.push_str(&format!("# ok: {}: {}\n", fine.name, fine.detail));
    }
    match (findings.errors().len(), findings.warnings().len()) {
        (0, 0) => text.push_str("# all checks passed\n"),
        (0, 1) => text.push_str("# it could serve, with 1 warning, see below\n"),
        (0, count) => text.push_str(&format!(
            "# it could serve, with {count} warnings, see below\n"
        )),
        (1, _) => text.push_str("# 1 check failed, see below\n"),
        (count, _) => text.push_str(&format!("# {count} checks failed, see below\n")),
    }
    text
}

async fn find(loaded: &Loaded) -> Findings {
    let mut findings = Findings {
        notices: loaded.notices.clone(),
        dependencies: dependencies::test(loaded).await,
        ..Findings::default()
    };
    if let Some(Err(error)) = loaded.config.tls().map(Tls::load) {
        let error = anyhow::Error::new(error);
        findings
            .problems
            .push(format!("{error:#}; mend the file, or name another one"));
    }
    if let Err(error) = Access::check(&loaded.access) {
        let error = anyhow::Error::new(error);
        findings
            .problems
            .push(format!("{error:#}; mend the file, or name another one"));
    }
    if let Err(error) = plugins(loaded, &mut findings).await {
        findings.problems.push(format!("{error:#}"));
    }
    findings
}

/// Loads the plugins as `serve` does, but into a store that is thrown away.
async fn plugins(loaded: &Loaded, findings: &mut Findings) -> anyhow::Result<()> {
    let config = &loaded.config;
    let scratch = Scratch::new().context("cannot make a temporary directory")?;
    let engine = Engine::start(EngineConfig {
        cache_dir: None,
        ..config.engine()
    });
    let engine = Arc::new(engine.context("cannot start the plugin engine")?);
    // With what operators have brought to the host since it first started.
    let store = PluginStore::copy_of(
        &config.plugin_store_dir(),
        scratch.path(),
        engine,
        loaded.plugin_rules(),
    );
    let store = store.context("cannot open a plugin store")?;
    store
        .load_built_in()
        .await
        .context("cannot load the built-in plugins")?;
    let store = Arc::new(store);
    if let Some(dir) = &config.plugins.dir {
        let bytes_max = config.plugins.limits.component_bytes_max;
        let mut folder = Folder::new(dir, bytes_max, store.clone(), store.clone());
        let failed = match folder.take_in().await {
            Ok(taken_in) => taken_in.failed,
            Err(error) => vec![error],
        };
        let mend = "mend or remove the file, or set `plugins.dir` to another directory";
        let told = failed.into_iter().map(anyhow::Error::new);
        let told = told.map(|error| format!("{error:#}; {mend}"));
        findings.problems.extend(told);
    }
    for named in config.named_plugins() {
        match store.resolve(named.kind, &named.choice).await {
            Ok(plugin) => findings.problems.extend(named.violations(&plugin)),
            Err(error) => findings.problems.push(format!("`{}`: {error}", named.key)),
        }
    }
    let listed = store.list().into_iter();
    findings.plugins = listed
        .map(|listed| listed.plugin.reference.to_string())
        .collect();
    Ok(())
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

    #[tokio::test]
    async fn everything_that_is_wrong_is_told_with_how_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broken.wasm"), "no component").unwrap();
        let set = [
            ("server.data_dir", "/proc/conclave"),
            ("server.grpc_addr", "127.0.0.1:0"),
            ("server.http_addr", "127.0.0.1:0"),
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
