//! When cargo must run the build script again.
#![expect(
    clippy::print_stdout,
    reason = "cargo reads a build script's instructions from its standard output"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{self, Error};

/// Prints a line for each file that the component was made of: cargo writes their list beside the
/// component, WIT files included, and the manifests above them are added here.
pub(crate) fn print_for(workspace: &Path, component: &Path) -> Result<(), Error> {
    let list = error::read(&component.with_extension("d"))?;
    for path in inputs(workspace, &String::from_utf8_lossy(&list)) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// Prints the lines for what every component depends on.
pub(crate) fn print_for_workspace(workspace: &Path) {
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(file).display());
    }
    // Installing the target, or another compiler, makes other components.
    println!("cargo:rerun-if-env-changed=RUSTUP_TOOLCHAIN");
}

/// The files of a dependency list (`output: input input …`, spaces escaped by a backslash), and the
/// manifest of each package in the workspace that one of them belongs to.
fn inputs(workspace: &Path, list: &str) -> BTreeSet<PathBuf> {
    let Some((_, files)) = list.lines().next().and_then(|line| line.split_once(": ")) else {
        return BTreeSet::new();
    };
    let mut inputs = BTreeSet::new();
    for file in files.replace("\\ ", "\0").split(' ') {
        if file.is_empty() {
            continue;
        }
        let file = PathBuf::from(file.replace('\0', " "));
        inputs.extend(
            file.ancestors()
                .skip(1)
                .take_while(|directory| *directory != workspace && directory.starts_with(workspace))
                .map(|directory| directory.join("Cargo.toml"))
                .find(|manifest| manifest.is_file()),
        );
        inputs.insert(file);
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_are_the_files_of_the_list_and_the_manifests_above_them() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = package.ancestors().nth(2).unwrap();
        let source = package.join("src/lib.rs");
        let list = format!(
            "/out/a.wasm: {} /elsewhere/with\\ space.wit\n\nmore: lines",
            source.display()
        );
        let expected = [
            package.join("Cargo.toml"),
            source,
            PathBuf::from("/elsewhere/with space.wit"),
        ];
        assert_eq!(inputs(workspace, &list), BTreeSet::from(expected));
    }
}
