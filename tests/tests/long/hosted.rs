//! A vLLM that the host itself runs on a Ray cluster, as older clusters are, and reaches in every mode.

use std::time::Duration;

use conclave_tests::client::answers;
use conclave_tests::host::Setup;
use conclave_tests::nats::NatsServer;
use conclave_tests::ray::{RayHead, RayPlace};
use conclave_tests::vllm::{self, Load, MODEL, free_port, given};
use serde_json::json;
use tempfile::TempDir;

use crate::engine::{self, Engine, sampler};

/// How long vLLM may take from the start of its job, and the executor beside it until its needs are
/// installed: a minute each, on an idle machine.
const START: Duration = Duration::from_secs(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_runs_its_own_vllm_on_an_old_cluster_and_reaches_it_in_every_mode() {
    let nats = NatsServer::new().await.unwrap();
    let place = RayPlace::of(given("CONCLAVE_TEST_RAY_OLD").unwrap()).unwrap();
    let head = place.start().await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let mut engine = hosted(&head, &nats, &files).await;
    // Where the host calls vLLM itself; work in a queue is found again by its generation.
    agents_that_differ_only_by_chance_are_one_request(&engine).await;
    engine::holds(&engine).await;
    engine.mode = Some("pool");
    engine::holds(&engine).await;
    // A Ray job for each wave takes seconds to start.
    engine.mode = Some("job");
    engine::every_agent_answers_and_tokens_are_counted(&engine).await;
    engine::a_cancel_ends_the_work_in_the_engine(&engine).await;
}

/// A host that runs the model on this cluster, with a route for each mode, once it has answered.
async fn hosted(head: &RayHead, nats: &NatsServer, files: &TempDir) -> Engine {
    let port = free_port().unwrap();
    let path = files.path().join("conclave.toml");
    std::fs::write(&path, config(head, nats, port)).unwrap();
    let setup = Setup::bare().unwrap().arg("--config");
    let setup = setup.arg(path.to_str().unwrap());
    let engine = Engine::of(setup, &format!("http://127.0.0.1:{port}")).await;
    let healthy = async {
        while Load::of(&engine.vllm).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let started = tokio::time::timeout(START, healthy).await;
    started.expect("vLLM starts");
    // The host's own request, to warm it up, is over then, and does not disturb what is counted.
    engine
        .completed(sampler(1, json!({"max_tokens": [4]})))
        .await;
    engine
}

/// The executor is started as by default: the cluster's own Python, in which Ray installs what it needs.
fn config(head: &RayHead, nats: &NatsServer, port: u16) -> String {
    let variables: Vec<_> = vllm::variables()
        .iter()
        .map(|(name, value)| format!("{name} = {}", json!(value)))
        .collect();
    format!(
        r#"
[events]
nats_url = "{nats}"

[[clusters]]
name = "old"
address = "{ray}"
[clusters.executor]
actors = 1
actor_cpus = 0.1

[models.{MODEL}]
vllm = {arguments}
python = {python}
host = "127.0.0.1"
port = {port}
endpoint = "http://127.0.0.1:{{port}}"
env = {{ {variables} }}

# What vLLM does not serve, it refuses itself.
[models.nobody]
endpoints = ["http://127.0.0.1:{port}"]

[[routing]]
labels = {{ mode = "pool" }}
execution = "pool"

[[routing]]
labels = {{ mode = "job" }}
execution = "job"
"#,
        nats = nats.url(),
        ray = head.url(),
        arguments = json!(vllm::arguments().unwrap()),
        python = json!(vllm::python().unwrap()),
        variables = variables.join(", "),
    )
}

async fn agents_that_differ_only_by_chance_are_one_request(engine: &Engine) {
    let before = engine.load().await;
    let params = json!({"max_tokens": [12], "temperature": 1.0});
    let done = engine.completed(sampler(4, params)).await;
    let after = engine.load().await;
    assert_eq!(answers(&done).len(), 4, "{done:?}");
    let requests = after.requests - before.requests;
    let choices = after.choices - before.choices;
    assert_eq!((requests, choices), (1.0, 4.0));
}
