use futures::FutureExt as _;
use proptest::prelude::*;

use super::*;

const SERVERS: usize = 3;
const SLOTS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Ask(u32),
    GoAway(prop::sample::Index),
    Look(prop::sample::Index),
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index),
    Cancel(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (0_u32..10).prop_map(Step::Ask),
        1 => index().prop_map(Step::GoAway),
        3 => index().prop_map(Step::Look),
        2 => index().prop_map(Step::Succeed),
        1 => index().prop_map(Step::Fail),
        1 => index().prop_map(Step::Cancel),
        1 => (0_u64..3000).prop_map(Step::Wait),
    ]
}

fn pick<T>(from: &mut Vec<T>, index: prop::sample::Index) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(index.index(from.len())))
}

/// Whatever people do, no server has more than its room, and when all have gone, all room is there.
async fn whatever_happens(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut plan = model("m");
    plan.slots = SLOTS;
    plan.queue_max = 8;
    plan.endpoints = ["http://one", "http://two", "http://three"]
        .map(endpoint)
        .into();
    let world = World::new(Parts {
        models: vec![plan],
        ..Parts::default()
    });
    let mut waiting: Vec<Asking> = Vec::new();
    let mut held: Vec<Lease> = Vec::new();
    for step in steps {
        match step {
            Step::Ask(priority) => {
                let fleet = Arc::clone(&world.fleet);
                let mut asking = async move {
                    let model = ModelName::new("m");
                    let affinity = DeliberationId::new(&format!("deliberation-{priority}"));
                    let rank = Rank {
                        deliberation: Priority::new(priority).unwrap(),
                        own: None,
                    };
                    let want = Want {
                        rank,
                        ..want(&model, &affinity, 10 + priority)
                    };
                    fleet.lease(&want).await
                }
                .boxed();
                match (&mut asking).now_or_never() {
                    Some(lease) => held.extend(lease),
                    None => waiting.push(asking),
                }
            }
            Step::GoAway(index) => drop(pick(&mut waiting, index)),
            Step::Look(index) => {
                if let Some(mut asking) = pick(&mut waiting, index) {
                    match (&mut asking).now_or_never() {
                        Some(lease) => held.extend(lease),
                        None => waiting.push(asking),
                    }
                }
            }
            Step::Succeed(index) => {
                if let Some(lease) = pick(&mut held, index) {
                    lease.succeeded();
                }
            }
            Step::Fail(index) => {
                if let Some(lease) = pick(&mut held, index) {
                    let error = unavailable(&lease);
                    lease.failed(&error);
                }
            }
            Step::Cancel(index) => drop(pick(&mut held, index)),
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        let status = world.fleet.status();
        let servers = &status.models[0].endpoints;
        for server in servers {
            prop_assert!(server.outstanding <= SLOTS, "{server:?}");
        }
        prop_assert!(status.queued <= 8);
        // While somebody waits, no server that would take a call has room.
        let is_free = |server: &&ServerStatus| {
            server.outstanding < SLOTS && server.breaker.state == BreakerState::Closed
        };
        let free = servers.iter().find(is_free);
        prop_assert!(status.queued == 0 || free.is_none(), "{status:#?}");
    }
    drop(waiting);
    drop(held);
    tokio::time::sleep(120 * SECOND).await;
    let status = world.fleet.status();
    prop_assert_eq!(status.queued, 0);
    for server in &status.models[0].endpoints {
        prop_assert_eq!((server.outstanding, server.outstanding_tokens), (0, 0));
    }
    // Nothing is lost: each server is tried by one again, and then all have all their room.
    for _ in 0..2 {
        let tries = 0..SERVERS * SLOTS;
        let held: Vec<_> = tries.filter_map(|_| world.lease().now_or_never()).collect();
        for lease in held.into_iter().flatten() {
            lease.succeeded();
        }
    }
    let all: Vec<_> = (0..=SERVERS * SLOTS)
        .map_while(|_| world.lease().now_or_never())
        .collect();
    prop_assert_eq!(all.len(), SERVERS * SLOTS);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn room_is_never_exceeded_nor_lost(steps in prop::collection::vec(step(), 1..150)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(whatever_happens(steps))?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn room_is_kept_while_many_threads_come_and_go() {
    let world = Arc::new(World::of_endpoints(&["http://one", "http://two"]));
    let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks = (0..8_u32).map(|seed| {
        let (world, taken) = (Arc::clone(&world), Arc::clone(&taken));
        world.tasks.clone().spawn("asking", async move {
            for n in 0..400_u32 {
                let asking = world.lease();
                if (n + seed) % 3 == 0 {
                    // Goes away before, while or after room is given.
                    let mut asking = Box::pin(asking);
                    if (&mut asking).now_or_never().is_none() {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                let lease = asking.await.expect("a server");
                let now = taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                assert!(now < 2, "two servers of one slot each");
                tokio::task::yield_now().await;
                taken.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                lease.succeeded();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it ends");
    }
    let status = world.fleet.status();
    assert_eq!(status.queued, 0);
    let servers = &status.models[0].endpoints;
    assert!(servers.iter().all(|server| server.outstanding == 0));
}
