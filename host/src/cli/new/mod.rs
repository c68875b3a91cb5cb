//! `plugin new`: writes a project that builds with one command, from what is embedded in this binary.

mod embedded;
mod manifest;
mod name;
mod project;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::Exit;
use super::args::PluginNewArgs;
use super::failure::Usage;
use super::terminal::Terminal;
use name::ProjectName;
use project::Project;

pub(super) use project::{Kind, Language};

/// Writes the project, and says how to go on.
pub(super) fn new(args: &PluginNewArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let name = ProjectName::parse(&args.name, args.lang).map_err(Usage)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let project = Project::new(&name, args.kind, args.lang)?;
    require_vacant(&dir)?;
    for (path, text) in &project.files {
        write_new(&dir.join(path), text)?;
    }
    let shown = match args.json {
        true => format!("{}\n", as_json(&dir, &project)),
        false => as_text(&dir, &name, args, &project),
    };
    terminal.print(&shown)?;
    Ok(Exit::Success)
}

/// Refuses a place where something is already.
fn require_vacant(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Usage(format!(
                "`{shown}` is not empty, and nothing is overwritten: name another directory with --dir"
            ))
            .into()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Usage(format!(
            "`{shown}` is a file: name another directory with --dir"
        ))
        .into()),
        Err(error) => Err(error).with_context(|| format!("cannot look into `{shown}`")),
    }
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(cannot)?;
    }
    let mut file = fs::File::create_new(path).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)
}

fn as_json(dir: &Path, project: &Project) -> serde_json::Value {
    json!({
        "dir": dir,
        "files": project.files.keys().collect::<Vec<_>>(),
        "setup": project.steps.setup,
        "build": project.steps.build,
        "test": project.steps.test,
        "component": project.steps.component,
    })
}

fn as_text(dir: &Path, name: &ProjectName, args: &PluginNewArgs, project: &Project) -> String {
    let steps = &project.steps;
    format!(
        "Wrote the {kind} `{name}` in {lang} to {dir} ({count} files). Next, there:\n\n  \
         {setup}\n  {build}\n  {test}\n  conclave plugin check {component}\n  conclave plugin test .\n\n\
         README.md says what is where.\n",
        kind = args.kind.as_str(),
        lang = args.lang.name(),
        dir = dir.display(),
        count = project.files.len(),
        setup = steps.setup,
        build = steps.build,
        test = steps.test,
        component = steps.component,
    )
}

#[cfg(test)]
mod tests {
    use super::super::terminal::testkit::piped;
    use super::*;

    fn args(name: &str, dir: &Path) -> PluginNewArgs {
        PluginNewArgs {
            name: name.to_owned(),
            kind: Kind::Strategy,
            lang: Language::Python,
            dir: Some(dir.to_owned()),
            json: false,
        }
    }

    #[test]
    fn a_project_is_written_and_the_next_steps_are_told() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("below/colour-vote");
        let (mut terminal, out, _) = piped();
        let exit = new(&args("colour-vote", &dir), &mut terminal).unwrap();
        assert_eq!(exit, Exit::Success);
        let told = out.text();
        for part in [
            "strategy `colour-vote` in Python",
            "componentize-py",
            "conclave plugin check colour-vote.wasm",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let app = fs::read_to_string(dir.join("app.py")).unwrap();
        assert!(app.contains("name=\"colour-vote\""), "{app}");
        assert!(dir.join("wit/deliberation.wit").is_file());
    }

    #[test]
    fn nothing_is_overwritten() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("app.py"), "mine").unwrap();
        let (mut terminal, ..) = piped();
        let error = new(&args("colour-vote", place.path()), &mut terminal).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error:#}");
        assert!(error.to_string().contains("is not empty"), "{error:#}");
        let file = place.path().join("app.py");
        let error = new(&args("colour-vote", &file), &mut terminal).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error:#}");
        assert_eq!(fs::read_to_string(file).unwrap(), "mine");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_name_is_wrong_usage_and_writes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("x");
        let (mut terminal, ..) = piped();
        let error = new(&args("Colour Vote", &dir), &mut terminal).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error:#}");
        assert!(!dir.exists());
    }
}
