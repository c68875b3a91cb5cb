use super::*;
use crate::cluster::JobSpec;
use crate::testkit::cluster::Life;

const OWNER: &str = "host-1";

/// A job of a kind, of this owner.
fn job(id: &str, owner: &str, metadata: &[(&str, &str)]) -> JobSpec {
    let owned = [("conclave.owner", owner)];
    let pairs = metadata.iter().chain(&owned);
    let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    JobSpec {
        submission_id: id.to_owned(),
        metadata: pairs.collect(),
        ..JobSpec::default()
    }
}

fn model_job(id: &str, owner: &str, model: &str) -> JobSpec {
    let metadata = [
        ("conclave.kind", "model"),
        ("conclave.model", model),
        ("conclave.replica", "0"),
    ];
    job(id, owner, &metadata)
}

fn executor_job(id: &str, owner: &str, cluster: &str) -> JobSpec {
    let metadata = [("conclave.kind", "executor"), ("conclave.cluster", cluster)];
    job(id, owner, &metadata)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_configured_any_more_is_stopped_and_what_others_run_is_not() {
    let cluster = steady("10.0.0.1");
    for spec in [
        model_job("gone", OWNER, "gone"),
        executor_job("renamed", OWNER, "renamed"),
        // The other entry has an executor, and may be the same cluster by another name.
        executor_job("of-b", OWNER, "b"),
        model_job("foreign", "host-2", "gone"),
        executor_job("foreign-executor", "host-2", "renamed"),
        job("wave", OWNER, &[("conclave.kind", "wave")]),
        JobSpec {
            submission_id: "somebody-s".to_owned(),
            ..JobSpec::default()
        },
    ] {
        cluster.put(spec, Life::steady());
    }
    tokio::time::sleep(2 * SECOND).await;
    let mut clusters = named(vec![Arc::clone(&cluster), steady("10.0.0.2")]);
    clusters[1].0.executor = Some(ExecutorJob::default());
    let world = World::new(Parts {
        clusters,
        models: vec![served("m", 0..=1)],
        settings: FleetSettings {
            owner: OWNER.to_owned(),
            ..FleetSettings::default()
        },
        ..Parts::default()
    });
    tokio::time::sleep(20 * SECOND).await;
    assert!(cluster.stopped().is_empty(), "what runs there may end");
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(cluster.stopped(), ["gone", "renamed"]);
    tokio::time::sleep(600 * SECOND).await;
    let kept = ["foreign", "foreign-executor", "of-b", "somebody-s", "wave"];
    assert_eq!(cluster.alive(), kept);
    assert_eq!(cluster.stopped().len(), 2);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_resources_is_told_to_stop_until_it_has_and_nobody_waits_for_that() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |job| {
        match job.submission_id.ends_with("-1") {
            true => Life::pending(),
            false => Life::steady(),
        }
    }));
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let model = ModelName::new("m");
    world.until(|_| !cluster.submitted().is_empty()).await;
    tokio::time::sleep(5 * SECOND).await;
    world.fleet.down(&model).await.unwrap();
    world
        .until(|status| status.models[0].replicas.is_empty())
        .await;
    tokio::time::sleep(35 * SECOND).await;
    let told = cluster.stopped();
    assert!((4..=5).contains(&told.len()), "{told:?}");
    assert_eq!(
        cluster.alive(),
        ["conclave-model-m-0-1"],
        "it heeds nothing"
    );
    // The next one is another job.
    world.fleet.up(&model).await.unwrap();
    world.until_healthy(1).await;
    assert!(cluster.alive().contains(&"conclave-model-m-0-2".to_owned()));
    // It starts after all: it is told at once, and stops.
    cluster.admit("conclave-model-m-0-1");
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(cluster.alive(), ["conclave-model-m-0-2"]);
    let told = cluster.stopped();
    assert!(told.iter().all(|id| id == "conclave-model-m-0-1"));
    world.ended().await;
}
