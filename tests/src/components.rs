//! The components that tests run, as files of an operator or as bytes.

use std::path::Path;

use anyhow::{Context as _, ensure};

const COMPONENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The bytes of a component, by the name of its package.
///
/// # Errors
/// When `build.rs` does not list it.
pub fn component(name: &str) -> anyhow::Result<&'static [u8]> {
    let found = COMPONENTS.iter().find(|(known, _)| *known == name);
    let (_, bytes) = found.with_context(|| format!("tests/build.rs builds no `{name}`"))?;
    Ok(bytes)
}

/// As [`component`], but it calls itself another version, which is written with as many characters.
///
/// # Errors
/// As [`component`], or when its version cannot be found.
pub fn component_of_version(name: &str, version: &str) -> anyhow::Result<Vec<u8>> {
    const OWN: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
    let mut bytes = component(name)?.to_vec();
    ensure!(version.len() == OWN.len(), "`{version}` has another length");
    // The contract's version stands behind an `@`, everywhere.
    let is_own =
        |(at, window): &(usize, &[u8])| *window == OWN && bytes[at.saturating_sub(1)] != b'@';
    let windows = bytes.windows(OWN.len()).enumerate();
    let found: Vec<_> = windows.filter(is_own).map(|(at, _)| at).collect();
    let [at] = found[..] else {
        anyhow::bail!("`{name}` holds its version {} times", found.len());
    };
    bytes[at..at + OWN.len()].copy_from_slice(version.as_bytes());
    Ok(bytes)
}

/// Writes a file into a watched directory as an operator does: beside its name, and then renamed.
///
/// # Errors
/// When it cannot be written.
pub fn drop_in(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let partial = dir.join(format!("{name}.partial"));
    std::fs::write(&partial, bytes)?;
    Ok(std::fs::rename(partial, dir.join(name))?)
}

/// Writes components into a directory of plugins, as an operator does.
///
/// # Errors
/// When one is unknown, or cannot be written.
pub fn install(dir: &Path, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        std::fs::write(dir.join(format!("{name}.wasm")), component(name)?)?;
    }
    Ok(())
}
