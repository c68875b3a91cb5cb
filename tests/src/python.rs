//! The Python of the tests: an environment with what `tests/python/requirements.txt` lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use crate::cache;

/// Names an environment that is there already: its directory, or its interpreter.
const GIVEN: &str = "CONCLAVE_TEST_PYTHON";

/// A virtual environment.
#[derive(Clone, Debug)]
pub struct Venv {
    bin: PathBuf,
}

impl Venv {
    /// The one that the Makefile made, or else one of the tests' own in the user's cache, which is
    /// made when it is missing and shared by all tests with the same requirements.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ready() -> anyhow::Result<Self> {
        if let Some(given) = std::env::var_os(GIVEN) {
            let given = PathBuf::from(given);
            let bin = if given.is_dir() {
                given.join("bin")
            } else {
                given.with_file_name("")
            };
            ensure!(
                bin.join("python").is_file(),
                "`{GIVEN}` is no environment: {}",
                given.display()
            );
            return Ok(Self { bin });
        }
        let requirements = sources().join("requirements.txt");
        let text = fs::read(&requirements)
            .with_context(|| format!("cannot read `{}`", requirements.display()))?;
        let digest = cache::hex(&Sha256::digest(text));
        let dir = cache::dir()?.join(format!("test-venv-{}", &digest[..12]));
        cache::make_once(&dir, |dir| make(dir, &requirements))?;
        Ok(Self {
            bin: dir.join("bin"),
        })
    }

    /// A program of the environment.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Where the Python tests are.
#[must_use]
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn make(dir: &Path, requirements: &Path) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ])
    .arg(requirements);
    run(&mut pip)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ran = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(
        ran.status.success(),
        "{command:?} failed with {}:\n{told}",
        ran.status
    );
    Ok(())
}
