//! Whoever runs keeps its version, and is told of until it has ended.

use conclave_tests::client::pb::plugin::Channel;
use conclave_tests::client::{Client, pb};
use conclave_tests::command::conclave_with;
use conclave_tests::host::Host;
use conclave_tests::patience::within;
use conclave_tests::plugins::Plugins;
use conclave_tests::steady::{NAME, steady, version};
use conclave_tests::stub_server::StubServer;

use super::support::{asked, done, plugins, ran_on, serving};

/// A deliberation that began on the first version and waits for its model, while the second one became
/// stable.
async fn held_while_swapped(
    stub: &StubServer,
    client: &Client,
    plugins: &Plugins,
) -> pb::Deliberation {
    for number in [1, 2] {
        plugins.push(&steady(number).unwrap(), None).await.unwrap();
    }
    let held = client.create(asked("held:answer:yes")).await.unwrap();
    within("the generation", stub.until(|requests| requests.len() == 1))
        .await
        .unwrap();
    plugins.promote(NAME, &version(2)).await.unwrap();
    held
}

#[tokio::test]
async fn a_running_deliberation_keeps_its_version_and_the_drain_report_names_it() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let plugins = plugins(&host).await;
    let held = held_while_swapped(&stub, &client, &plugins).await;
    assert_eq!(serving(&client).await, version(2));

    let uses = plugins.uses(NAME).await.unwrap();
    let old = uses
        .iter()
        .find(|one| one.channel() == Channel::Unspecified);
    let old = old.unwrap();
    assert_eq!(old.plugin.as_ref().unwrap().version, version(1));
    assert_eq!(old.deliberations, std::slice::from_ref(&held.name));
    let shown = done(&host, &["plugin", "drain", NAME]).await;
    assert!(shown.contains(&held.uid), "{shown}");

    // Its component can be removed; who runs on it does not notice.
    plugins
        .remove(&old.plugin.as_ref().unwrap().digest)
        .await
        .unwrap();
    let addr = format!("http://{}", host.grpc_addr());
    let waiting = tokio::spawn(async move {
        let variables = [("CONCLAVE_ADDR", addr.as_str())];
        conclave_with(&["plugin", "drain", NAME, "--wait"], &variables).await
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    stub.release();
    assert_eq!(ran_on(&client.wait(&held.uid).await.unwrap()), version(1));
    let waited = within("the end of the wait", waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert!(!waited.out.contains(&version(1)), "{waited:?}");
    let uses = plugins.uses(NAME).await.unwrap();
    assert!(
        uses.iter().all(|one| one.channel() != Channel::Unspecified),
        "{uses:?}"
    );
}

#[tokio::test]
async fn a_killed_host_resumes_on_the_version_that_it_began_with() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let plugins = plugins(&host).await;
    let held = held_while_swapped(&stub, &client, &plugins).await;
    let listed = plugins.list(NAME).await.unwrap();
    plugins.remove(&listed[0].digest).await.unwrap();
    let host = host.kill().unwrap().start().await.unwrap();
    // Its result was not journaled, so the generation is sent again, and held again.
    within(
        "the generation again",
        stub.until(|requests| requests.len() == 2),
    )
    .await
    .unwrap();
    stub.release();
    let client = host.client().await.unwrap();
    assert_eq!(ran_on(&client.wait(&held.uid).await.unwrap()), version(1));
    assert_eq!(serving(&client).await, version(2));
}
