use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::cluster::JobSpec;
use crate::testkit::cluster::Life;

/// The model as an earlier life of the host had it.
fn old(replicas: u32) -> ModelPlan {
    let mut plan = served("m", replicas..=replicas);
    if let Some(job) = &mut plan.job {
        job.entrypoint = "serve --port {port} --old-flag".to_owned();
    }
    plan
}

/// Has so many replicas of the old plan running on the cluster.
async fn earlier_life(cluster: &Arc<ScriptedCluster>, replicas: u32) {
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(cluster)]),
        models: vec![old(replicas)],
        ..Parts::default()
    });
    world.until_healthy(replicas as usize).await;
    world.ended().await;
}

fn is_old(job: &JobSpec) -> bool {
    job.entrypoint.ends_with("--old-flag")
}

/// How many jobs of the new plan were submitted.
fn renewed(cluster: &ScriptedCluster) -> usize {
    let submitted = cluster.submitted();
    submitted.iter().filter(|job| !is_old(job)).count()
}

fn world(cluster: &Arc<ScriptedCluster>, replicas: std::ops::RangeInclusive<u32>) -> World {
    World::new(Parts {
        clusters: named(vec![Arc::clone(cluster)]),
        models: vec![served("m", replicas)],
        ..Parts::default()
    })
}

#[tokio::test(start_paused = true)]
async fn replicas_with_older_settings_are_replaced_one_by_one_under_load() {
    let cluster = steady("10.0.0.1");
    earlier_life(&cluster, 2).await;
    let world = world(&cluster, 2..=2);
    world.until_healthy(2).await;
    assert!(cluster.stopped().is_empty(), "they were taken over");
    let over = Arc::new(AtomicBool::new(false));
    // Four deliberations that always ask for something, for two slots.
    let load = futures::future::join_all((0..4).map(|n| {
        let (world, over) = (&world, Arc::clone(&over));
        async move {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                let lease = world.lease_of(&format!("deliberation-{n}"), 10).await;
                let lease = lease.expect("there is always a server");
                tokio::time::sleep(SECOND).await;
                lease.succeeded();
                served += 1;
            }
            served
        }
    }));
    let watch = async {
        let least = Cell::new(2);
        world
            .until(|status| {
                least.set(least.get().min(healthy(status)));
                assert!(healthy(status) >= 1, "{status:#?}");
                renewed(&cluster) == 2 && healthy(status) == 2
            })
            .await;
        over.store(true, Ordering::Relaxed);
        least.get()
    };
    let (served, least) = tokio::join!(load, watch);
    assert_eq!(least, 1, "they are replaced");
    assert!(served.iter().all(|count| *count > 5), "{served:?}");
    assert_eq!(
        cluster.stopped(),
        ["conclave-model-m-0-1", "conclave-model-m-1-1"]
    );
    let status = world.fleet.status();
    let jobs = status.models[0].replicas.iter().map(|one| &one.job);
    assert!(jobs.into_iter().all(|job| job.failures == 0));
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn newer_settings_that_do_not_work_take_one_replica_at_most() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |job| match is_old(job) {
        true => Life::steady(),
        false => Life::failing_after(SECOND, "unknown flag"),
    }));
    earlier_life(&cluster, 2).await;
    let world = world(&cluster, 2..=2);
    world.until(|_| !cluster.stopped().is_empty()).await;
    let refused = "connection refused";
    world
        .probe
        .set_ill(&endpoint("http://10.0.0.1:8000"), refused);
    world.until(|_| renewed(&cluster) > 3).await;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(cluster.stopped(), ["conclave-model-m-0-1"]);
    assert!(cluster.alive().contains(&"conclave-model-m-1-1".to_owned()));
    let endpoint = endpoint("http://10.0.0.1:8001");
    assert_eq!(world.lease().await.unwrap().endpoint, endpoint);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn the_only_replica_stays_until_one_beside_it_serves_where_the_bounds_allow_that() {
    let cluster = steady("10.0.0.1");
    earlier_life(&cluster, 1).await;
    let world = world(&cluster, 1..=2);
    world.until_healthy(1).await;
    let settled = |status: &FleetStatus| {
        assert!(healthy(status) >= 1, "{status:#?}");
        renewed(&cluster) == 2 && healthy(status) == 1 && status.models[0].replicas.len() == 1
    };
    world.until(settled).await;
    assert_eq!(
        cluster.stopped(),
        ["conclave-model-m-0-1", "conclave-model-m-1-1"]
    );
    assert_eq!(cluster.alive(), ["conclave-model-m-0-2"]);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn the_only_replica_is_replaced_where_it_stands_when_there_is_no_room_beside_it() {
    let cluster = Arc::new(ScriptedCluster::new("10.0.0.1", |job| {
        match job.submission_id.starts_with("conclave-model-m-1-") {
            true => Life::pending(),
            false => Life::steady(),
        }
    }));
    earlier_life(&cluster, 1).await;
    let world = world(&cluster, 1..=2);
    let began = tokio::time::Instant::now();
    let renewed = |status: &FleetStatus| {
        status.models[0].replicas[0].job.incarnation == 2 && healthy(status) == 1
    };
    let status = world.until(renewed).await;
    // 30 s in which what an earlier life left may end, and 60 s in which the other one gets no room.
    assert!(began.elapsed() >= 90 * SECOND);
    assert_eq!(status.models[0].replicas.len(), 1);
    assert_eq!(status.models[0].wanted, 1);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn the_only_replica_that_there_may_be_ends_what_it_has_and_is_replaced() {
    let cluster = steady("10.0.0.1");
    earlier_life(&cluster, 1).await;
    let world = world(&cluster, 1..=1);
    world.until_healthy(1).await;
    let held = world.lease_now();
    tokio::time::sleep(40 * SECOND).await;
    assert!(cluster.stopped().is_empty(), "a generation runs there");
    let mut waiting = world.asking(4, None);
    held.succeeded();
    world.until(|_| renewed(&cluster) == 1).await;
    assert!((&mut waiting).now_or_never().is_none());
    drop(waiting.await.unwrap());
    assert_eq!(cluster.stopped(), ["conclave-model-m-0-1"]);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_older_settings_that_serves_nobody_is_replaced_at_once() {
    let cluster = steady("10.0.0.1");
    earlier_life(&cluster, 1).await;
    let probe = Arc::new(ScriptedProbe::default());
    probe.set_ill(&endpoint("http://10.0.0.1:8000"), "status 503");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 1..=1)],
        probe,
        ..Parts::default()
    });
    let began = tokio::time::Instant::now();
    world.until(|_| renewed(&cluster) == 1).await;
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    world.ended().await;
}
