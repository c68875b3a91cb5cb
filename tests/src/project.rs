//! Projects of plugin authors, as `conclave plugin new` writes them, and what they are built into.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::binary;
use crate::cache;
use crate::command::{Ran, conclave};
use crate::node;
use crate::python::Venv;

/// A fresh project.
#[derive(Debug)]
pub struct Project {
    /// Where it is.
    pub dir: PathBuf,
    language: String,
    told: Value,
    _place: TempDir,
}

impl Project {
    /// Has a project written by the binary under test.
    ///
    /// # Errors
    /// When the binary does not.
    pub async fn new(name: &str, kind: &str, language: &str) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let dir = place.path().join(name);
        let at = dir.to_str().context("the path is text")?;
        let args = ["plugin", "new", name, "--kind", kind, "--lang", language];
        let ran = conclave(&[&args[..], &["--json", "--dir", at]].concat()).await?;
        ensure!(ran.code == Some(0), "{ran:?}");
        let project = Self {
            dir,
            language: language.to_owned(),
            told: ran.json()?,
            _place: place,
        };
        if language == "rust" {
            // The dependencies that this workspace has, which are on this machine already.
            let lock = fs::read(root().join("Cargo.lock"))?;
            fs::write(project.dir.join("Cargo.lock"), lock)?;
        }
        Ok(project)
    }

    /// Builds it with the command that it documents. A project that was built before, by whichever
    /// test, is not built again.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn build(&self) -> anyhow::Result<Vec<u8>> {
        let command = self.told["build"].as_str().context("it tells how")?;
        let component = self.told["component"].as_str().context("it tells where")?;
        self.built_by(command, component)
    }

    /// As [`Project::build`], with another command, which makes this file.
    ///
    /// # Errors
    /// As [`Project::build`].
    pub fn built_by(&self, command: &str, component: &str) -> anyhow::Result<Vec<u8>> {
        let name = format!("{}.wasm", self.digest(command)?);
        let kept = binary::shared_dir("projects")?.join(name);
        if let Ok(bytes) = fs::read(&kept) {
            return Ok(bytes);
        }
        self.run(command)?;
        let component = match component.strip_prefix("target/") {
            Some(below) => rust_target()?.join(below),
            None => self.dir.join(component),
        };
        let bytes = fs::read(&component)
            .with_context(|| format!("`{command}` made no `{}`", component.display()))?;
        let written = kept.with_extension(std::process::id().to_string());
        fs::write(&written, &bytes)?;
        fs::rename(written, kept)?;
        Ok(bytes)
    }

    /// Runs its native tests with the command that it documents.
    ///
    /// # Errors
    /// When they fail.
    pub fn test(&self) -> anyhow::Result<String> {
        self.run(self.told["test"].as_str().context("it tells how")?)
    }

    /// Runs its cases and the conformance suite with `conclave plugin test` on what was built of it.
    ///
    /// # Errors
    /// When the command cannot be run; what it finds is for the caller to judge.
    pub async fn rehearse(&self, component: &[u8]) -> anyhow::Result<Ran> {
        // A component that was kept from an earlier test does not lie where the build puts it.
        let file = self.dir.join("rehearsed.wasm");
        fs::write(&file, component)?;
        let path = |path: &Path| path.to_str().map(str::to_owned);
        let (dir, file) = path(&self.dir)
            .zip(path(&file))
            .context("the path is text")?;
        conclave(&["plugin", "test", &dir, "--component", &file]).await
    }

    /// Runs a command in its directory, with the tools of its language: what it prints.
    fn run(&self, command: &str) -> anyhow::Result<String> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).current_dir(&self.dir);
        match self.language.as_str() {
            "rust" => {
                // What the build around this test is told is not meant for the project's.
                let of_build = |name: &OsString| {
                    let name = name.to_string_lossy();
                    let own = ["CARGO_", "RUSTC", "RUSTFLAGS"];
                    let shared = [
                        "CARGO_HOME",
                        "CARGO_HTTP_",
                        "CARGO_NET_",
                        "CARGO_REG",
                        "CARGO_SOURCE_",
                    ];
                    own.iter().any(|start| name.starts_with(start))
                        && !shared.iter().any(|start| name.starts_with(start))
                };
                for (name, _) in std::env::vars_os().filter(|(name, _)| of_build(name)) {
                    shell.env_remove(name);
                }
                shell
                    .env("CARGO_NET_OFFLINE", "true")
                    .env("CARGO_TARGET_DIR", rust_target()?);
            }
            "python" => {
                let venv = Venv::ready()?;
                let python = venv.program("python");
                let bin = python.parent().context("it lies in a directory")?;
                shell
                    .env("PATH", with_first(bin)?)
                    .env("PYTHONDONTWRITEBYTECODE", "1");
            }
            _ => {
                let modules = self.dir.join("node_modules");
                if !modules.exists() {
                    std::os::unix::fs::symlink(node::modules()?, modules)?;
                }
            }
        }
        let ran = shell.output()?;
        let told = [&ran.stdout[..], &ran.stderr[..]].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        ensure!(ran.status.success(), "`{command}` failed:\n{told}");
        Ok(told)
    }

    /// What names the component that a command makes of the project.
    fn digest(&self, command: &str) -> anyhow::Result<String> {
        let mut digest = Sha256::new();
        digest.update(command);
        let files = self.told["files"].as_array().context("it lists them")?;
        for file in files.iter().filter_map(Value::as_str) {
            digest.update(file);
            digest.update(fs::read(self.dir.join(file))?);
        }
        Ok(cache::hex(&digest.finalize()))
    }
}

/// One target directory for all projects in Rust: they share the SDK's dependencies.
fn rust_target() -> anyhow::Result<PathBuf> {
    binary::shared_dir("rust-projects")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The search path with this directory in front.
fn with_first(dir: &Path) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs)?)
}
