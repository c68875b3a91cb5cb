use super::*;
use crate::cluster::{JobSpec, JobStatus};
use crate::testkit::cluster::Life;

fn ids(cluster: &ScriptedCluster) -> Vec<String> {
    let submitted = cluster.submitted();
    let ids = submitted.into_iter().map(|job| job.submission_id);
    ids.collect()
}

/// What a fleet submits for the first replica of this plan.
async fn job_of(plan: ModelPlan) -> JobSpec {
    jobs_of(plan, 1).await.remove(0)
}

/// What a fleet submits for so many replicas of this plan.
async fn jobs_of(plan: ModelPlan, count: u32) -> Vec<JobSpec> {
    let cluster = steady("10.0.0.1");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![ModelPlan {
            replicas: count..=count,
            ..plan
        }],
        ..Parts::default()
    });
    world.until_healthy(count as usize).await;
    world.ended().await;
    cluster.submitted()
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_submitted_waited_for_warmed_up_and_then_used() {
    let cluster = steady("10.0.0.1");
    let probe = Arc::new(ScriptedProbe::default());
    let server = endpoint("http://10.0.0.1:8000");
    probe.set_ill(&server, "connection refused");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![ModelPlan {
            warm_up: true,
            ..served("m", 1..=1)
        }],
        probe: Arc::clone(&probe),
        ..Parts::default()
    });
    let mut waiting = world.asking(4, None);
    let running =
        |status: &FleetStatus| status.models[0].replicas[0].job.state == JobState::Running;
    let until = world.until(|status| status.models[0].replicas.len() == 1 && running(status));
    let status = until.await;
    let replica = &status.models[0].replicas[0];
    assert_eq!(
        replica.job.submission_id.as_deref(),
        Some("conclave-model-m-0-1")
    );
    assert_eq!(replica.cluster.as_deref(), Some("a"));
    assert!((&mut waiting).now_or_never().is_none(), "it is not healthy");
    probe.set_well(&server);
    let lease = waiting.await.unwrap();
    assert_eq!(probe.warm_ups(), std::slice::from_ref(&server));
    assert_eq!(lease.endpoint, server);
    assert_eq!(lease.cluster.as_deref(), Some("a"));
    let placement = lease.placement.as_ref().unwrap();
    assert_eq!(placement.submission_id, "conclave-model-m-0-1");
    assert_eq!(placement.node.as_deref(), Some("10.0.0.1"));
    let spec = &cluster.submitted()[0];
    assert_eq!(spec.entrypoint, "serve --port 8000");
    assert_eq!(spec.metadata["conclave.kind"], "model");
    world.ended().await;
    assert!(cluster.stopped().is_empty(), "the jobs outlive the host");
    assert_eq!(cluster.alive().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_started_again_after_waits_that_double_with_the_end_of_its_log() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |_| {
        Life::failing_after(SECOND, "loading weights\nCUDA out of memory")
    }));
    let probe = Arc::new(ScriptedProbe::default());
    probe.set_ill(&endpoint("http://10.0.0.1:8000"), "connection refused");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 1..=1)],
        probe,
        ..Parts::default()
    });
    let waiting = world.asking(4, None);
    let failed = |status: &FleetStatus| {
        let replicas = &status.models[0].replicas;
        replicas.first().and_then(|one| one.job.last_error.clone())
    };
    let status = world
        .until(|status| failed(status).is_some_and(|error| error.contains("CUDA out of memory")))
        .await;
    let error = failed(&status).unwrap();
    assert!(
        error.starts_with("the job ended as FAILED: exit code 1"),
        "{error}"
    );
    // Three failures in a row, and nobody waits for the fourth start any more.
    let refusal = waiting.await.unwrap_err();
    assert!(
        refusal.to_string().contains("FAILED: exit code 1"),
        "{refusal}"
    );
    tokio::time::sleep(600 * SECOND).await;
    let starts = ids(&cluster);
    // Two seconds of life each, and waits of 1, 2, 4, … 60 s at most, and at least half of that.
    assert!((11..=24).contains(&starts.len()), "{}", starts.len());
    assert_eq!(
        starts[..2],
        ["conclave-model-m-0-1", "conclave-model-m-0-2"]
    );
    // The cluster keeps the last of them only.
    assert!(cluster.deleted().len() >= starts.len() - 5);
    assert!(!cluster.deleted().contains(starts.last().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_turns_ill_is_stopped_and_started_again() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    world.until_healthy(1).await;
    let server = endpoint("http://10.0.0.1:8000");
    world.probe.set_ill(&server, "status 500");
    world.until(|_| cluster.stopped().len() == 1).await;
    let status = world.until(|_| cluster.submitted().len() == 2).await;
    let job = &status.models[0].replicas[0].job;
    assert_eq!((job.incarnation, job.failures), (2, 1));
    assert_eq!(job.last_error.as_deref(), Some("not healthy: status 500"));
    world.probe.set_well(&server);
    world.until_healthy(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_never_healthy_is_started_again_after_its_time() {
    let cluster = steady("10.0.0.1");
    let probe = Arc::new(ScriptedProbe::default());
    probe.set_ill(&endpoint("http://10.0.0.1:8000"), "status 503");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 1..=1)],
        probe,
        ..Parts::default()
    });
    let began = tokio::time::Instant::now();
    world.until(|_| !cluster.stopped().is_empty()).await;
    let took = began.elapsed();
    assert!((61 * SECOND..63 * SECOND).contains(&took), "{took:?}");
    let status = world.until(|_| cluster.submitted().len() == 2).await;
    let error = status.models[0].replicas[0].job.last_error.clone().unwrap();
    assert_eq!(error, "not healthy within 60 s: status 503");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_resources_is_reported_and_not_started_again() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |_| Life::pending()));
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let waiting = world.asking(4, None);
    let refusal = waiting.await.unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("PENDING for 60 s") && text.contains("1 GPU"),
        "{text}"
    );
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(cluster.submitted().len(), 1);
    assert!(cluster.stopped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_starts_takes_over_what_runs_and_stops_what_is_double() {
    let job = job_of(served("m", 1..=3)).await;
    let cluster = steady("10.0.0.1");
    let mut newer = job.clone();
    newer.submission_id = "conclave-model-m-0-7".to_owned();
    cluster.put(job, Life::steady());
    cluster.put(newer, Life::steady());
    tokio::time::sleep(2 * SECOND).await;
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![ModelPlan {
            warm_up: true,
            ..served("m", 1..=3)
        }],
        ..Parts::default()
    });
    let status = world.until_healthy(1).await;
    let replica = &status.models[0].replicas[0];
    assert_eq!(
        replica.job.submission_id.as_deref(),
        Some("conclave-model-m-0-7")
    );
    assert!(world.probe.warm_ups().is_empty(), "it is warm");
    world.until(|_| cluster.alive().len() == 1).await;
    assert_eq!(cluster.stopped(), ["conclave-model-m-0-1"]);
    assert!(cluster.submitted().is_empty());
    // Its next start has a name that no job ever had.
    cluster.kill("conclave-model-m-0-7", "node died");
    world.until(|_| !cluster.submitted().is_empty()).await;
    assert_eq!(ids(&cluster), ["conclave-model-m-0-8"]);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_an_earlier_life_added_are_taken_over_too() {
    let mut jobs = jobs_of(served("m", 1..=3), 2).await;
    let mut other = jobs[0].clone();
    other.submission_id = "conclave-model-n-0-1".to_owned();
    other
        .metadata
        .insert("conclave.model".to_owned(), "n".to_owned());
    let cluster = steady("10.0.0.1");
    jobs.push(other);
    for job in jobs {
        cluster.put(job, Life::steady());
    }
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let status = world.until_healthy(2).await;
    assert_eq!(status.models[0].wanted, 2);
    assert!(cluster.submitted().is_empty());
    // A model that this host does not know may be another host's.
    tokio::time::sleep(10 * SECOND).await;
    assert!(cluster.stopped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_plan_is_stopped_and_replaced() {
    let mut old = served("m", 1..=3);
    if let Some(job) = &mut old.job {
        job.entrypoint = "serve --port {port} --old-flag".to_owned();
    }
    let cluster = steady("10.0.0.1");
    cluster.put(job_of(old).await, Life::steady());
    tokio::time::sleep(2 * SECOND).await;
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 1..=1)],
        ..Parts::default()
    });
    let replaced = |status: &FleetStatus| cluster.submitted().len() == 1 && healthy(status) == 1;
    let status = world.until(replaced).await;
    assert_eq!(cluster.stopped(), ["conclave-model-m-0-1"]);
    assert_eq!(ids(&cluster), ["conclave-model-m-0-2"]);
    let job = &status.models[0].replicas[0].job;
    assert_eq!((job.failures, &job.last_error), (0, &None));
    let jobs = &status.clusters[0].jobs;
    assert!(jobs.iter().any(|job| job.status == JobStatus::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_forgot_its_jobs_gets_them_again() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    world.until_healthy(1).await;
    cluster.lose_all();
    world.until(|_| cluster.submitted().len() == 2).await;
    let status = world.until_healthy(1).await;
    assert_eq!(status.models[0].replicas[0].job.incarnation, 2);
}
