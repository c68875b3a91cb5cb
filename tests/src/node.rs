//! The Node.js of the tests: jco as `plugins/js/package-lock.json` pins it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use crate::cache;

/// The packages in the user's cache: installed when they are missing, and shared by all tests with the
/// same lock. The directory is one that a project can have as its `node_modules`.
///
/// # Errors
/// When they cannot be installed.
pub fn modules() -> anyhow::Result<PathBuf> {
    let mut digest = Sha256::new();
    for name in FILES {
        let text = fs::read(sdk().join(name)).with_context(|| format!("cannot read `{name}`"))?;
        digest.update(text);
    }
    let dir = cache::dir()?.join(format!("npm-{}", &cache::hex(&digest.finalize())[..16]));
    cache::make_once(&dir, install)?;
    Ok(dir.join("node_modules"))
}

const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Where the SDK for JavaScript is.
#[must_use]
pub fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/js")
}

fn install(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    for name in FILES {
        fs::copy(sdk().join(name), dir.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(dir);
    let ran = npm
        .output()
        .context("cannot run npm: install Node.js 20 or newer")?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "npm ci failed:\n{told}");
    Ok(())
}
