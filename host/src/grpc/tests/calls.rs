//! What every call meets, whatever its service.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::Served;
use crate::grpc::pb::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient;
use crate::grpc::pb::ray_executor::v1::{ExecuteDeliberationRequest, GetStatusRequest};

#[tokio::test]
async fn health_follows_readiness_for_every_service() {
    let served = Served::answering("yes").await;
    let mut client = HealthClient::new(served.channel.clone());
    for (ready, expected) in [
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        served.readiness.set(ready).await;
        for service in [
            "",
            "conclave.v1.Deliberations",
            "ray_executor.v1.RayExecutorService",
            "fleet.ray_executor.v1.RayExecutorService",
        ] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let answer = client.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{service}");
        }
    }
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let served = Served::answering("yes").await;
    let mut client = ServerReflectionClient::new(served.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for expected in [
        "conclave.v1.Deliberations",
        "ray_executor.v1.RayExecutorService",
        "fleet.ray_executor.v1.RayExecutorService",
        "grpc.health.v1.Health",
    ] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected} in {names:?}"
        );
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let served = Served::answering("yes").await;
    let mut client = RayExecutorServiceClient::new(served.channel.clone());
    let request = ExecuteDeliberationRequest {
        task_description: "x".repeat(5 << 20),
        ..ExecuteDeliberationRequest::default()
    };
    let status = client.execute_deliberation(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(
        status.message().contains("grpc.message_bytes_max"),
        "{status}"
    );
    assert!(client.get_status(GetStatusRequest::default()).await.is_ok());
}

#[tokio::test]
async fn a_shutdown_waits_for_open_calls_but_not_for_ever() {
    let mut served = Served::answering("yes").await;
    let mut watch = HealthClient::new(served.channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap();
    watch.get_mut().message().await.unwrap();
    served.stop.send(()).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), &mut served.serving).await;
    assert!(early.is_err(), "a call is open");
    drop(watch);
    tokio::time::timeout(Duration::from_secs(3), served.serving)
        .await
        .unwrap()
        .unwrap();
}
