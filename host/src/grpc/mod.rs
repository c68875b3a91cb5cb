//! The gRPC adapter: wire messages to and from the use cases of `conclave-core`, nothing else.
//!
//! Three packages are served on one port: `ray_executor.v1` and `fleet.ray_executor.v1`, whose
//! clients were there before Conclave, and `conclave.v1`, the API of its own; health and reflection
//! besides. Start with [`server()`].

mod call;
mod conclave_v1;
mod fields;
mod headers;
mod health;
mod ray_executor;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;

use conclave_core::account::ReadAccount;
use conclave_core::clock::Clock;
use conclave_core::follow::FollowDeliberation;
use conclave_core::inspect::InspectPlugins;
use conclave_core::listing::ListDeliberations;
use conclave_core::live::Live;
use conclave_core::registry::{Fetch, Registry};
use conclave_core::submit::SubmitDeliberation;
use conclave_core::tasks::Tasks;
use futures::future::BoxFuture;
use prost::Message as _;

use crate::clusters::Clusters;
use crate::wasm::Components;

pub use self::call::CallMeter;
pub use self::health::{Health, Readiness};
pub use self::server::{ResponseShape, Server, Settings, server};
pub(crate) use self::status::code_name;

/// The generated messages, clients and servers, a module a package.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "the generated code silences lints in its own way"
)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/grpc.rs"));

    /// The encoded `google.protobuf.FileDescriptorSet` of all of them.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpc.bin"));
}

/// Every method that is served, as `package.Service/Method`.
///
/// # Panics
/// Never: the build script and the libraries wrote the descriptors.
#[must_use]
pub fn methods() -> Vec<String> {
    const SOUND: &str = "it is a descriptor set";
    let sets = [
        pb::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| {
        let set = prost_types::FileDescriptorSet::decode(set).expect(SOUND);
        set.file
    });
    let mut methods: Vec<_> = files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let service_name = format!("{package}.{}", service.name());
                let methods = service.method.into_iter();
                methods.map(move |method| format!("{service_name}/{}", method.name()))
            })
        })
        .collect();
    methods.sort();
    methods.dedup();
    methods
}

/// What the services are for.
#[derive(Clone)]
pub struct Host {
    /// Accepts deliberations.
    pub submit: Arc<SubmitDeliberation>,
    /// Reads, watches, waits for and cancels them.
    pub follow: FollowDeliberation,
    /// Lists them.
    pub list: ListDeliberations,
    /// Reads what each of their generations did.
    pub accounts: ReadAccount,
    /// Shows the plugins.
    pub plugins: InspectPlugins,
    /// Takes plugins, and points names at them.
    pub registry: Arc<dyn Registry>,
    /// Fetches plugins from elsewhere.
    pub import: Arc<dyn Fetch>,
    /// The deliberations that run.
    pub live: Live,
    /// Starts what must not end with the call that began it.
    pub tasks: Tasks,
    /// Bytes that a component may have.
    pub component_bytes_max: u64,
    /// Their components.
    pub components: Arc<dyn Components>,
    /// The time.
    pub clock: Clock,
    /// How the host stands now, for `GetStatus`; it is asked at each call.
    pub health: Arc<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>,
    /// The clusters that work is handed to, and the models that are served there.
    pub clusters: Arc<Clusters>,
    /// Who measures calls.
    pub calls: Arc<dyn CallMeter>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
