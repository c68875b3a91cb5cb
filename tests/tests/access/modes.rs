//! Where callers are asked who they are, and where they are not.

use conclave_tests::client::{answers, reason};
use conclave_tests::draft::vote;
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::python::Venv;
use conclave_tests::stub_server::StubServer;
use tonic::Code;

use super::support::{Files, client, near, page, told, unauthenticated};

const ANYWHERE: Option<&str> = Some("0.0.0.0:0");

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_callers() {
    let setup = Setup::bare().unwrap().grpc_addr(ANYWHERE);
    let (status, log) = setup.start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    for part in [
        "`server.grpc_addr` is `0.0.0.0:0`",
        "conclave token new",
        "access.jwt",
        "tls.client_ca",
        "access.mode = \"off\"",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn access_control_is_off_where_the_operator_says_so() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap().grpc_addr(ANYWHERE);
    let host = setup.set("access.mode", "off").start().await.unwrap();
    let done = client(&host, "")
        .await
        .run(vote(&["answer:7"]))
        .await
        .unwrap();
    assert_eq!(answers(&done), ["7"]);
    assert!(host.log().contains("may do everything"), "{}", host.log());
}

/// Calls a method of the package of before with grpcurl, as its clients do.
async fn grpcurl(host: &Host, method: &str, data: &str) -> (bool, String) {
    let venv = tokio::task::spawn_blocking(Venv::ready).await.unwrap();
    let program = venv.unwrap().program("grpcurl");
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut command = std::process::Command::new(program);
    command
        .args(["-plaintext", "-max-time", "60", "-import-path", proto])
        .args(["-proto", "ray_executor/v1/ray_executor.proto", "-d", data])
        .arg(near(host.grpc_addr()).to_string())
        .arg(format!("ray_executor.v1.RayExecutorService/{method}"));
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = within("grpcurl", ended).await.unwrap().unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

#[tokio::test]
async fn grpc_port_leaves_the_packages_of_before_open_and_closes_the_rest() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap().grpc_addr(None);
    let host = setup.variable("GRPC_PORT", "0").start().await.unwrap();
    assert!(host.grpc_addr().ip().is_unspecified());
    let log = host.log();
    assert!(
        log.contains("both RayExecutorService packages are open"),
        "{log}"
    );

    let submit = serde_json::json!({
        "task_id": "t", "task_description": "Is 7 prime?", "role": "DEV",
        "agents": [{ "id": "a", "role": "DEV", "model": "answer:7" }],
        "vllm_url": stub.url(), "vllm_model": "answer:7",
    });
    let (ok, answer) = grpcurl(&host, "ExecuteDeliberation", &submit.to_string()).await;
    assert!(
        ok && answer.contains("\"status\": \"submitted\""),
        "{answer}"
    );
    let (ok, answer) = grpcurl(&host, "GetStatus", r#"{"include_stats":true}"#).await;
    assert!(
        ok && answer.contains("\"totalDeliberations\": \"1\""),
        "{answer}"
    );
    let (ok, answer) = grpcurl(&host, "GetDeliberationStatus", r#"{"deliberation_id":"d"}"#).await;
    assert!(ok && answer.contains("not_found"), "{answer}");

    let native = client(&host, "").await;
    let refused = native.create(vote(&["answer:7"])).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        unauthenticated("TOKEN_MISSING")
    );
    let with_token = client(&host, "made-up").await;
    assert_eq!(told(with_token.get("d").await).0, Code::Unauthenticated);
    assert_eq!(page(host.http_addr(), "/readyz", "").await.0, 200);
    assert_eq!(page(host.http_addr(), "/metrics", "").await.0, 401);
}

#[tokio::test]
async fn grpc_port_with_tokens_closes_everything() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ann, of_ann) = super::support::token("ann", "client", "a").await;
    let setup = files.setup(&stub, &of_ann).grpc_addr(None);
    let host = setup.variable("GRPC_PORT", "0").start().await.unwrap();
    let (ok, answer) = grpcurl(&host, "GetStatus", "{}").await;
    assert!(!ok && answer.contains("Unauthenticated"), "{answer}");
    assert_eq!(
        told(client(&host, &ann).await.get("d").await).0,
        Code::NotFound
    );
    assert!(host.log().contains("in clear text"), "{}", host.log());
}
