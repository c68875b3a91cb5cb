//! What a host refuses, and that a refusal changes nothing.

use conclave_tests::client::pb;
use conclave_tests::client::{reason, violations};
use conclave_tests::host::{Host, Setup};
use conclave_tests::plugins::parts;
use conclave_tests::steady::{NAME, steady, version};
use conclave_tests::stub_server::StubServer;
use tonic::Code;

use super::support::{Files, done, lines, plugins, refused, serving};

/// A component that imports what no host links, twice.
const STRANGER: &str = r#"(component
    (import "wasi:sockets/tcp@0.2.0" (instance))
    (import "example:own/files@1.0.0" (instance)))"#;

#[tokio::test]
async fn a_refused_component_is_told_every_reason_and_changes_nothing() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let files = Files::new();
    let before = done(&host, &["plugin", "list", "--json"]).await;
    let stranger = files.write("stranger.wasm", &wat::parse_str(STRANGER).unwrap());
    let ran = refused(&host, &["plugin", "push", &stranger, "--promote"]).await;
    assert!(ran.err.contains("PLUGIN_REFUSED"), "{ran:?}");
    let ran = refused(&host, &["plugin", "push", &stranger, "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    let listed = told["error"]["violations"].as_array().unwrap();
    let offline = ["plugin", "check", &stranger, "--json"];
    let offline = conclave_tests::command::conclave(&offline).await.unwrap();
    let offline = offline.json().unwrap();
    let offline = offline["reasons"].as_array().unwrap();
    let rules: Vec<_> = listed.iter().map(|one| &one["rule"]).collect();
    assert_eq!(
        rules,
        offline.iter().collect::<Vec<_>>(),
        "the words are those of `check`"
    );

    let plugins = plugins(&host).await;
    let status = plugins.push(b"no component", None).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "PLUGIN_REFUSED");
    assert!(violations(&status).contains_key("component"));
    assert_eq!(done(&host, &["plugin", "list", "--json"]).await, before);
    // One that is refused does not keep the others back.
    let sound = files.steady(1);
    let ran = refused(&host, &["plugin", "push", &stranger, &sound]).await;
    assert!(ran.out.contains("is taken"), "{ran:?}");
    assert_eq!(plugins.list(NAME).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_version_stands_for_one_component_for_ever() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let plugins = plugins(&host).await;
    let bytes = steady(1).unwrap();
    plugins.push(&bytes, None).await.unwrap();
    let mut other = bytes.clone();
    // A custom section `x` without content: other bytes of the same meaning.
    other.extend([0, 2, 1, b'x']);
    let status = plugins.push(&other, None).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    assert_eq!(reason(&status), "PLUGIN_VERSION_TAKEN");
    assert_eq!(plugins.list(NAME).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_check_by_the_host_changes_nothing() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let files = Files::new();
    let before = done(&host, &["plugin", "list", "--json"]).await;
    let told = done(&host, &["plugin", "push", &files.steady(1), "--check-only"]).await;
    assert!(told.contains("can be pushed"), "{told}");
    assert_eq!(done(&host, &["plugin", "list", "--json"]).await, before);
    let answer = lines(&host, &["plugin", "push", &files.steady(1), "--json"]).await;
    assert_eq!(answer[0]["already_known"], false);
    assert_eq!(answer[0]["plugin"]["version"], version(1));
}

#[tokio::test]
async fn a_push_can_serve_at_once_in_whole_or_in_part() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let files = Files::new();
    done(&host, &["plugin", "push", &files.steady(1)]).await;
    done(&host, &["plugin", "push", &files.steady(2), "--promote"]).await;
    assert_eq!(serving(&client).await, version(2));
    done(
        &host,
        &["plugin", "push", &files.steady(3), "--canary", "100%"],
    )
    .await;
    assert_eq!(serving(&client).await, version(3));
    let listed = plugins(&host).await.list(NAME).await.unwrap();
    let channels: Vec<_> = listed.iter().map(|one| one.channel()).collect();
    use pb::plugin::Channel::{Canary, Stable, Unspecified};
    assert_eq!(channels, [Unspecified, Stable, Canary]);
}

#[tokio::test]
async fn an_upload_ends_where_it_is_too_large() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let setup = setup.set("plugins.limits.component_bytes_max", "2000000");
    let host = setup.start().await.unwrap();
    let plugins = plugins(&host).await;
    let large = vec![0; 2_000_001];
    let status = plugins.push(&large, None).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(&status), "COMPONENT_TOO_LARGE");
    // Announced, it is refused before it is sent.
    let metadata = pb::UploadMetadata {
        size_bytes: 2_000_001,
        ..pb::UploadMetadata::default()
    };
    let announced = parts(metadata, &[]);
    let stream = tonic::codegen::tokio_stream::iter(announced);
    let status = plugins.raw().upload_plugin(stream).await.unwrap_err();
    assert_eq!(reason(&status), "COMPONENT_TOO_LARGE");
}

#[tokio::test]
async fn a_host_fetches_only_from_registries_that_are_listed() {
    let stub = StubServer::start().await.unwrap();
    let reference = format!("127.0.0.1:9/team/vote@sha256:{}", "0".repeat(64));
    let import = ["plugin", "import", &reference];
    let nothing = Setup::asking(&stub).unwrap();
    let another = Setup::asking(&stub).unwrap();
    let another = another.set("plugins.oci.allowed", "registry.example/team");
    for setup in [nothing, another] {
        let host = setup.start().await.unwrap();
        let ran = refused(&host, &import).await;
        assert!(ran.err.contains("REGISTRY_NOT_ALLOWED"), "{ran:?}");
    }
}
