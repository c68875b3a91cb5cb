//! Model servers that the host runs as Ray jobs, and calls itself.

use conclave::ray::Ray;
use conclave_core::cluster::Cluster as _;
use conclave_tests::client::pb::replica::State;
use conclave_tests::client::{failure, pb};
use conclave_tests::draft::Change as _;
use conclave_tests::ray::RayHead;
use serde_json::Value;
use tonic::Code;

use crate::config::{Configuration, TINY};
use crate::rig::{Running, alive, ask, healthy, known, long, placed, ray};

/// What the names of the model's jobs begin with.
const JOBS: &str = "conclave-model-tiny-";

/// A model whose server ends at once.
const BROKEN: &str = "[models.broken]\n\
    entrypoint = \"echo first words; echo last words; exit 3\"\ncpus = 0.1";

#[tokio::test]
async fn the_host_runs_its_model_servers_as_ray_jobs() {
    let head = RayHead::new().await.unwrap();
    let ray = ray(head.place());
    let written = Configuration::default()
        .cluster("one", head.place(), 0, "")
        .tiny(1, 2)
        .await
        .with(BROKEN)
        .write();
    let host = Running::start(&written.setup).await;
    let first = a_generation_names_the_job_of_its_server(&host, &ray).await;
    let host = a_killed_host_takes_over_what_runs(host, &ray, &first).await;
    a_job_that_ends_is_started_again(&host, &ray, &first).await;
    an_operator_stops_and_starts_replicas(&host, &ray).await;
    a_job_that_fails_is_explained_by_its_log(&host).await;
}

/// The only job of the model, which is given.
async fn a_generation_names_the_job_of_its_server(host: &Running, ray: &Ray) -> String {
    let job = host.until_healthy(TINY, 1).await.remove(0);
    assert_eq!(alive(ray, JOBS).await, std::slice::from_ref(&job));
    let ran = host.cli(&["models", TINY, "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let shown = &ran.json().unwrap()["replicas"][0];
    assert_eq!(shown["state"], "HEALTHY", "{shown}");
    assert_eq!(shown["submission_id"], job.as_str(), "{shown}");

    let generations = host.run(ask("", TINY, 2)).await;
    assert_eq!(placed(&generations), [&job, &job]);
    for place in generations.into_iter().filter_map(|one| one.placement) {
        assert_eq!((place.cluster.as_str(), place.actor.as_str()), ("one", ""));
        assert!(!place.node.is_empty());
    }
    let endless = host.create(long("", TINY, 1, 1_500)).await;
    assert_eq!(host.until_active(&endless).await.job_id, job);
    host.client
        .cancel(&endless, "it is long enough")
        .await
        .unwrap();
    job
}

/// The host is killed while generations run; they are done again, by the same server.
async fn a_killed_host_takes_over_what_runs(host: Running, ray: &Ray, job: &str) -> Running {
    let uid = host.create(long("", TINY, 2, 60)).await;
    assert_eq!(host.until_active(&uid).await.job_id, job);
    let host = host.killed_and_started().await;
    let generations = host.completed(&uid, 2).await;
    assert_eq!(placed(&generations), [job, job]);
    assert_eq!(host.until_healthy(TINY, 1).await, [job]);
    assert_eq!(known(ray, JOBS).await, [job], "nothing was started again");
    host
}

/// Somebody stops the job of the server; who asks meanwhile waits for the next one.
async fn a_job_that_ends_is_started_again(host: &Running, ray: &Ray, job: &str) {
    ray.stop(job).await.unwrap();
    let is_lost = |model: &pb::Model| healthy(model).count() == 0;
    host.until_model(TINY, "the loss of its server", is_lost)
        .await;
    let generations = host.run(ask("", TINY, 2)).await;
    let next = host.until_healthy(TINY, 1).await.remove(0);
    assert_ne!(next, job);
    assert_eq!(placed(&generations), [&next, &next]);
    assert_eq!(alive(ray, JOBS).await, [next]);
}

async fn an_operator_stops_and_starts_replicas(host: &Running, ray: &Ray) {
    let ran = host.cli(&["down", TINY, "--timeout", "120"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(alive(ray, JOBS).await.is_empty());
    let refused = host.client.run(ask("", TINY, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let why = refused.message();
    assert!(why.contains("none shall run"), "{why}");

    let args = ["up", TINY, "--replicas", "2", "--timeout", "120", "--json"];
    let ran = host.cli(&args).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json().unwrap()["replicas_wanted"], 2);
    assert_eq!(alive(ray, JOBS).await.len(), 2);
    host.run(ask("", TINY, 2)).await;
}

async fn a_job_that_fails_is_explained_by_its_log(host: &Running) {
    let explained = |replica: &pb::Replica| {
        replica.error.contains("FAILED") && replica.error.contains("first words\nlast words")
    };
    host.until_model("broken", "the end of a log", |model| {
        model.replicas.iter().any(explained)
    })
    .await;
    let ran = host.cli(&["models", "broken", "--json"]).await;
    let model: Value = ran.json().unwrap();
    let replica = &model["replicas"][0];
    assert_ne!(replica["state"], State::Healthy.as_str_name(), "{model}");
    let told = replica["error"].as_str().unwrap();
    assert!(told.contains("last words"), "{told}");
    let shown = host.cli(&["models", "broken"]).await;
    assert!(shown.out.contains("last words"), "{shown:?}");
    // What it asks for fails, and says why.
    let failed = host
        .client
        .run(ask("", "broken", 1).retries(0))
        .await
        .unwrap();
    let (_, why) = failure(&failed);
    assert!(why.contains("FAILED"), "{why}");
}
