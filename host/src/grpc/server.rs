//! The server: every service on one port, with its bounds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use super::call::Calls;
use super::conclave_v1::ConclaveV1;
use super::pb::conclave::v1::clusters_server::{self, ClustersServer};
use super::pb::conclave::v1::deliberations_server::{self, DeliberationsServer};
use super::pb::conclave::v1::plugins_server::{self, PluginsServer};
use super::pb::conclave::v1::records_server::{self, RecordsServer};
use super::pb::fleet::ray_executor::v1::ray_executor_service_server as fleet;
use super::pb::ray_executor::v1::ray_executor_service_server as documented;
use super::ray_executor::{FleetV1, RayExecutor, V1};
use super::{Host, Readiness, pb};
use crate::access::Access;
use crate::tls::Incoming;

/// The services that `grpc.health.v1` knows; the empty name stands for all.
const SERVICES: &[&str] = &[
    "",
    deliberations_server::SERVICE_NAME,
    plugins_server::SERVICE_NAME,
    clusters_server::SERVICE_NAME,
    records_server::SERVICE_NAME,
    fleet::SERVICE_NAME,
    documented::SERVICE_NAME,
];

/// How `fleet.ray_executor.v1` answers a submit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseShape {
    /// `1 task_id · 2 deliberation_id · 3 status · 4 message`.
    #[default]
    Newer,
    /// `1 deliberation_id · 2 status · 3 message`, which that package's older clients expect.
    Older,
}

/// The server's bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of one request message.
    pub message_bytes_max: usize,
    /// Calls that are served at once; more are refused with `RESOURCE_EXHAUSTED`.
    pub calls_max: usize,
    /// Calls of one connection at once; a client's library holds more back.
    pub connection_calls_max: u32,
    /// Connections at once; more are closed.
    pub connections_max: usize,
    /// How long a connection may be silent before it is asked whether it lives.
    pub keepalive: Duration,
    /// How long a shutdown waits for calls that are still open.
    pub drain: Duration,
    /// How `fleet.ray_executor.v1` answers a submit.
    pub fleet_response_shape: ResponseShape,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // A task of the longest description and its templates fits; it is what gRPC's own
            // libraries take.
            message_bytes_max: 4 << 20,
            // A waiting call costs some kilobytes.
            calls_max: 10_000,
            connection_calls_max: 1_000,
            // An idle connection costs some 20 kB, one with TLS twice that; clients share few of them.
            connections_max: 10_000,
            // Below the idle timeouts of load balancers, of which one minute is the shortest common.
            keepalive: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            fleet_response_shape: ResponseShape::default(),
        }
    }
}

/// The services, ready to be served.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) calls: Calls<Routes>,
    settings: Settings,
}

/// Makes the services, for callers that are let in. The host is not ready until the handle says so; set it to not ready first
/// when the host stops.
pub async fn server(host: Host, access: Arc<Access>, settings: Settings) -> (Server, Readiness) {
    let reporter = HealthReporter::new();
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let readiness = Readiness::new(reporter, SERVICES).await;
    let bytes_max = settings.message_bytes_max;
    let meter = Arc::clone(&host.calls);
    let ray_executor = RayExecutor::new(host.clone(), readiness.clone());
    let fleet_v1 = FleetV1 {
        common: ray_executor.clone(),
        shape: settings.fleet_response_shape,
    };
    let conclave_v1 = ConclaveV1::new(host, readiness.clone());
    let reflected = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that clients without files can show them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    const SOUND: &str = "the build script wrote the descriptors";
    let routes = Routes::new(
        DeliberationsServer::new(conclave_v1.clone()).max_decoding_message_size(bytes_max),
    )
    .add_service(RecordsServer::new(conclave_v1.clone()).max_decoding_message_size(bytes_max))
    .add_service(ClustersServer::new(conclave_v1.clone()).max_decoding_message_size(bytes_max))
    .add_service(PluginsServer::new(conclave_v1).max_decoding_message_size(bytes_max))
    .add_service(
        documented::RayExecutorServiceServer::new(V1(ray_executor))
            .max_decoding_message_size(bytes_max),
    )
    .add_service(
        fleet::RayExecutorServiceServer::new(fleet_v1).max_decoding_message_size(bytes_max),
    )
    .add_service(tonic_health::pb::health_server::HealthServer::new(health))
    .add_service(reflected().build_v1().expect(SOUND))
    .add_service(reflected().build_v1alpha().expect(SOUND))
    .prepare();
    let calls = Calls::new(routes, access, settings.calls_max, bytes_max, meter);
    (Server { calls, settings }, readiness)
}

impl Server {
    /// Serves these connections until `shutdown`; then takes no new connections, lets the calls that
    /// are open end, and returns when they have, or when the time for it is over.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(
        self,
        incoming: Incoming,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let Settings {
            keepalive,
            drain,
            connection_calls_max,
            ..
        } = self.settings;
        let (tell, told) = oneshot::channel();
        let signal = async {
            shutdown.await;
            // An error means that the transport has failed, which is told below.
            let _ = tell.send(());
        };
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(keepalive))
            .max_concurrent_streams(connection_calls_max)
            .serve_with_incoming_shutdown(self.calls, incoming.into_stream(), signal);
        // A client that watches the host's health never ends its call.
        let overdue = async {
            match told.await {
                Ok(()) => tokio::time::sleep(drain).await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            served = serving => served,
            () = overdue => {
                tracing::debug!("calls are still open; they end with the process");
                Ok(())
            }
        }
    }
}
