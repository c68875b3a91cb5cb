use super::*;
use crate::testkit::cluster::Life;

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

/// One replica that may take its time to start.
fn slow(fakes: &[Arc<ScriptedCluster>; 2], probe: &Arc<ScriptedProbe>) -> World {
    let mut plan = served("m", 1..=1);
    plan.start_timeout = 600 * SECOND;
    World::new(Parts {
        clusters: named(fakes.to_vec()),
        models: vec![plan],
        probe: Arc::clone(probe),
        ..Parts::default()
    })
}

/// Lets the first cluster answer again, and sees the replica there until long after.
async fn serves_as_it_did(world: &World, [a, b]: &[Arc<ScriptedCluster>; 2]) {
    a.set_unreachable(false);
    let status = world.until_healthy(1).await;
    assert_eq!(home(&status), Some("a"));
    let server = endpoint("http://10.0.0.1:8000");
    assert_eq!(world.lease_now().endpoint, server);
    world.until(|_| b.alive().is_empty()).await;
    let later = world.fleet.status();
    assert_eq!((home(&later), healthy(&later)), (Some("a"), 1));
    // What stood in for it is well only now.
    world.probe.set_well(&endpoint("http://10.0.0.2:8000"));
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(world.lease_now().endpoint, server);
    assert!(a.stopped().is_empty(), "{:?}", a.stopped());
    assert_eq!((a.submitted().len(), b.submitted().len()), (1, 1));
    assert_eq!((a.alive().len(), b.alive().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_substitute_does_not_serve_yet_is_taken_back_with_its_cluster() {
    let fakes = [steady("10.0.0.1"), steady("10.0.0.2")];
    let probe = Arc::new(ScriptedProbe::default());
    let world = slow(&fakes, &probe);
    world.until_healthy(1).await;
    let [first, second] = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"].map(endpoint);
    fakes[0].set_unreachable(true);
    probe.set_ill(&first, "no route to host");
    probe.set_ill(&second, "connection refused");
    tokio::time::sleep(120 * SECOND).await;
    let status = world.fleet.status();
    let job = &status.models[0].replicas[0].job;
    assert_eq!(home(&status), Some("b"));
    assert_eq!(job.state, JobState::Running, "it starts for minutes");
    // Its server can be reached a little later than the dashboard.
    fakes[0].set_unreachable(false);
    world.until(|status| home(status) == Some("a")).await;
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(home(&world.fleet.status()), Some("a"));
    assert!(fakes[1].alive().is_empty());
    probe.set_well(&first);
    serves_as_it_did(&world, &fakes).await;
    world.ended().await;
}

/// Two clusters, of which the first runs the replica since an earlier life of the host, and does not answer.
async fn restarted(second: ScriptedCluster) -> [Arc<ScriptedCluster>; 2] {
    let fakes = [steady("10.0.0.1"), Arc::new(second)];
    let earlier = slow(&fakes, &Arc::default());
    let status = earlier.until_healthy(1).await;
    assert_eq!(home(&status), Some("a"));
    earlier.ended().await;
    fakes[0].set_unreachable(true);
    fakes
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_ran_before_the_host_did_is_taken_over_when_its_cluster_answers_later() {
    let fakes = restarted(ScriptedCluster::steady("10.0.0.2")).await;
    let probe = Arc::new(ScriptedProbe::default());
    probe.set_ill(&endpoint("http://10.0.0.2:8000"), "connection refused");
    let world = slow(&fakes, &probe);
    let starts = |status: &FleetStatus| {
        let job = &status.models[0].replicas[0].job;
        home(status) == Some("b") && job.state == JobState::Running
    };
    world.until(starts).await;
    serves_as_it_did(&world, &fakes).await;
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_substitute_that_waits_for_resources_is_stopped_when_it_gets_them_too_late() {
    let fakes = restarted(ScriptedCluster::new("10.0.0.2", |_| Life::pending())).await;
    let [a, b] = &fakes;
    let world = slow(&fakes, &Arc::default());
    world.until(|_| !b.alive().is_empty()).await;
    a.set_unreachable(false);
    world.until_healthy(1).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(b.alive().len(), 1, "it heeds nothing yet");
    b.admit(&b.alive()[0]);
    serves_as_it_did(&world, &fakes).await;
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_ran_before_the_host_did_the_first_one_stays() {
    let fakes = restarted(ScriptedCluster::steady("10.0.0.2")).await;
    let [a, b] = &fakes;
    b.put(a.submitted().remove(0), Life::steady());
    a.set_unreachable(false);
    tokio::time::sleep(2 * SECOND).await;
    let world = slow(&fakes, &Arc::default());
    let status = world.until_healthy(1).await;
    assert_eq!(home(&status), Some("a"));
    world.until(|_| b.alive().is_empty()).await;
    assert!(a.stopped().is_empty());
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_substitute_that_an_earlier_life_of_the_host_started_makes_way_as_well() {
    let fakes = restarted(ScriptedCluster::steady("10.0.0.2")).await;
    let [a, b] = &fakes;
    b.put(a.submitted().remove(0), Life::steady());
    tokio::time::sleep(2 * SECOND).await;
    let probe = Arc::new(ScriptedProbe::default());
    probe.set_ill(&endpoint("http://10.0.0.2:8000"), "connection refused");
    let world = slow(&fakes, &probe);
    world.until(|status| home(status) == Some("b")).await;
    tokio::time::sleep(60 * SECOND).await;
    a.set_unreachable(false);
    let status = world.until_healthy(1).await;
    assert_eq!(home(&status), Some("a"));
    world.until(|_| b.alive().is_empty()).await;
    assert!(a.stopped().is_empty());
    world.ended().await;
}
