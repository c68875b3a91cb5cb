//! What the host is compiled with: the wire contracts in `proto/`, and the plugins in the box.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    compile_contracts()?;
    embed_templates()?;
    embed_executor()?;
    build_plugins()
}

/// Writes what `plugin new` needs as an expression of paths and texts into `templates.rs`.
fn embed_templates() -> Result<(), Box<dyn Error>> {
    const SOURCES: [&str; 9] = [
        "Cargo.toml",
        "plugins/js/package-lock.json",
        "plugins/js/package.json",
        "plugins/js/src",
        "plugins/python/conclave_sdk",
        "plugins/sdk/Cargo.toml",
        "plugins/sdk/src",
        "plugins/templates",
        "wit",
    ];
    let root = PathBuf::from("..").canonicalize()?;
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    let mut text = String::from("&[\n");
    for file in &files {
        let path = file.strip_prefix(&root)?;
        writeln!(text, "    ({path:?}, include_str!({file:?})),")?;
    }
    text.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("templates.rs"), text)?;
    Ok(())
}

/// Writes the files of the executor, which the host ships to clusters, as an expression of paths and
/// contents into `executor.rs`.
fn embed_executor() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from("../deploy/ray").canonicalize()?;
    let package = root.join("conclave_executor");
    let mut files = Vec::new();
    collect(&package, &mut files)?;
    let mut text = String::from("&[\n");
    for file in &files {
        let path = file.strip_prefix(&root)?;
        writeln!(text, "    ({path:?}, include_bytes!({file:?})),")?;
    }
    text.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("executor.rs"), text)?;
    Ok(())
}

/// Adds the files below a path, in order, without what tools leave there.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.retain(|entry| !entry.ends_with("__pycache__"));
        entries.sort();
        return entries.iter().try_for_each(|entry| collect(entry, files));
    }
    println!("cargo:rerun-if-changed={}", path.display());
    files.push(path.to_owned());
    Ok(())
}

/// Generates the gRPC types and services into `grpc.rs`, and the descriptors that reflection serves
/// into `grpc.bin`.
fn compile_contracts() -> Result<(), Box<dyn Error>> {
    const PROTO: &str = "../proto";
    const FILES: [&str; 6] = [
        "conclave/v1/clusters.proto",
        "conclave/v1/deliberations.proto",
        "conclave/v1/plugins.proto",
        "conclave/v1/records.proto",
        "fleet/ray_executor/v1/ray_executor.proto",
        "ray_executor/v1/ray_executor.proto",
    ];
    // The messages that both `RayExecutorService` packages have in common are one Rust type each, so
    // that one code serves both. A test holds the two files to that.
    const SHARED: [&str; 10] = [
        "Agent",
        "DeliberationResult",
        "ExecuteDeliberationRequest",
        "GetActiveJobsRequest",
        "GetActiveJobsResponse",
        "GetDeliberationStatusRequest",
        "GetDeliberationStatusResponse",
        "GetStatusRequest",
        "JobInfo",
        "TaskConstraints",
    ];
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(FILES, [PROTO])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("grpc.bin"), descriptors.encode_to_vec())?;
    let mut builder = tonic_prost_build::configure()
        .include_file("grpc.rs")
        // By far the largest of the events.
        .boxed(".conclave.v1.DeliberationEvent.event.accepted");
    let same = SHARED.map(|name| (name, name));
    for (fleet, documented) in same
        .into_iter()
        .chain([("RayExecutorStats", "ExecutionStats")])
    {
        builder = builder.extern_path(
            format!(".fleet.ray_executor.v1.{fleet}"),
            format!("crate::grpc::pb::ray_executor::v1::{documented}"),
        );
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// Compiles the plugins in the box and writes their bytes as an expression into `plugins.rs`.
fn build_plugins() -> Result<(), Box<dyn Error>> {
    const PLUGINS: [&str; 5] = [
        "sample-vote",
        "critique-revise",
        "task-extraction",
        "agreement",
        "judge",
    ];
    let components = conclave_plugin_build::build(&PLUGINS)?;
    conclave_plugin_build::embed(&components, "plugins.rs")?;
    Ok(())
}
