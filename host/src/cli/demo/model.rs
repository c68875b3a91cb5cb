//! The embedded model: a child process that serves a small model on this machine's CPU.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

use crate::config::Environment;

/// The program that serves the model.
const PROGRAM: &str = "conclave-local-model";
/// What `host/local-model/fetch-model.sh` fetches.
const WEIGHTS: &str = "conclave/models/SmolLM2-135M-Instruct.Q4_1.gguf";
/// How long it may take to load the model from a cold disk.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Another way, for whoever lacks a part.
const INSTEAD: &str = "or use a server of your own: conclave demo --endpoint URL --model NAME";

/// A running model server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct LocalModel {
    child: Child,
}

/// What the program prints when it is ready.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    /// Its URL.
    pub(super) listening: String,
    /// The model's name.
    pub(super) model: String,
}

impl LocalModel {
    /// Starts the program and waits until it serves. It logs into `log`.
    pub(super) async fn start(
        program: &Path,
        weights: &Path,
        log: &Path,
    ) -> anyhow::Result<(Self, Ready)> {
        let log_file =
            File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let mut child = Command::new(program)
            .arg("--model")
            .arg(weights)
            .args(["--addr", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C is for the demo, which stops the model when it is done with it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let stdout = child.stdout.take();
        let model = Self { child };
        let stdout = stdout.context("the model server has no stdout")?;
        let line = tokio::task::spawn_blocking(move || first_line(stdout));
        let line = tokio::time::timeout(START_TIMEOUT, line).await;
        let seconds = START_TIMEOUT.as_secs();
        let line =
            line.map_err(|_| anyhow!("the model server was not ready within {seconds} s"))???;
        let ready = serde_json::from_str(&line);
        let ready =
            ready.map_err(|_| anyhow!("the model server did not start{}", last_words(log)))?;
        Ok((model, ready))
    }
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        // It keeps nothing. An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Empty when the program ended without one.
fn first_line(stdout: ChildStdout) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

fn last_words(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(3).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!(": {}", lines.join("; "))
    }
}

/// The program: as it was named, beside this one, or in the `PATH`.
pub(super) fn program(named: Option<&Path>, environment: &Environment) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return existing(named.to_owned(), "--local-model");
    }
    if let Some(named) = environment.get("CONCLAVE_LOCAL_MODEL") {
        return existing(named.into(), "CONCLAVE_LOCAL_MODEL");
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|exe| Some(exe.parent()?.join(PROGRAM)));
    let in_path = environment
        .get("PATH")
        .into_iter()
        .flat_map(std::env::split_paths);
    let mut places = beside
        .into_iter()
        .chain(in_path.map(|dir| dir.join(PROGRAM)));
    places.find(|path| path.is_file()).ok_or_else(|| {
        anyhow!(
            "`{PROGRAM}` is neither beside this program nor in PATH; build it with `cargo build -p {PROGRAM}`, \
             name it with --local-model, {INSTEAD}"
        )
    })
}

/// The weights: as they were named, or where the script puts them.
pub(super) fn weights(named: Option<&Path>, environment: &Environment) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return existing(named.to_owned(), "--weights");
    }
    if let Some(named) = environment.get("CONCLAVE_WEIGHTS") {
        return existing(named.into(), "CONCLAVE_WEIGHTS");
    }
    let path = super::cache_dir(environment)
        .unwrap_or_default()
        .join(WEIGHTS);
    if !path.is_file() {
        bail!(
            "the model's weights are not at `{}`; fetch them (98 MB) with host/local-model/fetch-model.sh, name \
             them with --weights, {INSTEAD}",
            path.display()
        );
    }
    Ok(path)
}

fn existing(path: PathBuf, flag: &str) -> anyhow::Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    bail!("{flag} is `{}`, which is no file", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that does what the script says.
    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn the_model_tells_where_it_is_and_ends_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let ready = r#"echo '{"listening":"http://127.0.0.1:1","model":"small"}'; exec sleep 600"#;
        let program = script(dir.path(), ready);
        let (model, ready) = LocalModel::start(&program, Path::new("w"), &dir.path().join("log"))
            .await
            .unwrap();
        assert_eq!(
            (ready.listening.as_str(), ready.model.as_str()),
            ("http://127.0.0.1:1", "small")
        );
        let process = PathBuf::from(format!("/proc/{}", model.child.id()));
        assert!(process.exists());
        drop(model);
        assert!(!process.exists());
    }

    #[tokio::test]
    async fn a_model_that_does_not_start_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "echo 'no such model' >&2; exit 1");
        let error = LocalModel::start(&program, Path::new("w"), &dir.path().join("log"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model server did not start: no such model"
        );
    }

    #[test]
    fn whoever_lacks_a_part_is_told_how_to_get_it() {
        let nowhere: Environment = [("HOME", "/nowhere"), ("PATH", "/nowhere")]
            .into_iter()
            .collect();
        let error = weights(None, &nowhere).unwrap_err().to_string();
        assert!(
            error.contains("fetch-model.sh") && error.contains("/nowhere/.cache/conclave"),
            "{error}"
        );
        let error = program(Some(Path::new("/nowhere/x")), &nowhere)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "--local-model is `/nowhere/x`, which is no file");
    }
}
