//! What can go wrong in a build of plugins.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why plugins could not be built.
///
/// `Debug` prints the sentence too, so that `fn main() -> Result<(), Error>` reads well.
#[non_exhaustive]
pub enum Error {
    /// A variable that cargo sets for build scripts is missing.
    NotABuildScript(&'static str),
    /// No directory above this one holds a workspace manifest.
    NoWorkspace(PathBuf),
    /// The standard library for components is not installed.
    TargetMissing,
    /// A program could not be started.
    Start {
        /// The program.
        program: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The inner cargo failed, after it said why on standard error.
    Compile {
        /// The packages that were asked for.
        packages: String,
    },
    /// The package compiled, but made no component.
    NoComponent {
        /// The package.
        package: String,
        /// Where the component should be.
        path: PathBuf,
    },
    /// A file could not be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABuildScript(variable) => {
                write!(f, "`{variable}` is not set: call this from a build script")
            }
            Self::NoWorkspace(path) => {
                write!(f, "no cargo workspace is around `{}`", path.display())
            }
            Self::TargetMissing => f.write_str(
                "the target wasm32-wasip2 is not installed: run `rustup target add wasm32-wasip2`",
            ),
            Self::Start { program, .. } => write!(f, "cannot run {program}"),
            Self::Compile { packages } => {
                write!(f, "these plugins do not compile (see above): {packages}")
            }
            Self::NoComponent { package, path } => write!(
                f,
                "`{package}` made no component at `{}`: its `[lib]` needs `crate-type = [\"cdylib\"]`",
                path.display()
            ),
            Self::File { path, .. } => write!(f, "cannot access `{}`", path.display()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match std::error::Error::source(self) {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}
