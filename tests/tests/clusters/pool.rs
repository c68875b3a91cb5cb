//! Generations that go through a queue to the executor of a cluster.

use std::time::Duration;

use conclave::ray::Ray;
use conclave_core::cluster::Cluster as _;
use conclave_tests::client::{pb, reason};
use conclave_tests::nats::NatsServer;
use conclave_tests::patience::within;
use conclave_tests::ray::RayHead;
use conclave_tests::stub_server::{State, StubServer};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::config::{Configuration, STUB, TINY};
use crate::rig::{Running, alive, ask, count, known, placed, ray, until_running};

/// Two actors of two slots each, and a queue of as much behind them.
const EXECUTOR: &str = "slots = 2\nqueue_max = 4\nack_wait_seconds = 2";
const ACTORS: usize = 2;
const SLOTS: usize = 4;

/// What the names of the executor's jobs begin with.
const JOBS: &str = "conclave-executor-one-";

/// What the test knows of the outside of a host.
struct Rig {
    ray: Ray,
    nats: NatsServer,
    stub: StubServer,
}

#[tokio::test]
async fn a_pool_runs_generations_and_survives_whoever_is_killed() {
    let head = RayHead::new().await.unwrap();
    let rig = Rig {
        ray: ray(head.place()),
        nats: NatsServer::new().await.unwrap(),
        stub: StubServer::start().await.unwrap(),
    };
    let written = Configuration::default()
        .nats(&rig.nats)
        .cluster("one", head.place(), 2, EXECUTOR)
        .stub(&rig.stub)
        .tiny(1, 1)
        .await
        .write();
    let host = Running::start(&written.setup).await;
    rig.generations_run_in_actors(&host).await;
    rig.what_waits_is_pending_and_a_full_queue_refuses(&host)
        .await;
    rig.work_of_a_killed_actor_is_done_again(&host).await;
    rig.a_stopped_executor_is_started_again(&host).await;
    rig.a_killed_host_finds_its_generations(host).await;
}

impl Rig {
    async fn generations_run_in_actors(&self, host: &Running) {
        let cluster = host.until_executor("one", ACTORS).await;
        let job = &cluster.executor_submission_id;
        assert_eq!(alive(&self.ray, JOBS).await, std::slice::from_ref(job));
        host.until_healthy(TINY, 1).await;
        let generations = host.run(ask("pool", TINY, 2)).await;
        assert_eq!(placed(&generations), [job, job]);
        for place in generations.iter().filter_map(|one| one.placement.as_ref()) {
            let mut actors = cluster.actors.iter();
            let of = actors.any(|actor| (&actor.id, &actor.node) == (&place.actor, &place.node));
            assert!(of, "{place:?}: {cluster:?}");
            assert_eq!(place.cluster, "one");
        }
    }

    /// Fills all slots and the queue behind them, and cancels everything.
    async fn what_waits_is_pending_and_a_full_queue_refuses(&self, host: &Running) {
        self.stub.hold();
        let running = host.create(ask("pool", STUB, SLOTS)).await;
        until_running(&self.stub, SLOTS).await;
        let queued = host.create(ask("pool", STUB, SLOTS)).await;
        host.until_metric("conclave_pool_depth{cluster=\"one\"}", 8.0)
            .await;
        let job = host.until_active(&running).await.job_id;
        assert_eq!(job, host.cluster("one").await.executor_submission_id);
        let waiting = host.active(&queued).await;
        assert_eq!(
            (waiting.status.as_str(), &waiting.job_id),
            ("PENDING", &queued)
        );
        let shown = host
            .until_cluster("one", "the queue", |one| one.queued == 4)
            .await;
        assert_eq!(shown.in_flight, 8, "{shown:?}");

        let refused = host.client.create(ask("pool", STUB, 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(!reason(&refused).is_empty(), "{refused:?}");
        let details = refused.get_error_details();
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        assert!(
            delay.is_some_and(|delay| delay > Duration::ZERO),
            "{refused:?}"
        );

        host.client.cancel(&queued, "nobody waits").await.unwrap();
        host.until_metric("conclave_pool_depth{cluster=\"one\"}", 4.0)
            .await;
        let cancelled = Instant::now();
        host.client.cancel(&running, "nobody waits").await.unwrap();
        let aborted = |requests: &[_]| count(requests, State::Aborted) == SLOTS;
        within("the abort", self.stub.until(aborted)).await.unwrap();
        let took = cancelled.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        host.until_metric("conclave_pool_depth{cluster=\"one\"}", 0.0)
            .await;
        self.stub.release();
        host.run(ask("pool", STUB, 1)).await;
        let asked = self.stub.requests().len();
        assert_eq!(asked, SLOTS + 1, "what was queued was never asked for");
        self.stub.reset();
    }

    async fn work_of_a_killed_actor_is_done_again(&self, host: &Running) {
        let results = host.metric(RESULTS).await;
        self.stub.hold();
        let uid = host.create(ask("pool", STUB, 2)).await;
        until_running(&self.stub, 2).await;
        let (pid, lost) = self.busy_actor(&uid).await;
        kill_process(pid, Signal::KILL).unwrap();
        let redone = |requests: &[_]| {
            (
                count(requests, State::Aborted),
                count(requests, State::Running),
            ) == (lost, 2)
        };
        within("the redelivery", self.stub.until(redone))
            .await
            .unwrap();
        self.stub.release();
        host.completed(&uid, 2).await;
        assert_eq!(
            host.metric(RESULTS).await - results,
            2.0,
            "each counts once"
        );
        let cluster = host.until_executor("one", ACTORS).await;
        assert_eq!(
            alive(&self.ray, JOBS).await,
            [cluster.executor_submission_id]
        );
        self.stub.reset();
    }

    /// The process of an actor that works on a deliberation, and on how many of its generations.
    async fn busy_actor(&self, uid: &str) -> (Pid, usize) {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let mut beats = client.subscribe("conclave.heartbeat.one").await.unwrap();
        let found = async {
            loop {
                let beat = beats.next().await.unwrap();
                let beat: Value = serde_json::from_slice(&beat.payload).unwrap();
                let running = beat["running"].as_array().unwrap().iter();
                let of = running.filter(|id| id.as_str().unwrap().starts_with(uid));
                let (number, pid) = (of.count(), beat["pid"].as_i64().unwrap());
                if number > 0 {
                    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
                    return (pid.unwrap(), number);
                }
            }
        };
        within("the beat of an actor", found).await.unwrap()
    }

    async fn a_stopped_executor_is_started_again(&self, host: &Running) {
        let before = host.cluster("one").await.executor_submission_id;
        self.stub.hold();
        let uid = host.create(ask("pool", STUB, 6)).await;
        until_running(&self.stub, SLOTS).await;
        self.ray.stop(&before).await.unwrap();
        let after = host.until_cluster("one", "another executor", |one| {
            one.executor_state == "healthy" && one.executor_submission_id != before
        });
        let after = after.await.executor_submission_id;
        until_running(&self.stub, SLOTS).await;
        self.stub.release();
        let generations = host.completed(&uid, 6).await;
        assert_eq!(placed(&generations), [after.as_str(); 6]);
        assert_eq!(alive(&self.ray, JOBS).await, [after]);
        self.stub.reset();
    }

    async fn a_killed_host_finds_its_generations(&self, host: Running) {
        let jobs = known(&self.ray, JOBS).await;
        self.stub.hold();
        let uid = host.create(ask("pool", STUB, 6)).await;
        until_running(&self.stub, SLOTS).await;
        host.until_metric("conclave_pool_depth{cluster=\"one\"}", 6.0)
            .await;
        let host = host.killed_and_started().await;
        host.until_metric("conclave_pool_adopted_total{cluster=\"one\"}", 6.0)
            .await;
        let job = host.until_active(&uid).await.job_id;
        assert_eq!(count(&self.stub.requests(), State::Running), SLOTS);
        self.stub.release();
        let generations: Vec<pb::Generation> = host.completed(&uid, 6).await;
        assert_eq!(placed(&generations), [job.as_str(); 6]);
        assert_eq!(self.stub.requests().len(), 6, "nothing was asked for again");
        assert_eq!(
            known(&self.ray, JOBS).await,
            jobs,
            "nothing was started again"
        );
    }
}

const RESULTS: &str = "conclave_pool_results_total{cluster=\"one\"}";
