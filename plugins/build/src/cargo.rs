//! The inner cargo: its arguments, its environment, and where its components are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

const TARGET: &str = "wasm32-wasip2";

/// The release profile of guests: small first, since each is compiled again on the host.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    // The names of functions stay: the backtrace of a trap shows them.
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// Fails unless the standard library of the target is there.
pub(crate) fn require_target() -> Result<(), Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|source| Error::Start {
            program: "rustc",
            source,
        })?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&directory).is_dir() {
        Ok(())
    } else {
        Err(Error::TargetMissing)
    }
}

/// Builds the packages and returns the path of each component, in the order given.
pub(crate) fn run(
    workspace: &Path,
    target_dir: &Path,
    packages: &[&str],
) -> Result<Vec<PathBuf>, Error> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (variable, _) in std::env::vars_os() {
        if !is_inherited(&variable) {
            command.env_remove(variable);
        }
    }
    command
        .current_dir(workspace)
        .envs(PROFILE.iter().copied())
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir);
    for package in packages {
        command.args(["--package", package]);
    }
    // The outer cargo has brought the lock file up to date before it ran this build script.
    if workspace.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    // Standard output carries the build script's instructions: keep cargo's words out of it.
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| Error::Start {
            program: "cargo",
            source,
        })?;
    if !status.success() {
        return Err(Error::Compile {
            packages: packages.join(", "),
        });
    }

    let directory = target_dir.join(TARGET).join("release");
    packages
        .iter()
        .map(|package| {
            let path = directory.join(format!("{}.wasm", package.replace('-', "_")));
            if path.is_file() {
                Ok(path)
            } else {
                Err(Error::NoComponent {
                    package: (*package).to_owned(),
                    path,
                })
            }
        })
        .collect()
}

/// Whether the inner cargo shall see a variable.
///
/// The outer cargo's variables tell of another package, target and profile, and runs of clippy and
/// of coverage tools set wrappers and flags that are for their own target. What says where cargo
/// finds crates and how many jobs it may run is kept.
fn is_inherited(variable: &OsStr) -> bool {
    const CARGO_KEPT: &[&str] = &[
        "CARGO",
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_COLOR",
    ];
    const DROPPED: &[&str] = &[
        "CLIPPY_",
        "DEBUG",
        "HOST",
        "LLVM_PROFILE_FILE",
        "MIRI",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "TARGET",
        "__CARGO",
    ];
    // A name that ends with an underscore stands for all that begin with it.
    let listed = |names: &[&str], variable: &str| {
        names.iter().any(|name| {
            *name == variable
                || ((name.ends_with('_') || name.starts_with("__")) && variable.starts_with(name))
        })
    };
    let Some(variable) = variable.to_str() else {
        return true;
    };
    if variable.starts_with("CARGO") {
        listed(CARGO_KEPT, variable)
    } else {
        !listed(DROPPED, variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(variable: &str) -> bool {
        is_inherited(OsStr::new(variable))
    }

    #[test]
    fn wrappers_and_flags_of_the_outer_build_are_dropped() {
        for variable in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_FEATURE_DEFAULT",
            "CARGO_INCREMENTAL",
            "CARGO_LLVM_COV",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CARGO_TARGET_DIR",
            "CLIPPY_ARGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "TARGET",
            "__CARGO_LLVM_COV_RUSTC_WRAPPER",
        ] {
            assert!(!inherited(variable), "{variable} reaches the inner cargo");
        }
    }

    #[test]
    fn what_finds_crates_tools_and_job_slots_is_kept() {
        for variable in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_HTTP_CAINFO",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "HOME",
            "PATH",
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
            "TARGETS_OF_MINE",
        ] {
            assert!(inherited(variable), "{variable} is dropped");
        }
    }
}
