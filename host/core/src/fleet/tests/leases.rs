use super::*;

#[tokio::test(start_paused = true)]
async fn room_goes_to_the_higher_deliberation_then_to_the_plugin_s_wish_then_to_the_older() {
    let world = World::of_endpoints(&["http://one"]);
    let mut held = Some(world.lease_now());
    let ranks = [
        (4, None),
        (4, Some(200)),
        (9, Some(255)),
        (4, Some(0)),
        (4, Some(128)),
        (0, Some(0)),
        (9, None),
    ];
    let mut waiting: Vec<_> = ranks
        .map(|(deliberation, own)| Some(world.asking(deliberation, own)))
        .into();
    let mut order = Vec::new();
    while held.take().is_some() {
        for (at, one) in waiting.iter_mut().enumerate() {
            if let Some(lease) = one.as_mut().and_then(|one| one.now_or_never()) {
                order.push(at);
                *one = None;
                held = Some(lease.unwrap());
                break;
            }
        }
    }
    assert_eq!(order, [6, 2, 3, 0, 4, 1, 5]);
    assert_eq!(world.fleet.status().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_loses_no_room_before_and_after_it_was_given() {
    let world = World::of_endpoints(&["http://one"]);
    let held = world.lease_now();
    let first = world.asking(9, None);
    let second = world.asking(8, None);
    let mut third = world.asking(7, None);
    drop(first);
    assert_eq!(world.fleet.status().queued, 2);
    held.succeeded();
    // The second has been given the room and does not know.
    drop(second);
    let lease = (&mut third).now_or_never().expect("the room went on");
    drop(lease);
    assert_eq!(world.fleet.status().models[0].endpoints[0].outstanding, 0);
    drop(world.lease_now());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_refuses_with_a_delay_computed_from_it() {
    let mut plan = ModelPlan {
        queue_max: 2,
        endpoints: vec![endpoint("http://one"), endpoint("http://two")],
        ..model("m")
    };
    plan.replaces = vec![endpoint("http://old:8000")];
    let world = World::new(Parts {
        models: vec![plan],
        ..Parts::default()
    });
    let name = ModelName::new("m");
    // Generations take ten seconds each.
    let measured = world.lease_now();
    tokio::time::sleep(10 * SECOND).await;
    measured.succeeded();
    let held = [world.lease_now(), world.lease_now()];
    let _waiting = world.asking(4, None);
    assert_eq!(world.fleet.full(&name, None), None);
    let _waiting_too = world.asking(4, None);
    // Three turns over two slots.
    let full = world.fleet.full(&name, None);
    assert_eq!(full, Some(15 * SECOND));
    let by_old_name = world
        .fleet
        .full(&name, Some(&endpoint("http://old:8000/v1")));
    assert_eq!(by_old_name, full);
    assert_eq!(
        world.fleet.full(&name, Some(&endpoint("http://else"))),
        None
    );
    let refusal = world.lease().now_or_never().unwrap().unwrap_err();
    assert!(
        matches!(refusal, NoServer::Full { queued: 2, .. }),
        "{refusal}"
    );
    let error = inference::Error::from(refusal);
    assert!(error.is_retryable() && error.retry_after() == full);
    drop(held);
    assert_eq!(world.fleet.full(&name, None), None);
}

#[tokio::test(start_paused = true)]
async fn a_deliberation_keeps_to_its_server_and_the_load_is_spread() {
    let mut plan = model("m");
    plan.slots = 1000;
    plan.endpoints = ["http://one", "http://two", "http://three"]
        .map(endpoint)
        .into();
    let world = World::new(Parts {
        models: vec![plan],
        ..Parts::default()
    });
    // Alone, a deliberation comes to the same server again and again.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let lease = world.lease_of("deliberation-7", 100).await.unwrap();
        seen.insert(lease.endpoint.clone());
        lease.succeeded();
    }
    assert_eq!(seen.len(), 1);
    // Many at once come to no server with more than twice the mean.
    let mut held = Vec::new();
    for n in 0..300 {
        let name = format!("deliberation-{}", n % 3);
        held.push(world.lease_of(&name, 100).await.unwrap());
    }
    let status = world.fleet.status();
    for server in &status.models[0].endpoints {
        assert!(server.outstanding_tokens <= 20_200, "{server:?}");
    }
    assert_eq!(held.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn only_errors_that_are_the_server_s_fault_open_its_breaker() {
    let world = World::of_endpoints(&["http://one"]);
    let model = ModelName::new("m");
    let harmless = |lease: &Lease| {
        let endpoint = lease.endpoint.clone();
        let message = String::new();
        [
            inference::Error::UnknownModel {
                model: model.clone(),
                endpoint: endpoint.clone(),
                message: message.clone(),
            },
            inference::Error::Rejected {
                endpoint: endpoint.clone(),
                status: 400,
                message,
            },
            inference::Error::Overloaded {
                endpoint,
                status: 429,
                retry_after: None,
            },
        ]
    };
    for n in 0..60 {
        let lease = world.lease_now();
        let errors = harmless(&lease);
        lease.failed(&errors[n % 3]);
        // What is cancelled says nothing either.
        drop(world.lease_now());
    }
    for _ in 0..5 {
        let lease = world.lease_now();
        let error = unavailable(&lease);
        lease.failed(&error);
    }
    let refusal = world.lease().now_or_never().unwrap().unwrap_err();
    let NoServer::Unavailable {
        reason,
        retry_after,
        ..
    } = &refusal
    else {
        panic!("{refusal}");
    };
    assert!(reason.contains("connection reset"), "{reason}");
    tokio::time::sleep(retry_after.unwrap()).await;
    // One generation probes it; the others wait for what it finds.
    let probing = world.lease_now();
    let mut waiting = world.asking(4, None);
    probing.succeeded();
    assert!((&mut waiting).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_when_the_last_server_breaks_and_go_to_another_when_there_is_one() {
    let world = World::of_endpoints(&["http://one"]);
    for _ in 0..4 {
        let lease = world.lease_now();
        let error = unavailable(&lease);
        lease.failed(&error);
    }
    let held = world.lease_now();
    let waiting = world.asking(4, None);
    let error = unavailable(&held);
    held.failed(&error);
    let told = waiting.now_or_never();
    assert!(matches!(told, Some(Err(NoServer::Unavailable { .. }))));

    let two = World::of_endpoints(&["http://one", "http://two"]);
    let mut held = vec![two.lease_now(), two.lease_now()];
    let mut waiting = two.asking(4, None);
    let (good, bad) = (held.remove(0), held.remove(0));
    // The one breaks under those who wait: they stay for the other.
    two.probe.set_ill(&bad.endpoint, "no route");
    tokio::time::sleep(10 * SECOND).await;
    assert!((&mut waiting).now_or_never().is_none());
    let best = good.endpoint.clone();
    good.succeeded();
    let lease = waiting.now_or_never().expect("room").expect("a server");
    assert_eq!(lease.endpoint, best);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_request_names_is_used_as_it_is_but_for_its_own_breaker() {
    let world = World::of_endpoints(&["http://one"]);
    let (model, affinity) = (ModelName::new("m"), DeliberationId::new("deliberation-1"));
    let elsewhere = endpoint("http://elsewhere/base");
    let named = Want {
        endpoint: Some(&elsewhere),
        ..want(&model, &affinity, 100)
    };
    let mut held = Vec::new();
    for _ in 0..50 {
        let lease = world.fleet.lease(&named).now_or_never().unwrap().unwrap();
        assert_eq!(lease.endpoint, elsewhere);
        assert_eq!(lease.choices_max, 1);
        held.push(lease);
    }
    assert_eq!(world.fleet.status().by_hand[0].outstanding, 50);
    for lease in held.drain(..5) {
        let error = unavailable(&lease);
        lease.failed(&error);
    }
    let refusal = world
        .fleet
        .lease(&named)
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(refusal.retry_after().is_some(), "{refusal}");
    // The model's own server is another one, and so is another model at the same endpoint.
    drop(world.lease_now());
    let other = ModelName::new("other");
    let beside = Want {
        model: &other,
        ..named
    };
    drop(world.fleet.lease(&beside).now_or_never().unwrap().unwrap());
    let unknown = ModelName::new("unknown");
    let nowhere = want(&unknown, &affinity, 1);
    let refusal = world.fleet.lease(&nowhere).await.unwrap_err();
    assert!(matches!(refusal, NoServer::UnknownModel { .. }));
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_nothing_is_known_against_are_forgotten() {
    let world = World::of_endpoints(&["http://one"]);
    let (model, affinity) = (ModelName::new("x"), DeliberationId::new("deliberation-1"));
    for n in 0..10 {
        let elsewhere = endpoint(&format!("http://elsewhere:{n}"));
        let named = Want {
            endpoint: Some(&elsewhere),
            ..want(&model, &affinity, 100)
        };
        world.fleet.lease(&named).await.unwrap().succeeded();
    }
    assert!(world.fleet.status().by_hand.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_probes_find_ill_gets_nothing_until_they_find_it_well() {
    let world = World::of_endpoints(&["http://one"]);
    let one = endpoint("http://one");
    world.probe.set_ill(&one, "status 503");
    let ill = |status: &FleetStatus| !status.models[0].endpoints[0].is_healthy;
    world.until(ill).await;
    let refusal = world.lease().await.unwrap_err();
    assert!(refusal.to_string().contains("status 503"), "{refusal}");
    world.probe.set_well(&one);
    world.until(|status| !ill(status)).await;
    drop(world.lease_now());
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_just_failed_is_avoided_while_another_one_has_room() {
    let plan = ModelPlan {
        slots: 2,
        endpoints: vec![endpoint("http://one"), endpoint("http://two")],
        ..model("m")
    };
    let world = World::new(Parts {
        models: vec![plan],
        ..Parts::default()
    });
    let failed = world.lease_now();
    let preferred = failed.endpoint.clone();
    let error = unavailable(&failed);
    failed.failed(&error);
    let others = [world.lease_now(), world.lease_now()];
    assert!(others.iter().all(|lease| lease.endpoint != preferred));
    // Where nothing else has room, it is better than nothing.
    let rest = world.lease_now();
    assert_eq!(rest.endpoint, preferred);
    drop((others, rest));
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(world.lease_now().endpoint, preferred);
}
