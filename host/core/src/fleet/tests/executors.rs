use super::*;
use crate::cluster::JobSpec;
use crate::testkit::cluster::Life;

fn executor(entrypoint: &str) -> ExecutorJob {
    ExecutorJob {
        spec: JobSpec {
            entrypoint: entrypoint.to_owned(),
            env_vars: BTreeMap::from([(
                "CONCLAVE_EXECUTOR".to_owned(),
                r#"{"submission_id": "{submission_id}"}"#.to_owned(),
            )]),
            ..JobSpec::default()
        },
        package: Some(Package {
            name: "conclave-executor-1".to_owned(),
            zip: Arc::from([1, 2, 3]),
        }),
        start_timeout: 60 * SECOND,
        drain_timeout: 10 * SECOND,
    }
}

fn with_executors(fakes: &[Arc<ScriptedCluster>]) -> World {
    let mut clusters = named(fakes.to_vec());
    for (plan, _) in &mut clusters {
        plan.has_executor = true;
        plan.executor = Some(executor("python -m conclave_executor"));
    }
    World::new(Parts {
        clusters,
        models: vec![ModelPlan {
            slots: 100,
            endpoints: vec![endpoint("http://inside:8000")],
            ..model("m")
        }],
        ..Parts::default()
    })
}

async fn lease(world: &World, excluding: &[&str]) -> Result<Lease, NoServer> {
    let (model, affinity) = (ModelName::new("m"), DeliberationId::new("deliberation-1"));
    let excluding: Vec<_> = excluding.iter().map(|&name| name.to_owned()).collect();
    let want = want(&model, &affinity, 100);
    world.fleet.lease_on_cluster(&want, &excluding).await
}

#[tokio::test(start_paused = true)]
async fn an_executor_is_shipped_started_and_kept_running() {
    let cluster = steady("10.0.0.1");
    let world = with_executors(&[Arc::clone(&cluster)]);
    let lease = lease(&world, &[]).await.unwrap();
    assert_eq!(lease.endpoint, endpoint("http://inside:8000"));
    assert_eq!(lease.cluster.as_deref(), Some("a"));
    let job = cluster.submitted().remove(0);
    assert_eq!(
        job.working_dir.as_deref(),
        Some("gcs://conclave-executor-1.zip")
    );
    assert!(job.submission_id.starts_with("conclave-executor-a-"));
    let told = format!(r#"{{"submission_id": "{}"}}"#, job.submission_id);
    assert_eq!(job.env_vars["CONCLAVE_EXECUTOR"], told);
    assert_eq!(
        lease.placement.as_ref().unwrap().submission_id,
        job.submission_id
    );
    drop(lease);
    cluster.kill(&job.submission_id, "node died");
    world.until(|_| cluster.submitted().len() == 2).await;
    let second = cluster.submitted().remove(1);
    assert!(second.submission_id.ends_with("-2"));
    world.until(|status| status.clusters[0].executes).await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_of_the_same_plan_is_taken_over_and_of_another_one_replaced() {
    let cluster = steady("10.0.0.1");
    let world = with_executors(&[Arc::clone(&cluster)]);
    world.until(|status| status.clusters[0].executes).await;
    world.ended().await;
    let world = with_executors(&[Arc::clone(&cluster)]);
    world.until(|status| status.clusters[0].executes).await;
    assert_eq!(cluster.submitted().len(), 1);
    world.ended().await;
    let mut clusters = named(vec![Arc::clone(&cluster)]);
    clusters[0].0.executor = Some(executor("python -m conclave_executor --new"));
    let world = World::new(Parts {
        clusters,
        ..Parts::default()
    });
    world
        .until(|status| status.clusters[0].executes && cluster.submitted().len() == 2)
        .await;
    let submitted = cluster.submitted();
    assert_eq!(cluster.stopped(), [submitted[0].submission_id.as_str()]);
    assert_eq!(cluster.alive(), [submitted[1].submission_id.as_str()]);
    assert!(submitted[1].submission_id.ends_with("-2"));
}

#[tokio::test(start_paused = true)]
async fn work_goes_to_the_executor_with_least_to_do_and_never_to_one_that_is_excluded() {
    let fakes = [steady("10.0.0.1"), steady("10.0.0.2")];
    let world = with_executors(&fakes);
    world
        .until(|status| status.clusters.iter().all(|cluster| cluster.executes))
        .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(lease(&world, &[]).await.unwrap());
    }
    let status = world.fleet.status();
    let loads: Vec<_> = status.clusters.iter().map(|one| one.outstanding).collect();
    assert_eq!(loads, [5, 5]);
    for _ in 0..10 {
        let lease = lease(&world, &["a"]).await.unwrap();
        assert_eq!(lease.cluster.as_deref(), Some("b"));
        held.push(lease);
    }
    let refusal = lease(&world, &["a", "b"]).await.unwrap_err();
    assert!(refusal.to_string().contains("no executor"), "{refusal}");
    held.clear();
    // What a cluster that does not answer is sent may be lost with it.
    fakes[0].set_unreachable(true);
    world
        .until(|status| status.clusters[0].breaker.state == BreakerState::Open)
        .await;
    for _ in 0..10 {
        held.push(lease(&world, &[]).await.unwrap());
        assert_eq!(held.last().unwrap().cluster.as_deref(), Some("b"));
    }
    held.clear();
    assert_eq!(world.fleet.status().clusters[1].outstanding, 0);
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_cannot_start_makes_nobody_wait() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |_| {
        Life::failing_after(Duration::ZERO, "ModuleNotFoundError: conclave_executor")
    }));
    let world = with_executors(&[cluster]);
    let refusal = lease(&world, &[]).await.unwrap_err();
    assert!(refusal.to_string().contains("no executor"), "{refusal}");
    let why = "ModuleNotFoundError: conclave_executor";
    assert!(refusal.to_string().contains(why), "{refusal}");
    let status = world.fleet.status();
    let job = status.clusters[0].executor.as_ref().unwrap();
    assert!(
        job.last_error
            .as_ref()
            .unwrap()
            .contains("ModuleNotFoundError")
    );
    // What the host sends itself does not need it.
    drop(world.lease_now());
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_brings_its_executor_waits_for_no_other() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |_| {
        Life::failing_after(Duration::ZERO, "ModuleNotFoundError: conclave_executor")
    }));
    let world = with_executors(&[cluster]);
    let (model, affinity) = (ModelName::new("m"), DeliberationId::new("deliberation-1"));
    let want = want(&model, &affinity, 100);
    let lease = world.fleet.lease_for_job(&want, &[]).await.unwrap();
    assert_eq!(lease.cluster.as_deref(), Some("a"));
    let excluded = ["a".to_owned()];
    let refusal = world.fleet.lease_for_job(&want, &excluded).await;
    assert!(refusal.is_err(), "{refusal:?}");
    world.fleet.drain("a").await.unwrap();
    let refusal = world.fleet.lease_for_job(&want, &[]).await;
    assert!(refusal.is_err(), "{refusal:?}");
}
