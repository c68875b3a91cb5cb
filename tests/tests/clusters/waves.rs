//! Waves of generations, each a Ray job of its own.

use conclave::ray::Ray;
use conclave_core::cluster::Cluster as _;
use conclave_tests::client::failure;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::draft::Change as _;
use conclave_tests::nats::NatsServer;
use conclave_tests::ray::RayHead;
use conclave_tests::stub_server::StubServer;

use crate::config::{Configuration, STUB, TINY};
use crate::rig::{Running, alive, ask, known, placed, ray, until, until_running};

/// What the names of the waves' jobs begin with.
const JOBS: &str = "conclave-wave-";

/// What the test knows of the outside of a host.
struct Rig {
    ray: Ray,
    stub: StubServer,
}

#[tokio::test]
async fn a_wave_of_generations_is_one_ray_job() {
    let head = RayHead::new().await.unwrap();
    let nats = NatsServer::new().await.unwrap();
    let rig = Rig {
        ray: ray(head.place()),
        stub: StubServer::start().await.unwrap(),
    };
    let written = Configuration::default()
        .nats(&nats)
        .cluster("one", head.place(), 1, "ack_wait_seconds = 2")
        .stub(&rig.stub)
        .tiny(1, 1)
        .await
        .write();
    let host = Running::start(&written.setup).await;
    rig.a_job_runs_a_wave_and_is_gone(&host).await;
    rig.a_job_that_is_stopped_fails_its_wave(&host).await;
    let host = rig.a_killed_host_finds_its_wave(host).await;
    let written = Configuration::default()
        .nats(&nats)
        .broken_cluster("broken", head.place())
        .stub(&rig.stub)
        .write();
    drop(host);
    let broken = Running::start(&written.setup).await;
    rig.a_job_that_cannot_start_is_explained_by_its_log(&broken)
        .await;
}

impl Rig {
    async fn a_job_runs_a_wave_and_is_gone(&self, host: &Running) {
        host.until_healthy(TINY, 1).await;
        self.stub.hold();
        let held = host.create(ask("batch", STUB, 3)).await;
        let real = host.create(ask("batch", TINY, 2)).await;
        until_running(&self.stub, 3).await;
        let job = host.until_active(&held).await.job_id;
        assert!(job.starts_with(JOBS) && job.contains(&held), "{job}");
        let generations = host.completed(&real, 2).await;
        let own = placed(&generations);
        assert!(own[0].contains(&real) && own[0] == own[1], "{own:?}");
        self.until_gone(&real).await;
        assert_eq!(known(&self.ray, JOBS).await, std::slice::from_ref(&job));
        self.stub.release();
        let generations = host.completed(&held, 3).await;
        assert_eq!(placed(&generations), [job.as_str(); 3]);
        self.until_gone(&held).await;
        assert_eq!(self.stub.requests().len(), 3);
        self.stub.reset();
    }

    async fn a_job_that_is_stopped_fails_its_wave(&self, host: &Running) {
        self.stub.hold();
        let uid = host.create(ask("batch", STUB, 3).retries(0)).await;
        until_running(&self.stub, 3).await;
        let job = host.until_active(&uid).await.job_id;
        self.ray.stop(&job).await.unwrap();
        let failed = host.client.wait(&uid).await.unwrap();
        assert_eq!(failed.state(), State::Failed, "{failed:?}");
        let (_, why) = failure(&failed);
        assert!(
            why.contains(&job) && why.contains("the end of its log"),
            "{why}"
        );
        self.until_gone(&uid).await;
        self.stub.reset();
    }

    async fn a_killed_host_finds_its_wave(&self, host: Running) -> Running {
        self.stub.hold();
        let uid = host.create(ask("batch", STUB, 3)).await;
        until_running(&self.stub, 3).await;
        let job = host.until_active(&uid).await.job_id;
        let host = host.killed_and_started().await;
        assert_eq!(host.until_active(&uid).await.job_id, job);
        assert_eq!(alive(&self.ray, JOBS).await, std::slice::from_ref(&job));
        self.stub.release();
        let generations = host.completed(&uid, 3).await;
        assert_eq!(placed(&generations), [job.as_str(); 3]);
        assert_eq!(self.stub.requests().len(), 3, "nothing was asked for again");
        self.until_gone(&uid).await;
        self.stub.reset();
        host
    }

    async fn a_job_that_cannot_start_is_explained_by_its_log(&self, host: &Running) {
        let uid = host.create(ask("batch", STUB, 3).retries(0)).await;
        let failed = host.client.wait(&uid).await.unwrap();
        assert_eq!(failed.state(), State::Failed, "{failed:?}");
        let (_, why) = failure(&failed);
        assert!(why.contains("/nonexistent: not found"), "{why}");
        self.until_gone(&uid).await;
        // The executor of the pool fails as well, and says why.
        let uid = host.create(ask("pool", STUB, 1).retries(0)).await;
        let failed = host.client.wait(&uid).await.unwrap();
        assert_eq!(failed.state(), State::Failed, "{failed:?}");
        let (_, why) = failure(&failed);
        assert!(why.contains("/nonexistent: not found"), "{why}");
        assert!(self.stub.requests().is_empty());
    }

    /// Waits until the cluster has forgotten the jobs of a deliberation.
    async fn until_gone(&self, uid: &str) {
        let prefix = format!("{JOBS}{uid}");
        let look = || known(&self.ray, &prefix);
        until("the end of a wave's job", look, Vec::is_empty).await;
    }
}
