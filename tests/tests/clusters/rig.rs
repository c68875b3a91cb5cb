//! A running host with everything that it is asked by.

use std::future::Future;
use std::time::Duration;

use conclave::ray::Ray;
use conclave_core::cluster::{Cluster as _, Job};
use conclave_tests::client::pb::clusters_client::ClustersClient;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::pb::generation_finished::Result as End;
use conclave_tests::client::ray_executor::ray_executor_service_client::RayExecutorServiceClient;
use conclave_tests::client::ray_executor::{GetActiveJobsRequest, JobInfo};
use conclave_tests::client::{Client, failure, pb};
use conclave_tests::command::{Ran, client_of};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::ray::RayPlace;
use conclave_tests::stub_server::{Recorded, State as Stage, StubServer};
use serde_json::json;
use tonic::transport::Channel;

/// How often it is looked at what no event tells.
const LOOK: Duration = Duration::from_millis(50);

/// A host, and clients of it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) host: Host,
    pub(crate) client: Client,
    clusters: ClustersClient<Channel>,
    jobs: RayExecutorServiceClient<Channel>,
}

impl Running {
    pub(crate) async fn start(setup: &Setup) -> Self {
        let host = setup.start().await.unwrap();
        let url = format!("http://{}", host.grpc_addr());
        Self {
            client: host.client().await.unwrap(),
            clusters: ClustersClient::connect(url.clone()).await.unwrap(),
            jobs: RayExecutorServiceClient::connect(url).await.unwrap(),
            host,
        }
    }

    /// Kills it as a power cut would, and starts it again.
    pub(crate) async fn killed_and_started(self) -> Self {
        Self::start(&self.host.kill().unwrap()).await
    }

    /// Runs `conclave cluster` with these arguments.
    pub(crate) async fn cli(&self, args: &[&str]) -> Ran {
        let args: Vec<_> = ["cluster"].iter().chain(args).copied().collect();
        client_of(&self.host, &args).await.unwrap()
    }

    pub(crate) async fn cluster(&self, name: &str) -> pb::Cluster {
        let mut client = self.clusters.clone();
        let listed = client.list_clusters(pb::ListClustersRequest {}).await;
        let listed = listed.unwrap().into_inner().clusters;
        let name = format!("clusters/{name}");
        listed.into_iter().find(|one| one.name == name).unwrap()
    }

    /// Waits until a cluster is as it shall be.
    pub(crate) async fn until_cluster(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&pb::Cluster) -> bool,
    ) -> pb::Cluster {
        until(what, || self.cluster(name), is).await
    }

    /// Waits until a cluster's executor has so many actors at work.
    pub(crate) async fn until_executor(&self, name: &str, actors: usize) -> pb::Cluster {
        self.until_cluster(name, "the actors of an executor", |one| {
            let of_job = one.actors.iter();
            let of_job = of_job.filter(|actor| actor.submission_id == one.executor_submission_id);
            one.executor_state == "healthy" && of_job.count() == actors
        })
        .await
    }

    pub(crate) async fn model(&self, name: &str) -> pb::Model {
        let mut client = self.clusters.clone();
        let listed = client.list_models(pb::ListModelsRequest {}).await;
        let listed = listed.unwrap().into_inner().models;
        let name = format!("models/{name}");
        listed.into_iter().find(|one| one.name == name).unwrap()
    }

    /// Waits until a model is as it shall be.
    pub(crate) async fn until_model(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&pb::Model) -> bool,
    ) -> pb::Model {
        until(what, || self.model(name), is).await
    }

    /// Waits until so many replicas of a model are healthy; their jobs.
    pub(crate) async fn until_healthy(&self, name: &str, replicas: usize) -> Vec<String> {
        let model = self
            .until_model(name, "healthy replicas", |model| {
                healthy(model).count() == replicas
            })
            .await;
        let jobs = healthy(&model).map(|replica| replica.submission_id.clone());
        jobs.collect()
    }

    /// How a running deliberation is told to who asks for active jobs.
    pub(crate) async fn active(&self, uid: &str) -> JobInfo {
        let mut client = self.jobs.clone();
        let listed = client.get_active_jobs(GetActiveJobsRequest {}).await;
        let mut listed = listed.unwrap().into_inner().jobs.into_iter();
        listed.find(|job| job.submission_id == uid).unwrap()
    }

    /// Waits until a deliberation is told as running; its job.
    pub(crate) async fn until_active(&self, uid: &str) -> JobInfo {
        let runs = |job: &JobInfo| job.status == "RUNNING" && job.job_id != uid;
        until("a job that runs", || self.active(uid), runs).await
    }

    /// A metric by its series, 0 before there is one.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, page) = self.host.page("/metrics", "*/*").await.unwrap();
        let of = page.lines().find_map(|line| line.strip_prefix(series));
        of.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_metric(&self, series: &str, value: f64) {
        let is = |now: &f64| (now - value).abs() < f64::EPSILON;
        let what = format!("{series} {value}");
        until(&what, || self.metric(series), is).await;
    }

    /// Creates a deliberation; its id.
    pub(crate) async fn create(&self, deliberation: pb::Deliberation) -> String {
        self.client.create(deliberation).await.unwrap().uid
    }

    /// Waits for the end of a deliberation that completes with so many generations.
    pub(crate) async fn completed(&self, uid: &str, generations: usize) -> Vec<pb::Generation> {
        let done = self.client.wait(uid).await.unwrap();
        assert_eq!(done.state(), State::Completed, "{:?}", failure(&done));
        let usage = done.usage.unwrap();
        assert_eq!(
            usage.generations_completed as usize, generations,
            "{usage:?}"
        );
        let finished = self.finished(uid).await;
        assert_eq!(finished.len(), generations);
        finished
    }

    /// The generations of a deliberation that has ended.
    async fn finished(&self, uid: &str) -> Vec<pb::Generation> {
        let events = self.client.history(uid).await.unwrap();
        let ended = events.into_iter().filter_map(|event| match event.event? {
            Event::GenerationFinished(finished) => match finished.result? {
                End::Generation(generation) => Some(generation),
                End::Failure(_) => None,
            },
            _ => None,
        });
        ended.collect()
    }

    /// Runs a deliberation that completes.
    pub(crate) async fn run(&self, deliberation: pb::Deliberation) -> Vec<pb::Generation> {
        let agents = deliberation.task.as_ref().unwrap().agents.len();
        let uid = self.create(deliberation).await;
        self.completed(&uid, agents).await
    }
}

/// So many agents whose answers all count, asked in a role: `pool` and `batch` have their execution, any
/// other is direct.
pub(crate) fn ask(role: &str, model: &str, agents: usize) -> pb::Deliberation {
    long(role, model, agents, 12)
}

/// The same, with answers of so many tokens at most.
pub(crate) fn long(role: &str, model: &str, agents: usize, tokens: u32) -> pb::Deliberation {
    let params = json!({"stop": {"rule": "none"}, "max_tokens": tokens});
    draft(&vec![model; agents])
        .strategy("sample-vote", params)
        .scorer("agreement", json!({}))
        .task(|task| (task.role, task.model) = (role.to_owned(), model.to_owned()))
}

/// The Ray jobs that generations ran on.
pub(crate) fn placed(generations: &[pb::Generation]) -> Vec<&str> {
    let placed = generations.iter().filter_map(|one| one.placement.as_ref());
    placed.map(|place| place.submission_id.as_str()).collect()
}

/// The replicas of a model that take work.
pub(crate) fn healthy(model: &pb::Model) -> impl Iterator<Item = &pb::Replica> {
    let replicas = model.replicas.iter();
    replicas.filter(|one| one.state() == pb::replica::State::Healthy)
}

/// The test's own way to a cluster.
pub(crate) fn ray(place: &RayPlace) -> Ray {
    let settings = conclave::ray::Settings::new(place.url().parse().unwrap());
    Ray::new(settings).unwrap()
}

/// The jobs of a cluster whose names begin so and that have not ended.
pub(crate) async fn alive(ray: &Ray, prefix: &str) -> Vec<String> {
    named(ray, prefix, |job| !job.status.is_terminal()).await
}

/// The jobs of a cluster whose names begin so, ended ones too.
pub(crate) async fn known(ray: &Ray, prefix: &str) -> Vec<String> {
    named(ray, prefix, |_| true).await
}

async fn named(ray: &Ray, prefix: &str, is: impl Fn(&Job) -> bool) -> Vec<String> {
    let jobs = ray.jobs().await.unwrap().into_iter();
    let jobs = jobs.filter(|job| job.submission_id.starts_with(prefix) && is(job));
    jobs.map(|job| job.submission_id).collect()
}

/// How many requests the stub has in a state.
pub(crate) fn count(requests: &[Recorded], stage: Stage) -> usize {
    let of = requests.iter().filter(|one| one.state == stage);
    of.count()
}

/// Waits until so many requests run at the stub.
pub(crate) async fn until_running(stub: &StubServer, number: usize) {
    let running = stub.until(|requests| count(requests, Stage::Running) == number);
    let what = format!("{number} requests at the model server");
    let waited = within(&what, running).await;
    waited.unwrap_or_else(|error| unreachable!("{error}: {:?}", stub.requests()));
}

/// Waits until what is looked at is as it shall be.
pub(crate) async fn until<T, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    is: impl Fn(&T) -> bool,
) -> T {
    let reached = async {
        loop {
            let seen = look().await;
            if is(&seen) {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    within(what, reached).await.unwrap()
}
