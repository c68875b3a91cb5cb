//! Builds plugin crates of this workspace into components, from a build script.
//!
//! A component is another target than the crate that embeds it, so cargo cannot make it as an
//! ordinary dependency. A build script calls [`build`] instead, which runs a cargo of its own:
//!
//! ```no_run
//! fn main() -> Result<(), conclave_plugin_build::Error> {
//!     let components = conclave_plugin_build::build(&["sample-vote", "judge"])?;
//!     conclave_plugin_build::embed(&components, "components.rs")?;
//!     Ok(())
//! }
//! ```
//!
//! and the crate reads what [`embed`] wrote:
//!
//! ```ignore
//! /// Name and bytes of each built-in component.
//! const COMPONENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/components.rs"));
//! ```
//!
//! The inner cargo has a target directory of its own, shared by every build script of one outer
//! target directory: the dependencies of plugins are compiled once, whichever crate asks first.

mod cargo;
mod embed;
mod error;
mod rerun;

use std::path::{Path, PathBuf};

pub use crate::embed::embed;
pub use crate::error::Error;

/// A component that [`build`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltComponent {
    /// The name of the package, for example `sample-vote`.
    pub name: String,
    /// The component: a file of this build script's own `OUT_DIR`, which no other build changes.
    pub path: PathBuf,
}

/// Compiles the named packages of this workspace to components, in the order given.
///
/// Call it from a build script: it reads the environment that cargo gives one, and prints the
/// `cargo:rerun-if-changed` lines for every source file, manifest and WIT file that went into the
/// components.
///
/// # Errors
///
/// Fails when the target `wasm32-wasip2` is not installed, when a package does not compile (the
/// compiler's own words are on standard error, which cargo shows), when a package makes no
/// component (its `crate-type` lacks `cdylib`), and when a file cannot be read or written.
pub fn build(packages: &[&str]) -> Result<Vec<BuiltComponent>, Error> {
    let out_dir = directory_from("OUT_DIR")?;
    let workspace = workspace_root(&directory_from("CARGO_MANIFEST_DIR")?)?;
    let target_dir = shared_target_dir(&out_dir);

    cargo::require_target()?;
    let artifacts = cargo::run(&workspace, &target_dir, packages)?;

    let mut components = Vec::new();
    for (name, artifact) in packages.iter().zip(artifacts) {
        let path = out_dir.join(format!("{name}.wasm"));
        embed::write_if_changed(&path, &error::read(&artifact)?)?;
        rerun::print_for(&workspace, &artifact)?;
        components.push(BuiltComponent {
            name: (*name).to_owned(),
            path,
        });
    }
    rerun::print_for_workspace(&workspace);
    Ok(components)
}

/// The directory in a variable that cargo sets for every build script.
fn directory_from(variable: &'static str) -> Result<PathBuf, Error> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .ok_or(Error::NotABuildScript(variable))
}

/// The closest directory above `manifest_dir` whose manifest is that of a workspace.
fn workspace_root(manifest_dir: &Path) -> Result<PathBuf, Error> {
    manifest_dir
        .ancestors()
        .find(|directory| {
            std::fs::read_to_string(directory.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
        })
        .map(Path::to_owned)
        .ok_or_else(|| Error::NoWorkspace(manifest_dir.to_owned()))
}

/// Where the inner cargo builds: `plugins` in the outer target directory, which cargo marks with a
/// `CACHEDIR.TAG`, or in `OUT_DIR` where there is no such mark.
///
/// The inner build locks other directories than the outer one, which waits for it.
fn shared_target_dir(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .unwrap_or(out_dir)
        .join("plugins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_of_this_crate_is_found() {
        let root = workspace_root(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(root.join("wit").is_dir());
        assert!(root.join("plugins/build/Cargo.toml").is_file());
    }

    #[test]
    fn a_directory_outside_any_workspace_is_an_error() {
        let error = workspace_root(Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "no cargo workspace is around `/`");
    }
}
