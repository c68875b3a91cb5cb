//! The host through the gRPC library that its clients use: runs the tests in `tests/python`.

use std::process::Command;

use conclave_tests::command::Ran;
use conclave_tests::host::Setup;
use conclave_tests::patience::within;
use conclave_tests::python::{Venv, sources};
use conclave_tests::stub_server::StubServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_of_all_three_contracts_are_served() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub)
        .unwrap()
        .set("inference.allowed_endpoints", &stub.url());
    let host = setup.start().await.unwrap();
    let venv = tokio::task::spawn_blocking(Venv::ready)
        .await
        .unwrap()
        .unwrap();
    let mut pytest = Command::new(venv.program("python"));
    pytest
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .arg(sources())
        .current_dir(sources())
        .env("CONCLAVE_ADDR", host.grpc_addr().to_string())
        .env("STUB_URL", stub.url())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::task::spawn_blocking(move || pytest.output());
    let ran = Ran::from(within("pytest", ended).await.unwrap().unwrap().unwrap());
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
}
