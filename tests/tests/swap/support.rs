//! What the tests share: deliberations on the strategy `steady`, and components as files.

use std::path::PathBuf;

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, pb};
use conclave_tests::command::{Ran, client_of};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::Host;
use conclave_tests::plugins::Plugins;
use conclave_tests::steady::{NAME, steady};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A request of one agent for the strategy that tells its version.
pub(crate) fn asked(model: &str) -> pb::Deliberation {
    draft(&[model])
        .strategy(NAME, json!({}))
        .scorer("agreement", json!({}))
}

/// The version that a deliberation ran on, from its first to its last step.
pub(crate) fn ran_on(done: &pb::Deliberation) -> String {
    assert_eq!(done.state(), State::Completed, "{done:?}");
    let outcome = done.outcome.as_ref().unwrap();
    let (began, ended) = (&outcome.metadata["began_on"], &outcome.metadata["ended_on"]);
    assert_eq!(began, ended, "a deliberation ran on two versions");
    assert_eq!(*began, done.strategy.as_ref().unwrap().version);
    began.clone()
}

/// The version that a deliberation gets now.
pub(crate) async fn serving(client: &Client) -> String {
    ran_on(&client.run(asked("answer:yes")).await.unwrap())
}

/// Components as files.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file with these bytes.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// A file with this version of the strategy.
    pub(crate) fn steady(&self, number: u32) -> String {
        self.write(&format!("steady-{number}.wasm"), &steady(number).unwrap())
    }
}

pub(crate) async fn plugins(host: &Host) -> Plugins {
    Plugins::connect(host.grpc_addr()).await.unwrap()
}

/// Runs a command that succeeds; what it printed.
pub(crate) async fn done(host: &Host, args: &[&str]) -> String {
    let ran = client_of(host, args).await.unwrap();
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.out
}

/// Runs a command that fails.
pub(crate) async fn refused(host: &Host, args: &[&str]) -> Ran {
    let ran = client_of(host, args).await.unwrap();
    assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
    ran
}

/// The JSON objects of a command, one a line.
pub(crate) async fn lines(host: &Host, args: &[&str]) -> Vec<Value> {
    let out = done(host, args).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}
