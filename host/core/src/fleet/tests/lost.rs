use super::*;

/// A fleet of one replica on the first of two clusters, which is lost now with its server or without it.
async fn lost(server_is_ill: bool) -> (World, [Arc<ScriptedCluster>; 2]) {
    let fakes = [steady("10.0.0.1"), steady("10.0.0.2")];
    let world = World::of_jobs(fakes.to_vec());
    let status = world.until_healthy(1).await;
    assert_eq!(home(&status), Some("a"));
    fakes[0].set_unreachable(true);
    if server_is_ill {
        let server = endpoint("http://10.0.0.1:8000");
        world.probe.set_ill(&server, "no route to host");
    }
    (world, fakes)
}

fn home(status: &FleetStatus) -> Option<&str> {
    status.models[0].replicas[0].cluster.as_deref()
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_lost_with_its_cluster_is_started_on_another_one() {
    let (world, [a, b]) = lost(true).await;
    let held = world.lease_now();
    let began = tokio::time::Instant::now();
    tokio::time::sleep(55 * SECOND).await;
    assert!(b.submitted().is_empty(), "it may be back soon");
    let status = world
        .until(|status| home(status) == Some("b") && healthy(status) == 1)
        .await;
    assert!(began.elapsed() < 75 * SECOND, "{:?}", began.elapsed());
    assert_eq!(status.models[0].replicas.len(), 1);
    drop(held);
    let lease = world.lease_now();
    assert_eq!(lease.endpoint, endpoint("http://10.0.0.2:8000"));
    drop(lease);
    // The cluster is back, and with it the job, which is one too many now.
    assert_eq!(a.alive().len(), 1);
    a.set_unreachable(false);
    world.until(|_| a.alive().is_empty()).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((a.submitted().len(), b.submitted().len()), (1, 1));
    assert_eq!(home(&world.fleet.status()), Some("b"));
    assert!(b.stopped().is_empty());
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_server_answers_stays_on_its_cluster_until_an_operator_wants_it_free() {
    let (world, [a, b]) = lost(false).await;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(home(&world.fleet.status()), Some("a"));
    let held = world.lease_now();
    world.fleet.vacate("a").await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    assert!(b.submitted().is_empty(), "a generation runs there");
    drop(held);
    let moved = |status: &FleetStatus| home(status) == Some("b") && healthy(status) == 1;
    world.until(moved).await;
    a.set_unreachable(false);
    world.until(|_| a.alive().is_empty()).await;
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_stays_where_it_is_while_no_other_cluster_can_take_it() {
    let (world, [a, b]) = lost(true).await;
    world.fleet.drain("b").await.unwrap();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(home(&world.fleet.status()), Some("a"));
    // It comes back as it was.
    world.probe.set_well(&endpoint("http://10.0.0.1:8000"));
    a.set_unreachable(false);
    world
        .until(|status| status.clusters[0].breaker.state == BreakerState::Closed)
        .await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(healthy(&world.fleet.status()), 1);
    assert!(b.submitted().is_empty() && a.stopped().is_empty());
    world.ended().await;
}
