//! The executor as it is shipped to clusters: its package, which the host was compiled with.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::zip;

/// The files of `deploy/ray/conclave_executor`, by their paths in the archive.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/executor.rs"));

/// What it needs on the cluster.
const REQUIREMENTS: &str = include_str!("../../../deploy/ray/requirements.txt");

/// The archive that executor jobs run in.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name, `conclave-executor-DIGEST`: other content has another name.
    pub name: String,
    /// The archive.
    pub zip: Vec<u8>,
    /// What it needs, one requirement an item, with the versions that were tried.
    pub requirements: Vec<String>,
}

impl Package {
    /// The package of this host's version.
    #[must_use]
    pub fn embedded() -> Self {
        let zip = zip::archive(FILES);
        let digest = Sha256::digest(&zip);
        let mut name = String::from("conclave-executor-");
        for byte in &digest[..8] {
            let _ = write!(name, "{byte:02x}");
        }
        Self {
            name,
            zip,
            requirements: requirements(REQUIREMENTS),
        }
    }
}

impl std::fmt::Debug for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Package")
            .field("name", &self.name)
            .field("bytes", &self.zip.len())
            .finish_non_exhaustive()
    }
}

fn requirements(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_holds_the_executor_and_is_named_for_its_content() {
        let package = Package::embedded();
        assert_eq!(package, Package::embedded());
        let names: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert!(
            names.contains(&"conclave_executor/__main__.py"),
            "{names:?}"
        );
        assert!(names.is_sorted());
        assert!(
            names.iter().all(|name| name.ends_with(".py")),
            "only the program is shipped: {names:?}"
        );
        let digest = package.name.strip_prefix("conclave-executor-").unwrap();
        assert_eq!(digest.len(), 16);
        assert!(package.zip.starts_with(b"PK\x03\x04"));
    }

    #[test]
    fn requirements_are_lines_without_remarks() {
        assert_eq!(
            requirements("# why\n\nnats-py==2.16.0\n  aiohttp>=3.10 \n"),
            ["nats-py==2.16.0", "aiohttp>=3.10"]
        );
        assert!(!Package::embedded().requirements.is_empty());
    }
}
