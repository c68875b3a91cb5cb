//! Components as bytes of the crate that asked for them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::error::{self, Error};
use crate::{BuiltComponent, directory_from};

/// Writes a Rust expression of type `&[(&str, &[u8])]` (the name and the bytes of each component)
/// to the file `file_name` of `OUT_DIR`, and returns its path. A crate takes it with `include!`.
///
/// # Errors
///
/// Fails outside a build script, and when the file cannot be written.
pub fn embed(components: &[BuiltComponent], file_name: &str) -> Result<PathBuf, Error> {
    let path = directory_from("OUT_DIR")?.join(file_name);
    write_if_changed(&path, expression(components).as_bytes())?;
    Ok(path)
}

fn expression(components: &[BuiltComponent]) -> String {
    let mut text = String::from("&[\n");
    for component in components {
        writeln!(
            text,
            "    ({:?}, include_bytes!({:?}).as_slice()),",
            component.name, component.path
        )
        .expect("a string takes whatever is written to it");
    }
    text.push_str("]\n");
    text
}

/// Writes a file, but leaves one alone that has these bytes already, so that its time stays.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if error::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_names_each_component_and_its_file() {
        let component = BuiltComponent {
            name: "sample-vote".to_owned(),
            path: PathBuf::from("/out/sample-vote.wasm"),
        };
        assert_eq!(
            expression(&[component]),
            "&[\n    (\"sample-vote\", include_bytes!(\"/out/sample-vote.wasm\").as_slice()),\n]\n"
        );
    }
}
