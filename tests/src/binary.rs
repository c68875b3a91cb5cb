//! Finds the binaries under test, which cargo does not build for another package's tests.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};

/// A binary to test instead of the one that is built beside the tests: one of a package or an image.
const OVERRIDE: &str = "CONCLAVE_TEST_BINARY";

/// The host's binary, built from the sources as they are now.
///
/// # Errors
/// When it is missing, or older than a source that it is made of.
pub fn conclave() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Ok(path.into());
    }
    let binary = built("conclave")?;
    if let Some(newer) = newer_source(&binary)? {
        bail!(
            "`{}` is older than `{}`: {}",
            binary.display(),
            newer.display(),
            how_to_build("conclave")
        );
    }
    Ok(binary)
}

/// A binary of another package, in the profile of this one.
///
/// # Errors
/// When it is missing.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = profile_dir()?.join(name);
    if !path.is_file() {
        bail!("`{}` is missing: {}", path.display(), how_to_build(name));
    }
    Ok(path)
}

/// A directory that outlives a test, beside what is built.
///
/// # Errors
/// When it cannot be made.
pub fn shared_dir(name: &str) -> anyhow::Result<PathBuf> {
    let dir = profile_dir()?.join("conclave-tests").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    Ok(dir)
}

/// `target/debug` or `target/release`: tests lie below it in `deps`, binaries in it.
fn profile_dir() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this test has no path")?;
    let dir = own.parent().context("this test lies nowhere")?;
    let below = dir.ends_with("deps") || dir.ends_with("examples");
    let dir = if below { dir.parent() } else { Some(dir) };
    dir.map(Path::to_owned)
        .context("this test lies in no target directory")
}

fn how_to_build(package: &str) -> String {
    let package = match package {
        "stub-model-server" | "deliberations" => "conclave-tests",
        package => package,
    };
    let release = profile_dir().is_ok_and(|dir| dir.ends_with("release"));
    let profile = if release { " --release" } else { "" };
    format!("run `cargo build{profile} -p {package}` first, as `make test` does")
}

/// A source that changed after the binary was made. Cargo lists all of them beside it.
fn newer_source(binary: &Path) -> anyhow::Result<Option<PathBuf>> {
    let changed = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let list = binary.with_extension("d");
    let list = std::fs::read_to_string(&list)
        .with_context(|| format!("cannot read `{}`", list.display()))?;
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources);
    let sources = sources.trim_end().replace("\\ ", "\0");
    let sources = sources
        .split(' ')
        .map(|source| PathBuf::from(source.replace('\0', " ")));
    let made = changed(binary);
    Ok(sources.into_iter().find(|source| changed(source) > made))
}
