//! Finds the component of a project, and its cases.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::failure::Usage;

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) component: PathBuf,
    /// The directory of its cases; it need not be there.
    pub(super) tests: PathBuf,
}

/// Where Rust puts components, below a target directory; the last build is taken.
const OF_CARGO: [&str; 4] = [
    "wasm32-wasip2/release",
    "wasm32-wasip2/debug",
    "wasm32-wasip1/release",
    "wasm32-wasip1/debug",
];

/// Where other tools put them, below a project.
const OF_OTHERS: [&str; 3] = [".", "build", "dist"];

/// Finds the component of a directory, or of a `.wasm` file itself.
pub(super) fn find(path: &Path, component: Option<&Path>) -> Result<Project, Usage> {
    let named = path.extension().is_some_and(|is| is == "wasm");
    if !path.exists() {
        return Err(Usage(format!("`{}` is not there", path.display())));
    }
    if named && path.is_file() {
        let beside = path.parent().unwrap_or(Path::new("."));
        return Ok(Project {
            component: component.unwrap_or(path).to_owned(),
            tests: beside.join("tests"),
        });
    }
    let found = match component {
        Some(component) => Some(component.to_owned()),
        None => of_cargo(path).or_else(|| of_others(path)),
    };
    let component = found.ok_or_else(|| {
        Usage(format!(
            "`{}` holds no component: build it first, or name it with --component",
            path.display()
        ))
    })?;
    Ok(Project {
        component,
        tests: path.join("tests"),
    })
}

/// The last build of a Rust package, in its own target directory or that of its workspace.
fn of_cargo(dir: &Path) -> Option<PathBuf> {
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = toml::from_str(&manifest).ok()?;
    let name = |table: &str| manifest.get(table)?.get("name")?.as_str();
    let name = name("lib").or_else(|| name("package"))?.replace('-', "_");
    let dir = dir.canonicalize().ok()?;
    let files = dir.ancestors().flat_map(|above| {
        let file = format!("{name}.wasm");
        OF_CARGO.map(|below| above.join("target").join(below).join(&file))
    });
    newest(files)
}

/// The only `.wasm` file, or the newest, in the places of other tools.
fn of_others(dir: &Path) -> Option<PathBuf> {
    let files = OF_OTHERS.iter().flat_map(|place| {
        let entries = std::fs::read_dir(dir.join(place)).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    });
    newest(files.filter(|path| path.extension().is_some_and(|is| is == "wasm")))
}

fn newest(files: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let changed = |path: &PathBuf| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    files
        .filter_map(|path| Some((changed(&path)?, path)))
        .max()
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_build_of_a_rust_package_is_found_in_its_workspace() {
        let root = tempfile::tempdir().unwrap();
        let package = root.path().join("plugins/my-plugin");
        let built = root.path().join("target/wasm32-wasip2/release");
        std::fs::create_dir_all(&package).unwrap();
        std::fs::create_dir_all(&built).unwrap();
        let error = find(&package, None).unwrap_err().to_string();
        assert!(error.contains("--component"), "{error}");
        let manifest = "[package]\nname = \"my-plugin\"\n";
        std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(built.join("my_plugin.wasm"), b"x").unwrap();
        std::fs::write(built.join("other.wasm"), b"x").unwrap();
        let project = find(&package, None).unwrap();
        assert!(project.component.ends_with("release/my_plugin.wasm"));
        assert_eq!(project.tests, package.join("tests"));
    }

    #[test]
    fn a_file_has_its_cases_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.wasm");
        std::fs::write(&file, b"x").unwrap();
        let project = find(&file, None).unwrap();
        assert_eq!(project.component, file);
        assert_eq!(project.tests, root.path().join("tests"));
        assert_eq!(
            find(root.path(), None).unwrap().component,
            root.path().join("./a.wasm")
        );
    }
}
