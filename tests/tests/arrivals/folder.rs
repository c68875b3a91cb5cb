//! The folder of a host that serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use conclave_tests::client::Client;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::command::client_of;
use conclave_tests::components::{component_of_version, drop_in};
use conclave_tests::draft::vote;
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;
use tempfile::TempDir;

const STABLE: &str = "is stable as it is newer";

/// A host with a folder that is empty when it starts.
struct Watched {
    folder: TempDir,
    _stub: StubServer,
    host: Host,
    client: Client,
}

impl Watched {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stub = StubServer::start().await.unwrap();
        let setup = Setup::asking(&stub).unwrap();
        let host = at(setup, folder.path()).start().await.unwrap();
        let client = host.client().await.unwrap();
        Self {
            folder,
            _stub: stub,
            host,
            client,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn at(setup: Setup, folder: &Path) -> Setup {
    setup.set("plugins.dir", folder.to_str().unwrap())
}

fn sample_vote(version: &str) -> Vec<u8> {
    component_of_version("sample-vote", version).unwrap()
}

/// Runs a vote on this version, or on whatever serves, and tells on which it ran.
async fn ran_on(client: &Client, version: &str) -> String {
    let mut asked = vote(&["answer:7", "answer:7"]);
    let strategy = asked.strategy.get_or_insert_default();
    version.clone_into(&mut strategy.version);
    let done = client.run(asked).await.unwrap();
    assert_eq!(done.state(), State::Completed, "{done:?}");
    done.strategy.unwrap().version
}

#[tokio::test]
async fn a_newer_plugin_that_is_renamed_into_the_folder_serves_a_moment_later() {
    let watched = Watched::begin().await;
    let own = ran_on(&watched.client, "").await;
    drop_in(watched.path(), "vote.wasm", &sample_vote("0.9.0")).unwrap();
    watched
        .host
        .logged(&[STABLE, "sample-vote@0.9.0"])
        .await
        .unwrap();
    assert_eq!(ran_on(&watched.client, "").await, "0.9.0");
    assert_eq!(ran_on(&watched.client, &own).await, own);

    // An older one serves whoever names it.
    drop_in(watched.path(), "older.wasm", &sample_vote("0.8.0")).unwrap();
    let waits = ["serves whoever names its version", "sample-vote@0.8.0"];
    watched.host.logged(&waits).await.unwrap();
    assert_eq!(ran_on(&watched.client, "").await, "0.9.0");
    assert_eq!(ran_on(&watched.client, "0.8.0").await, "0.8.0");

    // Its file is not needed any more.
    fs::remove_file(watched.path().join("vote.wasm")).unwrap();
    watched
        .host
        .logged(&["was removed", "conclave plugin remove sample-vote@0.9.0"])
        .await
        .unwrap();
    assert_eq!(ran_on(&watched.client, "").await, "0.9.0");
}

#[tokio::test]
async fn a_half_written_and_a_broken_file_are_told_and_change_nothing() {
    let watched = Watched::begin().await;
    let own = ran_on(&watched.client, "").await;
    let whole = sample_vote("0.9.0");
    let path = watched.path().join("vote.wasm");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    watched
        .host
        .logged(&["is written in place", "vote.wasm.partial"])
        .await
        .unwrap();
    drop_in(watched.path(), "broken.wasm", b"not wasm").unwrap();
    let refused = [
        "the plugin is refused",
        "broken.wasm",
        "not a WebAssembly binary",
    ];
    watched.host.logged(&refused).await.unwrap();
    // It is whole now, but nobody can know that.
    fs::write(&path, &whole).unwrap();
    drop_in(
        watched.path(),
        "last.wasm",
        &component_of_version("agreement", "0.9.0").unwrap(),
    )
    .unwrap();
    watched
        .host
        .logged(&[STABLE, "agreement@0.9.0"])
        .await
        .unwrap();
    assert_eq!(ran_on(&watched.client, "").await, own);
    assert!(!watched.host.log().contains("sample-vote@0.9.0"));

    drop_in(watched.path(), "vote.wasm", &whole).unwrap();
    watched
        .host
        .logged(&[STABLE, "sample-vote@0.9.0"])
        .await
        .unwrap();
    assert_eq!(ran_on(&watched.client, "").await, "0.9.0");
}

#[tokio::test]
async fn a_volume_of_kubernetes_is_read_when_its_link_is_swapped() {
    let watched = Watched::begin().await;
    let dir = watched.path();
    // As a kubelet does: a directory with the files, a link to it that is renamed into place, and for
    // every file a link through that one.
    let swap = |version: &str| {
        let data = dir.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("vote.wasm"), sample_vote(version)).unwrap();
        symlink(format!("..{version}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    swap("0.8.0");
    symlink("..data/vote.wasm", dir.join("vote.wasm")).unwrap();
    watched
        .host
        .logged(&[STABLE, "sample-vote@0.8.0"])
        .await
        .unwrap();
    swap("0.9.0");
    watched
        .host
        .logged(&[STABLE, "sample-vote@0.9.0"])
        .await
        .unwrap();
    assert_eq!(ran_on(&watched.client, "").await, "0.9.0");
}

#[tokio::test]
async fn a_restart_after_a_rollback_keeps_the_rollback() {
    let watched = Watched::begin().await;
    let own = ran_on(&watched.client, "").await;
    drop_in(watched.path(), "vote.wasm", &sample_vote("0.9.0")).unwrap();
    watched
        .host
        .logged(&[STABLE, "sample-vote@0.9.0"])
        .await
        .unwrap();
    let back = client_of(&watched.host, &["plugin", "rollback", "sample-vote"])
        .await
        .unwrap();
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!(ran_on(&watched.client, "").await, own);
    let setup = watched.host.kill().unwrap();
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    assert_eq!(ran_on(&client, "").await, own);
    assert_eq!(ran_on(&client, "0.9.0").await, "0.9.0");
}
