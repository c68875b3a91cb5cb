//! The Python of the tests: an environment with what `tests/python/requirements.txt` lists.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

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
        let dir = cache_dir()?.join(format!("test-venv-{}", &hex(&Sha256::digest(text))[..12]));
        make_once(&dir, &requirements)?;
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

fn cache_dir() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("conclave"))
}

/// Makes the environment unless it is there. Of several processes one makes it, and the others wait.
fn make_once(dir: &Path, requirements: &Path) -> anyhow::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let lock = File::create(dir.with_extension("lock"))?;
    lock.lock()?;
    let complete = dir.join("complete");
    if complete.is_file() {
        return Ok(());
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
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
    run(&mut pip)?;
    File::create(complete)?;
    Ok(())
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
