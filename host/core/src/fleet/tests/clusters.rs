use tokio::time::Instant;

use super::*;
use crate::testkit::cluster::Life;

fn homes(status: &FleetStatus) -> Vec<String> {
    let replicas = status.models[0].replicas.iter();
    replicas.filter_map(|one| one.cluster.clone()).collect()
}

fn two(replicas: std::ops::RangeInclusive<u32>) -> (World, [Arc<ScriptedCluster>; 2]) {
    let fakes = [steady("10.0.0.1"), steady("10.0.0.2")];
    let world = World::new(Parts {
        clusters: named(fakes.to_vec()),
        models: vec![served("m", replicas)],
        ..Parts::default()
    });
    (world, fakes)
}

#[tokio::test(start_paused = true)]
async fn replicas_are_placed_by_weight() {
    let fakes = vec![steady("10.0.0.1"), steady("10.0.0.2"), steady("10.0.0.3")];
    let mut clusters = named(fakes);
    clusters[1].0.weight = 2;
    let mut plan = served("m", 6..=6);
    plan.clusters = vec!["a".to_owned(), "b".to_owned()];
    let world = World::new(Parts {
        clusters,
        models: vec![plan],
        ..Parts::default()
    });
    let status = world.until_healthy(6).await;
    let count = |name: &str| homes(&status).iter().filter(|home| *home == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (2, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_answer_goes_on_serving_and_nothing_is_started_meanwhile() {
    let (world, [a, b]) = two(2..=2);
    world.until_healthy(2).await;
    a.set_unreachable(true);
    let open = |status: &FleetStatus| status.clusters[0].breaker.state == BreakerState::Open;
    let status = world.until(open).await;
    assert!(
        status.clusters[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("refused")
    );
    let asked = a.polls();
    tokio::time::sleep(600 * SECOND).await;
    // Left alone for up to a minute at a time.
    assert!(a.polls() - asked < 30, "{}", a.polls() - asked);
    let held = [world.lease_now(), world.lease_now()];
    let mut both: Vec<_> = held
        .iter()
        .filter_map(|lease| lease.cluster.clone())
        .collect();
    both.sort();
    assert_eq!(both, ["a", "b"]);
    drop(held);
    a.set_unreachable(false);
    let status = world
        .until(|status| status.clusters[0].breaker.state == BreakerState::Closed)
        .await;
    assert_eq!(healthy(&status), 2);
    assert_eq!(a.submitted().len() + b.submitted().len(), 2);
    assert!(a.stopped().is_empty() && b.stopped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_cluster_that_is_lost_go_to_the_other_one() {
    let (world, [a, _b]) = two(2..=2);
    let status = world.until_healthy(2).await;
    let server = |name: &str| {
        let mut replicas = status.models[0].replicas.iter();
        let replica = replicas.find(|one| one.cluster.as_deref() == Some(name));
        replica.unwrap().server.as_ref().unwrap().endpoint.clone()
    };
    let held = [world.lease_now(), world.lease_now()];
    let waiting: Vec<_> = (0..6).map(|_| world.asking(4, None)).collect();
    a.set_unreachable(true);
    let lost = server("a");
    world.probe.set_ill(&lost, "no route to host");
    world
        .until(|status| {
            let replicas = status.models[0].replicas.iter();
            let servers = replicas.filter_map(|one| one.server.as_ref());
            servers.filter(|server| server.is_healthy).count() == 1
        })
        .await;
    for lease in held {
        if lease.endpoint == lost {
            let error = unavailable(&lease);
            lease.failed(&error);
        } else {
            lease.succeeded();
        }
    }
    for one in waiting {
        let lease = one.now_or_never().expect("room").expect("a server");
        assert_eq!(lease.cluster.as_deref(), Some("b"));
        lease.succeeded();
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_lost_at_the_start_does_not_hold_up_the_others() {
    let fakes = vec![steady("10.0.0.1"), steady("10.0.0.2")];
    fakes[0].set_unreachable(true);
    let world = World::of_jobs(fakes.clone());
    let lease = world.asking(4, None).await.unwrap();
    assert_eq!(lease.cluster.as_deref(), Some("b"));
    // When it comes back with a replica that runs there, that one is too many.
    let mut job = fakes[1].submitted().remove(0);
    job.submission_id = "conclave-model-m-0-4".to_owned();
    fakes[0].put(job, Life::steady());
    fakes[0].set_unreachable(false);
    world.until(|_| fakes[0].alive().is_empty()).await;
    let mut stopped = fakes[0].stopped();
    // It is told again when it begins.
    stopped.dedup();
    assert_eq!(stopped, ["conclave-model-m-0-4"]);
    assert!(fakes[1].stopped().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_only_cluster_is_lost_makes_nobody_wait() {
    let cluster = steady("10.0.0.1");
    cluster.set_unreachable(true);
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let refusal = world.asking(4, None).await.unwrap_err();
    assert!(matches!(refusal, NoServer::Unavailable { .. }), "{refusal}");
    assert_eq!(out_of_service(&world), Some(5 * SECOND));
    cluster.set_unreachable(false);
    world.until_healthy(1).await;
    drop(world.lease_now());
    assert_eq!(out_of_service(&world), None);
}

/// When to ask again for the model, if nothing of it is at work nor expected to be.
fn out_of_service(world: &World) -> Option<Duration> {
    let model = ModelName::new("m");
    let refusal = world.fleet.out_of_service(&model, None, Execution::Direct);
    refusal.and_then(|refusal| refusal.retry_after())
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_stopped_is_waited_for() {
    let (world, _fakes) = two(1..=1);
    world.until_healthy(1).await;
    world.fleet.drain("a").await.unwrap();
    let refusal = world.lease().await.unwrap_err();
    assert_eq!(refusal.retry_after(), Some(5 * SECOND), "{refusal}");
    assert!(inference::Error::from(refusal).is_wait());
    assert_eq!(out_of_service(&world), Some(5 * SECOND));
    world.fleet.undrain("a").await.unwrap();
    assert_eq!(out_of_service(&world), None);
    world.fleet.down(&ModelName::new("m")).await.unwrap();
    world
        .until(|status| status.models[0].replicas.is_empty())
        .await;
    let refusal = world.lease().await.unwrap_err();
    assert!(refusal.to_string().contains("none shall run"), "{refusal}");
    assert_eq!(out_of_service(&world), Some(5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_drained_cluster_ends_what_it_has_and_gets_no_more_until_it_is_used_again() {
    let (world, [a, _b]) = two(2..=2);
    world.until_healthy(2).await;
    let held = [world.lease_now(), world.lease_now()];
    let mut waiting = world.asking(4, None);
    world.fleet.drain("a").await.unwrap();
    let (on_a, on_b): (Vec<_>, Vec<_>) = held
        .into_iter()
        .partition(|lease| lease.cluster.as_deref() == Some("a"));
    drop(on_a);
    settle().await;
    assert!((&mut waiting).now_or_never().is_none(), "a takes nothing");
    drop(on_b);
    let lease = waiting.now_or_never().expect("room on b").unwrap();
    assert_eq!(lease.cluster.as_deref(), Some("b"));
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(a.alive().len(), 1, "its jobs stay");
    let mut waiting = world.asking(4, None);
    world.fleet.undrain("a").await.unwrap();
    let lease = (&mut waiting).now_or_never().expect("room on a").unwrap();
    assert_eq!(lease.cluster.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_vacated_cluster_s_jobs_end_with_their_generations_and_are_started_elsewhere() {
    let (world, [a, b]) = two(2..=2);
    world.until_healthy(2).await;
    let held = [world.lease_now(), world.lease_now()];
    world.fleet.vacate("a").await.unwrap();
    tokio::time::sleep(20 * SECOND).await;
    assert!(a.stopped().is_empty(), "a generation runs there");
    drop(held);
    let status = world
        .until(|status| homes(status) == ["b", "b"] && healthy(status) == 2)
        .await;
    assert!(a.alive().is_empty());
    assert_eq!(b.alive().len(), 2);
    assert_eq!(status.clusters[0].wish, Some(ClusterWish::Down));
    assert_eq!(world.book.kept().clusters["a"], ClusterWish::Down);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_known_are_told_and_change_nothing() {
    let (world, _fakes) = two(1..=1);
    let error = world.fleet.drain("x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no cluster `x`, there are: a, b"
    );
    let unknown = ModelName::new("x");
    let error = world.fleet.scale(&unknown, 2).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no model `x`, there are: m");
    world.book.set_broken(true);
    let error = world.fleet.drain("a").await.unwrap_err();
    assert!(matches!(error, SteerError::NotKept(_)));
    assert_eq!(world.fleet.status().clusters[0].wish, None);
    assert_eq!(world.book.kept(), Wishes::default());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_hangs_is_known_as_lost_and_its_replicas_are_placed_elsewhere() {
    let (world, [a, b]) = two(2..=2);
    a.hang();
    let began = Instant::now();
    let status = world.until_healthy(2).await;
    assert_eq!(homes(&status), ["b", "b"]);
    assert!(began.elapsed() < 90 * SECOND, "{:?}", began.elapsed());
    let error = status.clusters[0].last_error.as_ref().unwrap();
    assert_eq!(error, "it did not tell its jobs within 10 s");
    assert_eq!(b.submitted().len(), 2);
}
