//! The components that tests run, as files of an operator or as bytes.

use std::path::Path;

use anyhow::Context as _;

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
