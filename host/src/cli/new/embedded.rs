//! What `plugin new` writes is made of: the templates, the SDKs and the contract, as they stood when
//! this binary was built.

/// A file of the repository: its path there, with `/`, and its text.
pub(super) type File = (&'static str, &'static str);

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The files below a directory, by their paths from there.
pub(super) fn below(dir: &str) -> impl Iterator<Item = File> {
    FILES.iter().filter_map(move |(path, text)| {
        let path = path.strip_prefix(dir)?.strip_prefix('/')?;
        Some((path, *text))
    })
}

/// The text of one file.
///
/// # Panics
/// When `build.rs` does not embed it.
pub(super) fn text(path: &str) -> &'static str {
    let found = FILES.iter().find(|(known, _)| *known == path);
    found.map(|(_, text)| *text).expect("build.rs embeds it")
}
