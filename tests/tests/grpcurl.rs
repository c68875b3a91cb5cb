//! The host through a client that knows nothing of it: grpcurl, by reflection.

use std::process::Command;

use conclave_tests::command::Ran;
use conclave_tests::host::Host;
use conclave_tests::patience::within;
use conclave_tests::python::Venv;
use conclave_tests::stub_server::StubServer;

/// Runs grpcurl against the host; `call` is what stands behind the address.
async fn grpcurl(host: &Host, data: &str, call: &[&str]) -> Ran {
    let venv = tokio::task::spawn_blocking(Venv::ready)
        .await
        .expect("it does not panic");
    let program = venv.expect("the environment is made").program("grpcurl");
    let mut command = Command::new(program);
    command.arg("-plaintext").arg("-max-time").arg("60");
    if !data.is_empty() {
        command.arg("-d").arg(data);
    }
    command.arg(host.grpc_addr().to_string()).args(call);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = within("grpcurl", ended)
        .await
        .expect("it ends")
        .expect("it does not panic");
    ended.expect("it can be started").into()
}

#[tokio::test]
async fn reflection_lists_every_service_and_describes_its_messages() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let listed = grpcurl(&host, "", &["list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let mut services: Vec<_> = listed
        .out
        .lines()
        .filter(|line| !line.contains("reflection"))
        .collect();
    services.sort_unstable();
    let expected = [
        "conclave.v1.Clusters",
        "conclave.v1.Deliberations",
        "conclave.v1.Plugins",
        "conclave.v1.Records",
        "fleet.ray_executor.v1.RayExecutorService",
        "grpc.health.v1.Health",
        "ray_executor.v1.RayExecutorService",
    ];
    assert_eq!(services, expected);
    let described = grpcurl(&host, "", &["describe", "conclave.v1.Outcome"]).await;
    assert!(described.out.contains("completeness"), "{described:?}");
}

#[tokio::test]
async fn health_is_served_for_the_host_and_for_each_service() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    for service in [
        "",
        "conclave.v1.Clusters",
        "conclave.v1.Deliberations",
        "ray_executor.v1.RayExecutorService",
    ] {
        let data = format!(r#"{{"service": "{service}"}}"#);
        let health = grpcurl(&host, &data, &["grpc.health.v1.Health/Check"]).await;
        assert_eq!(
            health.json().unwrap()["status"],
            "SERVING",
            "{service}: {health:?}"
        );
    }
}

#[tokio::test]
async fn a_deliberation_is_created_and_waited_for() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let data = r#"{"deliberation": {
        "task": {"id": "t-1", "description": "Is 7 prime?", "agents": [{"id": "a", "model": "answer:yes"}]},
        "strategy": {"name": "sample-vote"}, "timeout": "30s"}, "request_id": "key-1"}"#;
    let created = grpcurl(
        &host,
        data,
        &["conclave.v1.Deliberations/CreateDeliberation"],
    )
    .await;
    let created = created.json().unwrap();
    assert_eq!(created["timeout"], "30s");
    let name = format!(r#"{{"name": {}}}"#, created["name"]);
    let done = grpcurl(
        &host,
        &name,
        &["conclave.v1.Deliberations/WaitDeliberation"],
    )
    .await
    .json()
    .unwrap();
    assert_eq!(done["state"], "COMPLETED");
    assert_eq!(done["outcome"]["ranked"][0]["candidate"]["content"], "yes");
    let refused = grpcurl(
        &host,
        "{}",
        &["conclave.v1.Deliberations/CreateDeliberation"],
    )
    .await;
    assert!(
        refused.code != Some(0) && refused.err.contains("InvalidArgument"),
        "{refused:?}"
    );
}
