//! The host through the gRPC library that its clients use: runs the tests in `tests/python`.

use std::process::Command;

use conclave_tests::command::Ran;
use conclave_tests::host::Setup;
use conclave_tests::patience::within;
use conclave_tests::python::{Venv, sources};
use conclave_tests::stub_server::StubServer;

/// Runs the Python tests that `args` select against a host with this setting.
async fn pytest(setting: (&str, &str), args: &[&str]) -> Ran {
    let stub = StubServer::start().await.expect("a port is free");
    let setup = Setup::asking(&stub).expect("there is a place for data");
    let setup = setup
        .set("inference.allowed_endpoints", &stub.url())
        .set(setting.0, setting.1);
    let host = setup.start().await.expect("the host starts");
    let venv = tokio::task::spawn_blocking(Venv::ready)
        .await
        .expect("it does not panic");
    let venv = venv.expect("the environment is made");
    let mut pytest = Command::new(venv.program("python"));
    pytest
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .args(args)
        .arg(sources())
        .current_dir(sources())
        .env("CONCLAVE_ADDR", host.grpc_addr().to_string())
        .env("STUB_URL", stub.url())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::task::spawn_blocking(move || pytest.output());
    let ended = within("pytest", ended).await.expect("it ends");
    let ran = ended.expect("it does not panic");
    Ran::from(ran.expect("it can be started"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_of_all_three_contracts_are_served() {
    let ran = pytest(("compat.fleet_response_shape", "newer"), &[]).await;
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_clients_of_the_deployed_package_are_served_where_the_setting_says_so() {
    let ran = pytest(("compat.fleet_response_shape", "older"), &["-m", "older"]).await;
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("3 passed"), "{}", ran.out);
}
