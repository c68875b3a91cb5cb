//! A project of an author, with a component that is built already.

use std::path::{Path, PathBuf};

use conclave_tests::command::{Ran, conclave};
use conclave_tests::components::component;
use tempfile::TempDir;

/// A directory with a component and cases.
pub(crate) struct Project {
    dir: TempDir,
}

impl Project {
    /// A project whose build made this component.
    pub(crate) fn of(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tests")).unwrap();
        let project = Self { dir };
        std::fs::write(project.component(name), component(name).unwrap()).unwrap();
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn component(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.wasm"))
    }

    /// With this case.
    pub(crate) fn case(self, name: &str, text: &str) -> Self {
        let path = self.path().join("tests").join(format!("{name}.toml"));
        std::fs::write(path, text).unwrap();
        self
    }

    /// Runs `conclave plugin test` on it.
    pub(crate) async fn test(&self, args: &[&str]) -> Ran {
        let path = self.path().to_str().unwrap();
        let all = [&["plugin", "test", path], args].concat();
        conclave(&all).await.unwrap()
    }
}
