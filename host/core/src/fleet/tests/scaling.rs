use super::*;

#[tokio::test(start_paused = true)]
async fn a_model_grows_by_one_while_somebody_waits_too_long_and_shrinks_when_there_is_too_much() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    world.until_healthy(1).await;
    let began = tokio::time::Instant::now();
    let mut held = vec![world.lease_now()];
    let waiting: Vec<_> = (0..6).map(|_| world.asking(4, None)).collect();
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(world.fleet.status().models[0].wanted, 1);
    world.until(|status| status.models[0].wanted == 2).await;
    assert!(began.elapsed() >= 5 * SECOND);
    assert_eq!(healthy(&world.fleet.status()), 1, "one step at a time");
    world.until_healthy(2).await;
    world.until_healthy(3).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(cluster.submitted().len(), 3, "there is a bound");
    drop(waiting);
    held.push(world.lease_now());
    // A step each minute without need, but not the last one.
    drop(held);
    let idle = tokio::time::Instant::now();
    world.until(|status| status.models[0].wanted == 2).await;
    assert!(idle.elapsed() >= 60 * SECOND);
    world.until(|status| status.models[0].wanted == 1).await;
    assert!(idle.elapsed() >= 120 * SECOND);
    tokio::time::sleep(600 * SECOND).await;
    let status = world.until_healthy(1).await;
    assert_eq!(status.models[0].replicas.len(), 1);
    let stopped = cluster.stopped();
    assert_eq!(stopped, ["conclave-model-m-2-1", "conclave-model-m-1-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_of_no_replica_starts_one_for_the_first_who_asks() {
    let cluster = steady("10.0.0.1");
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 0..=1)],
        ..Parts::default()
    });
    tokio::time::sleep(60 * SECOND).await;
    assert!(cluster.submitted().is_empty());
    let lease = world.asking(4, None).await.unwrap();
    assert_eq!(lease.endpoint, endpoint("http://10.0.0.1:8000"));
    drop(lease);
    world.until(|_| cluster.alive().is_empty()).await;
    drop(world.asking(4, None).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_goes_gets_nothing_more_and_ends_what_it_has() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let name = ModelName::new("m");
    world.fleet.scale(&name, 2).await.unwrap();
    world.until_healthy(2).await;
    let held = [world.lease_now(), world.lease_now()];
    world.fleet.scale(&name, 1).await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    assert!(cluster.stopped().is_empty());
    let status = world.fleet.status();
    assert_eq!(status.models[0].replicas[1].job.state, JobState::Draining);
    let mut waiting = world.asking(4, None);
    for lease in held {
        let is_going = lease.endpoint == endpoint("http://10.0.0.1:8001");
        lease.succeeded();
        if is_going {
            assert!((&mut waiting).now_or_never().is_none());
        }
    }
    let lease = waiting.await.unwrap();
    assert_eq!(lease.endpoint, endpoint("http://10.0.0.1:8000"));
    world.until(|_| cluster.alive().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_does_not_end_holds_up_a_drain_for_its_time_only() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    world.until_healthy(1).await;
    let held = world.lease_now();
    let began = tokio::time::Instant::now();
    world.fleet.down(&ModelName::new("m")).await.unwrap();
    world.until(|_| !cluster.stopped().is_empty()).await;
    assert!((30 * SECOND..32 * SECOND).contains(&began.elapsed()));
    world.until(|_| cluster.alive().is_empty()).await;
    tokio::time::sleep(5 * SECOND).await;
    held.succeeded();
    let refusal = world.lease().await.unwrap_err();
    assert!(refusal.to_string().contains("none shall run"), "{refusal}");
    world.fleet.up(&ModelName::new("m")).await.unwrap();
    world.until_healthy(1).await;
    drop(world.lease_now());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_called_off_brings_the_replica_back() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let name = ModelName::new("m");
    world.fleet.scale(&name, 1).await.unwrap();
    world.until_healthy(1).await;
    let held = world.lease_now();
    world.fleet.down(&name).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    world.fleet.scale(&name, 1).await.unwrap();
    world.until_healthy(1).await;
    drop(held);
    tokio::time::sleep(60 * SECOND).await;
    assert!(cluster.stopped().is_empty());
    drop(world.lease_now());
}

#[tokio::test(start_paused = true)]
async fn what_operators_fixed_survives_a_restart_of_the_host() {
    let cluster = steady("10.0.0.1");
    let world = World::of_jobs(vec![Arc::clone(&cluster)]);
    let name = ModelName::new("m");
    world.fleet.scale(&name, 2).await.unwrap();
    world.until_healthy(2).await;
    let kept = world.book.kept();
    world.ended().await;
    let text = serde_json::to_string(&kept).unwrap();
    let world = World::new(Parts {
        clusters: named(vec![Arc::clone(&cluster)]),
        models: vec![served("m", 1..=3)],
        wishes: serde_json::from_str(&text).unwrap(),
        ..Parts::default()
    });
    let status = world.until_healthy(2).await;
    assert!(status.models[0].is_pinned);
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(healthy(&world.fleet.status()), 2, "idle or not");
    assert_eq!(cluster.submitted().len(), 2);
}
