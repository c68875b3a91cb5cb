//! The components that are measured: one of each language.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use conclave::wasm::{Components, NoBytes};
use conclave_core::ids::Digest;
use conclave_tests::components::component;

/// Where the examples of other languages stand once they are built.
const EXAMPLES: [(&str, &str); 2] = [
    ("Python", "plugins/examples/python"),
    ("JavaScript", "plugins/examples/javascript"),
];

/// A strategy.
#[derive(Debug)]
pub(crate) struct Component {
    /// Its file, or its package and language.
    pub(crate) name: String,
    pub(crate) bytes: Arc<[u8]>,
}

/// One component, whatever digest is asked for.
pub(crate) struct Fixed(pub(crate) Arc<[u8]>);

impl Components for Fixed {
    fn bytes(&self, _: &Digest) -> Result<Vec<u8>, NoBytes> {
        Ok(self.0.to_vec())
    }
}

/// The files that are named, or else the examples that are built; and a word for each that is not.
/// The one of Rust is always there.
pub(crate) fn find(files: &[PathBuf]) -> anyhow::Result<(Vec<Component>, Vec<String>)> {
    let mut found = vec![Component {
        name: "first-strategy (Rust)".to_owned(),
        bytes: component("first-strategy")?.into(),
    }];
    let mut missing = Vec::new();
    for file in files {
        found.push(read(file, &file.display().to_string())?);
    }
    if files.is_empty() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        for (language, dir) in EXAMPLES {
            match built(&root.join(dir)) {
                Some(file) => {
                    let name = file.file_stem().unwrap_or_default().to_string_lossy();
                    found.push(read(&file, &format!("{name} ({language})"))?);
                }
                None => missing.push(format!(
                    "{language} is not measured: no component is in `{dir}`; build one there, or name a file."
                )),
            }
        }
    }
    Ok((found, missing))
}

fn read(file: &Path, name: &str) -> anyhow::Result<Component> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Component {
        name: name.to_owned(),
        bytes: bytes.into(),
    })
}

/// The first component in a directory.
fn built(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut components: Vec<_> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    components.sort();
    components.into_iter().next()
}
