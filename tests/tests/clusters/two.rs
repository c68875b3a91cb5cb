//! Two clusters, of which one is lost and comes back, and one is drained.

use conclave::ray::Ray;
use conclave_tests::client::pb::{self, Breaker};
use conclave_tests::nats::NatsServer;
use conclave_tests::patience::within;
use conclave_tests::ray::{RayHead, RayPlace};
use conclave_tests::stub_server::{State, StubServer};

use crate::config::{Configuration, STUB, TINY};
use crate::rig::{Running, alive, ask, count, healthy, long, placed, ray, until_running};

/// What is lost with a cluster is soon known to be.
const EXECUTOR: &str = "slots = 8\nack_wait_seconds = 2";

/// The names of the clusters.
const EAST: &str = "east";
const WEST: &str = "west";

/// Deliberations that are under way when a cluster is lost, and the generations of each.
const DELIBERATIONS: usize = 4;
const GENERATIONS: usize = 2;

struct Rig {
    east: RayPlace,
    stub: StubServer,
}

#[tokio::test]
async fn work_of_a_lost_cluster_is_done_by_the_other_until_it_is_back() {
    let (east, west) = tokio::join!(RayHead::new(), RayHead::new());
    let (east, west) = (east.unwrap(), west.unwrap());
    let nats = NatsServer::new().await.unwrap();
    let rig = Rig {
        east: east.place().clone(),
        stub: StubServer::start().await.unwrap(),
    };
    let written = Configuration::default()
        .nats(&nats)
        .cluster(EAST, east.place(), 1, EXECUTOR)
        .cluster(WEST, west.place(), 1, EXECUTOR)
        .stub(&rig.stub)
        .tiny(2, 2)
        .await
        .write();
    let host = Running::start(&written.setup).await;
    rig.both_serve(&host).await;
    let host = rig.a_killed_host_finds_its_work_on_both(host).await;
    rig.one_is_lost(&host, east).await;
    let east = rig.it_comes_back(&host).await;
    rig.the_other_is_drained(&host).await;
    drop((host, east, west));
}

impl Rig {
    /// Each has an executor, and a replica of the model.
    async fn both_serve(&self, host: &Running) {
        host.until_executor(EAST, 1).await;
        host.until_executor(WEST, 1).await;
        host.until_healthy(TINY, 2).await;
        let model = host.model(TINY).await;
        let mut clusters: Vec<_> = healthy(&model).map(|one| one.cluster.as_str()).collect();
        clusters.sort_unstable();
        assert_eq!(clusters, [EAST, WEST]);
        let ran = host.cli(&["status"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Starts deliberations whose generations are held, on both clusters.
    async fn held(&self, host: &Running) -> Vec<String> {
        self.stub.reset();
        self.stub.hold();
        let mut uids = Vec::new();
        for _ in 0..DELIBERATIONS {
            uids.push(host.create(ask("pool", STUB, GENERATIONS)).await);
        }
        until_running(&self.stub, DELIBERATIONS * GENERATIONS).await;
        uids
    }

    /// What was handed to one cluster is not handed to the other as well.
    async fn a_killed_host_finds_its_work_on_both(&self, host: Running) -> Running {
        let uids = self.held(&host).await;
        let host = host.killed_and_started().await;
        for (cluster, adopted) in [(EAST, 4.0), (WEST, 4.0)] {
            let series = format!("conclave_pool_adopted_total{{cluster=\"{cluster}\"}}");
            host.until_metric(&series, adopted).await;
        }
        self.stub.release();
        for uid in &uids {
            host.completed(uid, GENERATIONS).await;
        }
        let asked = self.stub.requests().len();
        assert_eq!(
            asked,
            DELIBERATIONS * GENERATIONS,
            "nothing was asked for again"
        );
        host.until_executor(EAST, 1).await;
        host.until_executor(WEST, 1).await;
        host.until_healthy(TINY, 2).await;
        host
    }

    async fn one_is_lost(&self, host: &Running, east: RayHead) {
        let pooled = self.held(host).await;
        let in_flight = async |name: &str| host.cluster(name).await.in_flight;
        let (lost, kept) = (in_flight(EAST).await, in_flight(WEST).await);
        assert_eq!(lost + kept, 8);
        assert!(lost > 0 && kept > 0, "{lost} and {kept}");
        let mut direct = Vec::new();
        for _ in 0..DELIBERATIONS {
            direct.push(host.create(long("", TINY, GENERATIONS, 40)).await);
        }
        east.kill().unwrap();
        let lost = usize::try_from(lost).unwrap();
        let aborted = |requests: &[_]| count(requests, State::Aborted) == lost;
        let gone = within("the loss of a cluster", self.stub.until(aborted));
        gone.await.unwrap();
        until_running(&self.stub, DELIBERATIONS * GENERATIONS).await;
        self.stub.release();
        for uid in pooled.iter().chain(&direct) {
            host.completed(uid, GENERATIONS).await;
        }

        let is_left_alone = |one: &pb::Cluster| one.breaker() != Breaker::Closed;
        let shown = host
            .until_cluster(EAST, "an open breaker", is_left_alone)
            .await;
        assert!(!shown.error.is_empty(), "{shown:?}");
        assert!(host.metric(BREAKER_EAST).await > 0.0);
        assert_eq!(host.metric(BREAKER_WEST).await, 0.0);
        let ran = host.cli(&["status"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains("out of reach"), "{ran:?}");

        let generations = host.run(ask("pool", STUB, 4)).await;
        let west = host.cluster(WEST).await.executor_submission_id;
        assert_eq!(placed(&generations), [west.as_str(); 4]);
        let generations = host.run(ask("", TINY, 2)).await;
        for place in generations.iter().filter_map(|one| one.placement.as_ref()) {
            assert_eq!(place.cluster, WEST);
        }
    }

    /// Ray is started again on its ports, and knows nothing of its jobs.
    async fn it_comes_back(&self, host: &Running) -> RayHead {
        let east = self.east.start().await.unwrap();
        let answers = |one: &pb::Cluster| one.breaker() == Breaker::Closed && one.error.is_empty();
        host.until_cluster(EAST, "a closed breaker", answers).await;
        host.until_metric(BREAKER_EAST, 0.0).await;
        let cluster = host.until_executor(EAST, 1).await;
        let ray: Ray = ray(&self.east);
        let executors = alive(&ray, "conclave-executor-east-").await;
        assert_eq!(executors, [cluster.executor_submission_id]);
        host.until_healthy(TINY, 2).await;
        // Its replica may have been started on the other one meanwhile.
        assert!(alive(&ray, "conclave-model-tiny-").await.len() <= 1);
        let ran = host.cli(&["status"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        east
    }

    async fn the_other_is_drained(&self, host: &Running) {
        let uids = self.held(host).await;
        let before = host.cluster(WEST).await;
        assert!(before.in_flight > 0, "{before:?}");
        let ran = host.cli(&["drain", WEST]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let more = host.create(ask("pool", STUB, 4)).await;
        until_running(&self.stub, DELIBERATIONS * GENERATIONS + 4).await;
        let drained = host.cluster(WEST).await;
        assert!(drained.drained, "{drained:?}");
        assert_eq!(
            drained.in_flight, before.in_flight,
            "it is given nothing new"
        );
        self.stub.release();
        let mut on_west = 0;
        for uid in &uids {
            let generations = host.completed(uid, GENERATIONS).await;
            let placed = placed(&generations).into_iter();
            on_west += placed
                .filter(|job| *job == before.executor_submission_id)
                .count();
        }
        assert_eq!(
            i64::try_from(on_west),
            Ok(before.in_flight),
            "what ran there ended there"
        );
        let east = host.cluster(EAST).await.executor_submission_id;
        let generations = host.completed(&more, 4).await;
        assert_eq!(placed(&generations), [east.as_str(); 4]);
        assert_eq!(self.stub.requests().len(), DELIBERATIONS * GENERATIONS + 4);

        let ran = host.cli(&["drain", WEST, "--wait"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let ran = host.cli(&["resume", WEST]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let uids = self.held(host).await;
        assert!(host.cluster(WEST).await.in_flight > 0);
        self.stub.release();
        for uid in &uids {
            host.completed(uid, GENERATIONS).await;
        }
    }
}

const BREAKER_EAST: &str = "conclave_cluster_breaker{cluster=\"east\"}";
const BREAKER_WEST: &str = "conclave_cluster_breaker{cluster=\"west\"}";
