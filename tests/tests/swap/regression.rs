//! A canary that is worse than stable is rolled back by the host itself.

use conclave_tests::client::{Client, pb};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::Host;
use conclave_tests::plugins::Plugins;
use conclave_tests::steady::{DISAGREES, FAILS, NAME, TRAPS, WEAK_SPOT, steady, version};
use conclave_tests::stub_server::StubServer;
use pb::plugin_change::Action;

use super::support::{done, lines, plugins, ran_on, serving};

/// Far more deliberations than a canary that always fails survives.
const DELIBERATIONS_MAX: usize = 400;

const HALF: i32 = 5_000;

/// A request that every version answers well but those with a fault.
fn delicate() -> pb::Deliberation {
    draft(&["answer:yes", "answer:yes"])
        .strategy(NAME, serde_json::json!({}))
        .scorer("agreement", serde_json::json!({}))
        .task(|task| task.description = format!("What of {WEAK_SPOT}?"))
}

/// Brings a sound version, and tries one with a fault on half of the deliberations.
async fn try_beside_a_sound_one(plugins: &Plugins, faulty: u32) {
    for number in [1, faulty] {
        plugins.push(&steady(number).unwrap(), None).await.unwrap();
    }
    let tried = plugins.canary(NAME, &version(faulty), HALF).await.unwrap();
    assert_eq!(
        tried.canary.unwrap().plugin.unwrap().version,
        version(faulty)
    );
}

/// Deliberates until nothing is tried any more.
async fn until_rolled_back(client: &Client, plugins: &Plugins) {
    let mut tried = true;
    for _ in 0..DELIBERATIONS_MAX {
        client.run(delicate()).await.unwrap();
        tried = plugins.channels(NAME).await.unwrap().canary.is_some();
        if !tried {
            break;
        }
    }
    let channels = plugins.channels(NAME).await.unwrap();
    assert!(
        !tried,
        "{DELIBERATIONS_MAX} deliberations did not end the canary: {channels:?}"
    );
}

/// The rollback as the history has it; its reason.
async fn reason(plugins: &Plugins) -> String {
    let changes = plugins.changes(NAME).await.unwrap();
    let last = changes.first().unwrap();
    assert_eq!(last.action(), Action::RolledBack, "{changes:?}");
    last.reason.clone()
}

async fn is_rolled_back(faulty: u32, finding: &str) {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let (client, plugins) = (host.client().await.unwrap(), plugins(&host).await);
    try_beside_a_sound_one(&plugins, faulty).await;

    until_rolled_back(&client, &plugins).await;

    let reason = reason(&plugins).await;
    assert!(reason.contains(finding), "{reason}");
    for _ in 0..10 {
        assert_eq!(ran_on(&client.run(delicate()).await.unwrap()), version(1));
    }
    let log = ["a canary was found worse and is rolled back", NAME, finding];
    host.logged(&log).await.unwrap();
    let history = done(&host, &["plugin", "history", NAME]).await;
    assert!(history.contains(finding), "{history}");
}

#[tokio::test]
async fn one_that_traps_is_rolled_back() {
    is_rolled_back(TRAPS, "trap").await;
}

#[tokio::test]
async fn one_that_fails_is_rolled_back() {
    is_rolled_back(FAILS, " failed, ").await;
}

#[tokio::test]
async fn one_whose_scores_drop_is_rolled_back() {
    is_rolled_back(DISAGREES, "the mean score is ").await;
}

/// A canary as good as stable would be told apart only by mistake, in one life of a hundred: it stays, and
/// what was seen of it outlives the host.
#[tokio::test]
async fn one_that_is_as_good_stays_and_what_was_seen_of_it_outlives_the_host() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let (client, plugins) = (host.client().await.unwrap(), plugins(&host).await);
    try_beside_a_sound_one(&plugins, 2).await;
    for _ in 0..20 {
        client.run(delicate()).await.unwrap();
    }
    let before = plugins.channels(NAME).await.unwrap();
    let tried = before.canary.as_ref().expect("it is as good");

    let (status, setup) = host.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let host = setup.start().await.unwrap();

    let after = super::support::plugins(&host).await.channels(NAME).await;
    assert_eq!(after.unwrap(), before);
    let inspected = lines(&host, &["plugin", "inspect", NAME, "--json"]).await;
    assert!(
        inspected[0].to_string().contains(&tried.evidence),
        "{inspected:?}"
    );
    serving(&host.client().await.unwrap()).await;
}
