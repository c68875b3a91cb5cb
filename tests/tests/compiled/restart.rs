//! A host that was stopped starts again without compiling, without asking plugins what they are, and
//! without believing whatever lies in its directory.

use std::path::{Path, PathBuf};

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::draft::vote;
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;

/// A host whose compiled plugins are its own, and not those of all tests.
fn setup(stub: &StubServer) -> Setup {
    let setup = Setup::asking(stub).unwrap();
    std::fs::remove_file(setup.data_dir().join("compiled")).unwrap();
    setup
}

/// What was counted of plugins: checks by result, compilations, and looks at the disk by result.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    accepted: u32,
    remembered: u32,
    compiled: u32,
    hit: u32,
    refused: u32,
}

async fn counted(host: &Host) -> Counted {
    let (_, text) = host.page("/metrics", "*/*").await.unwrap();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        let line = line.unwrap_or_else(|| unreachable!("no {series} in\n{text}"));
        line.trim().parse().unwrap()
    };
    Counted {
        accepted: value(r#"conclave_plugin_checks_total{result="accepted"}"#),
        remembered: value(r#"conclave_plugin_checks_total{result="remembered"}"#),
        compiled: value(r#"conclave_plugin_compilations_total{result="compiled"}"#),
        hit: value(r#"conclave_plugin_cache_lookups_total{result="hit"}"#),
        refused: value(r#"conclave_plugin_cache_lookups_total{result="refused"}"#),
    }
}

async fn deliberates(host: &Host) {
    let client = host.client().await.unwrap();
    let done = client.run(vote(&["answer:yes"])).await.unwrap();
    assert_eq!(done.state(), State::Completed);
}

/// The files of the compiled plugins whose names end so.
fn files(setup: &Setup, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(setup.data_dir().join("compiled")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.to_string_lossy().ends_with(suffix);
    paths.filter(named).collect()
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// How many plugins are in the box.
const BOX: u32 = 5;

#[tokio::test]
async fn a_restart_neither_compiles_nor_describes() {
    let stub = StubServer::start().await.unwrap();
    let host = setup(&stub).start().await.unwrap();
    let first = counted(&host).await;
    let new = Counted {
        accepted: BOX,
        remembered: 0,
        compiled: BOX,
        hit: 0,
        refused: 0,
    };
    assert_eq!(first, new);
    deliberates(&host).await;

    let setup = host.kill().unwrap();
    let host = setup.start().await.unwrap();
    let again = Counted {
        accepted: 0,
        remembered: 0,
        compiled: 0,
        hit: BOX,
        refused: 0,
    };
    assert_eq!(counted(&host).await, again);
    deliberates(&host).await;
    assert_eq!(counted(&host).await, again);
}

#[tokio::test]
async fn a_new_host_believes_the_check_of_one_whose_directory_it_has() {
    let stub = StubServer::start().await.unwrap();
    let first = setup(&stub).start().await.unwrap().kill().unwrap();
    let second = setup(&stub);
    let shared = first.data_dir().join("compiled");
    std::os::unix::fs::symlink(shared, second.data_dir().join("compiled")).unwrap();
    let remembered = |host| async move {
        let found = counted(&host).await;
        (found.accepted, found.remembered, found.compiled)
    };
    let host = second.start().await.unwrap();
    assert_eq!(remembered(host).await, (0, BOX, 0));

    // Other limits are another check, but the same machine code.
    let third = setup(&stub).set("plugins.limits.calls_max", "1234567");
    let shared = first.data_dir().join("compiled");
    std::os::unix::fs::symlink(shared, third.data_dir().join("compiled")).unwrap();
    let host = third.start().await.unwrap();
    assert_eq!(remembered(host).await, (BOX, 0, 0));
}

#[tokio::test]
async fn damaged_machine_code_is_compiled_again() {
    let stub = StubServer::start().await.unwrap();
    let host = setup(&stub).start().await.unwrap();
    let setup = host.kill().unwrap();
    let codes = files(&setup, ".code");
    assert_eq!(codes.len(), 5);
    codes.iter().for_each(|path| damage(path));

    let host = setup.start().await.unwrap();
    deliberates(&host).await;
    let found = counted(&host).await;
    assert_eq!((found.refused, found.compiled, found.hit), (BOX, BOX, 0));
    assert!(host.log().contains("is not believed"), "{}", host.log());
}

#[tokio::test]
async fn without_its_key_nothing_is_believed() {
    let stub = StubServer::start().await.unwrap();
    let host = setup(&stub).start().await.unwrap();
    let setup = host.kill().unwrap();
    // As somebody would who can write there, and not read.
    let key = setup.data_dir().join("compiled/seal.key");
    std::fs::remove_file(&key).unwrap();
    let host = setup.start().await.unwrap();
    let found = counted(&host).await;
    assert_eq!((found.refused, found.compiled, found.hit), (BOX, BOX, 0));
    deliberates(&host).await;
}
