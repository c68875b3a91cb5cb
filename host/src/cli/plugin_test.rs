//! `plugin test`: a plugin in the real runtime, through its author's cases and the conformance suite.

mod component;
mod results;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use conclave_core::plugin::Kind;
use serde_json::{Value, json};

use self::component::{Project, find};
use self::results::{Outcome, Results};
use super::Exit;
use super::args::PluginTestArgs;
use super::failure::Usage;
use super::progress::Progress;
use super::steps::steps;
use super::terminal::{Terminal, clean};
use crate::config::{self, Environment, Sources};
use crate::plugin_store;
use crate::rehearsal::case::{Case, Ran, Scorers};
use crate::rehearsal::conformance::{self, Subject};
use crate::wasm::{Checked, ComponentError, Engine, EngineConfig, Solo};

/// Runs the cases and the suite, and prints a line for each.
pub(super) async fn test(
    args: &PluginTestArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let project = find(&args.path, args.component.as_deref())?;
    let bytes = std::fs::read(&project.component);
    let shown = project.component.display();
    let bytes = bytes.map_err(|error| Usage(format!("cannot read `{shown}`: {error}")))?;
    let cases = match args.conformance {
        true => Vec::new(),
        false => cases(&project)?,
    };
    let engine = engine(args, environment)?;
    let mut results = Results::new(terminal.style, args.json);
    let progress = Progress::new(terminal, args.json);
    progress.compiling(bytes.len());
    let checked = match engine.check(bytes.clone()).await {
        Ok(checked) => checked,
        Err(ComponentError::Refused(refusal)) => {
            progress.done();
            terminal.print(&results.refused(&project.component, &refusal))?;
            return Ok(Exit::Failure);
        }
        Err(error) => return Err(error).context("the component cannot be checked"),
    };
    let solo = engine.solo(bytes.into()).await;
    let solo = solo.context("the component cannot be prepared")?;
    progress.done();
    if let Some(filter) = &args.filter {
        require_match(filter, &cases, checked.plugin.kind)?;
    }
    terminal.print(&results.begin(&project.component, &checked))?;
    if !args.json && cases.is_empty() && !args.conformance && args.filter.is_none() {
        let dir = project.tests.display();
        terminal.print(&format!(
            "no cases in `{dir}`: `conclave plugin test --help` says how one looks\n"
        ))?;
    }
    let is_chosen = |name: &str| chosen(name, args.filter.as_deref());
    for case in cases.iter().filter(|case| is_chosen(&case.name)) {
        let outcome = run_case(case, &solo, &checked, &engine).await?;
        terminal.print(&results.add(&outcome))?;
    }
    let params = params(args, &cases, &checked)?;
    let subject = Subject::new(solo, &checked, params)?;
    for rule in conformance::rules(subject.kind()).filter(|rule| is_chosen(rule.name)) {
        let found = conformance::check(rule, &subject).await;
        terminal.print(&results.add(&Outcome::of_rule(found)))?;
    }
    terminal.print(&results.end(began.elapsed()))?;
    Ok(match results.failed() {
        0 => Exit::Success,
        _ => Exit::Failure,
    })
}

/// What runs the component: with the limits of a configuration, and nothing kept.
fn engine(args: &PluginTestArgs, environment: &Environment) -> anyhow::Result<Engine> {
    let sources = Sources {
        file: args.config.clone(),
        environment: environment.clone(),
        ..Sources::default()
    };
    let loaded = config::load(&sources)?;
    let engine = Engine::start(EngineConfig {
        instances_max: 1,
        compiled_max: 8,
        cache_dir: None,
        ..loaded.config.engine()
    });
    engine.context("cannot start the plugin engine")
}

/// The cases, by name.
fn cases(project: &Project) -> anyhow::Result<Vec<Case>> {
    let Ok(entries) = std::fs::read_dir(&project.tests) else {
        return Ok(Vec::new());
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|is| is == "toml"))
        .collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let case = Case::read(&path).map_err(|error| Usage(clean(&chain(&error))))?;
        cases.push(case);
    }
    Ok(cases)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    conclave_core::chain::Chain(error).to_string()
}

/// That nothing was tested must not look like success.
fn require_match(filter: &str, cases: &[Case], kind: Kind) -> Result<(), Usage> {
    let cases = cases.iter().map(|case| case.name.as_str());
    let names: Vec<_> = cases
        .chain(conformance::rules(kind).map(|rule| rule.name))
        .collect();
    if names.iter().any(|name| chosen(name, Some(filter))) {
        return Ok(());
    }
    let text = format!(
        "nothing has `{filter}` in its name; there are: {}",
        names.join(", ")
    );
    Err(Usage(clean(&text)))
}

fn chosen(name: &str, filter: Option<&str>) -> bool {
    filter.is_none_or(|filter| name.contains(filter))
}

/// The params of the suite: those that were typed, `{}` where the plugin takes that, or those of its
/// first case.
fn params(args: &PluginTestArgs, cases: &[Case], checked: &Checked) -> anyhow::Result<Value> {
    if let Some(params) = &args.params {
        let params = serde_json::from_str(params);
        return params.map_err(|error| Usage(format!("--params is no JSON: {error}")).into());
    }
    let fits = |params: &Value| {
        checked
            .plugin
            .params
            .violations("params", params)
            .is_empty()
    };
    let nothing = json!({});
    if fits(&nothing) {
        return Ok(nothing);
    }
    let of_cases = cases.iter().map(Case::params).find(|params| fits(params));
    of_cases.ok_or_else(|| {
        let text = "the plugin does not accept the params `{}`: name some for the conformance suite \
                    with --params";
        Usage(text.to_owned()).into()
    })
}

/// The scorers in the box.
struct BuiltIn;

impl Scorers for BuiltIn {
    fn built_in(&self, name: &str) -> Option<Vec<u8>> {
        plugin_store::built_in(name).map(<[u8]>::to_vec)
    }
}

async fn run_case(
    case: &Case,
    solo: &Solo,
    checked: &Checked,
    engine: &Engine,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let ran = case.run(solo, checked, engine, &BuiltIn).await;
    let Ran { problems, played } = ran.map_err(|error| Usage(clean(&chain(&error))))?;
    let failed = !problems.is_empty();
    let steps = steps(&played.records, &played.requests);
    Ok(Outcome {
        suite: "case",
        name: case.name.clone(),
        problems,
        about: Vec::new(),
        steps: if failed { steps } else { Vec::new() },
        log: if failed { played.log } else { Vec::new() },
        took: began.elapsed(),
    })
}

/// Where a file lies, for people.
fn shown(path: &Path) -> String {
    clean(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::help;
    use super::*;

    #[test]
    fn the_case_in_the_help_can_be_read() {
        let (_, text) = help::PLUGIN_TEST.split_once("tests/NAME.toml:\n").unwrap();
        let (text, _) = text.split_once("Keys of a case:").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hello.toml");
        std::fs::write(&path, text).unwrap();
        let case = Case::read(&path).map_err(|error| chain(&error)).unwrap();
        assert_eq!(case.name, "hello");
    }

    #[test]
    fn a_name_that_nothing_has_is_told_with_those_that_there_are() {
        let error = require_match("majority", &[], Kind::Scorer).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("nothing has `majority` in its name; there are: describe-is-stable, "),
            "{error}"
        );
        assert!(require_match("describe", &[], Kind::Scorer).is_ok());
    }
}
