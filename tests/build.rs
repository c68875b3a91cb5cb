//! What the tests are compiled with: the wire contract, and the components that they run.

use std::error::Error;

/// The plugins of the product that tests run themselves, and those of the tests.
const COMPONENTS: [&str; 9] = [
    "agreement",
    "critique-revise",
    "first-strategy",
    "hostile",
    "hostile-scorer",
    "judge",
    "sample-vote",
    "sampler",
    "steady",
];

fn main() -> Result<(), Box<dyn Error>> {
    let components = conclave_plugin_build::build(&COMPONENTS)?;
    conclave_plugin_build::embed(&components, "components.rs")?;
    compile_contract()
}

/// Generates the clients of the contracts into `grpc.rs`, from the .proto files alone: the tests hold
/// the host to that, and not to its own idea of it.
fn compile_contract() -> Result<(), Box<dyn Error>> {
    const PROTO: &str = "../proto";
    const FILES: [&str; 6] = [
        "conclave/v1/clusters.proto",
        "conclave/v1/deliberations.proto",
        "conclave/v1/plugins.proto",
        "conclave/v1/records.proto",
        "fleet/ray_executor/v1/ray_executor.proto",
        "ray_executor/v1/ray_executor.proto",
    ];
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(FILES, [PROTO])?;
    tonic_prost_build::configure()
        .build_server(false)
        .include_file("grpc.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
