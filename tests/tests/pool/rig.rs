//! A host's pool, and errands for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use conclave::errand::{Answers, Backend as _, Errand, OnlyAnswer};
use conclave::openai;
use conclave::pool::{ClusterSettings, ClusterView, Counts, HostId, On, Pool, Queue, Settings};
use conclave_core::cluster::Placement;
use conclave_core::endpoint::{AllowedOrigins, Endpoint};
use conclave_core::generation::Generation;
use conclave_core::ids::{JobId, ModelName};
use conclave_core::inference::{Error, Inference, Progress, Request};
use conclave_core::tasks::Tasks;
use conclave_core::testkit::inference::contract;
use conclave_tests::patience::within;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const CLUSTER: &str = "east";

/// What a test's cluster is like unless it says otherwise.
pub(crate) fn cluster() -> ClusterSettings {
    ClusterSettings {
        ack_wait: Duration::from_secs(1),
        ..ClusterSettings::new(CLUSTER)
    }
}

/// A host, as far as it hands work to clusters.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) pool: Arc<Pool>,
    tasks: Tasks,
    stop: CancellationToken,
    errands: Tasks,
}

impl Host {
    pub(crate) async fn new(nats_url: &str) -> Self {
        Self::with(nats_url, &HostId::generate().unwrap(), cluster()).await
    }

    pub(crate) async fn with(nats_url: &str, id: &HostId, cluster: ClusterSettings) -> Self {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .connect(nats_url)
            .await
            .unwrap();
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        let bounds = openai::Settings {
            first_byte_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(1),
            ..openai::Settings::default()
        };
        let settings = Settings {
            clusters: vec![cluster],
            // The servers of the tests count as the host's own.
            allowed: AllowedOrigins::default(),
            bounds: (&bounds).into(),
            ack_timeout: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(10),
        };
        let pool = Pool::start(client, id, settings, &tasks, &stop).await;
        Self {
            pool: pool.unwrap(),
            tasks,
            stop,
            errands: Tasks::default(),
        }
    }

    pub(crate) fn on_pool(&self) -> On {
        self.pool.on(CLUSTER, Queue::pool())
    }

    /// Begins an errand in the pool's queue.
    pub(crate) fn begin(&self, errand: Errand) -> Errands {
        self.begin_in(Queue::pool(), errand)
    }

    pub(crate) fn begin_in(&self, queue: Queue, errand: Errand) -> Errands {
        let heard = Heard::default();
        let on = self.pool.on(CLUSTER, queue);
        let told = heard.clone();
        let running = async move { on.run(&errand, &told).await };
        Errands {
            running: self.errands.spawn("errand", running),
            heard,
        }
    }

    /// Ends what a host before has left, but for the work of these names.
    pub(crate) fn cancel_orphans(&self, claimed: &[&str]) {
        let claimed = claimed.iter().map(|&id| id.to_owned()).collect();
        self.pool.cancel_orphans(claimed, &self.tasks, &self.stop);
    }

    /// Ends as a process does that is killed: what it waits for is neither waited for nor cancelled.
    pub(crate) async fn kill(self, errands: Errands) {
        self.stop.cancel();
        assert!(self.tasks.drained(Duration::from_secs(10)).await);
        errands.cancel();
    }

    /// Ends in order: first the errands, then the pool.
    pub(crate) async fn stop(self, errands: Vec<Errands>) {
        for errand in errands {
            errand.cancel();
        }
        assert!(self.errands.drained(Duration::from_secs(10)).await);
        self.stop.cancel();
        assert!(self.tasks.drained(Duration::from_secs(10)).await);
    }

    pub(crate) fn view(&self) -> ClusterView {
        self.pool.view().remove(0)
    }

    pub(crate) fn counts(&self) -> &Counts {
        self.pool.counts().next().unwrap().1
    }

    /// Waits until the cluster looks like this.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&ClusterView) -> bool) {
        until(what, || condition(&self.view())).await;
    }
}

/// Waits for what no event tells.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let happened = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, happened).await.unwrap();
}

/// An errand under way.
#[derive(Debug)]
pub(crate) struct Errands {
    running: JoinHandle<Result<(), Error>>,
    pub(crate) heard: Heard,
}

impl Errands {
    /// How it ended.
    pub(crate) async fn end(self) -> Result<Vec<(usize, Generation)>, Error> {
        let ended = within("the end of an errand", self.running).await.unwrap();
        ended.unwrap()?;
        Ok(self.heard.0.lock().unwrap().finished.clone())
    }

    /// Its only answer.
    pub(crate) async fn answer(self) -> Generation {
        let mut finished = self.end().await.unwrap();
        assert_eq!(finished.len(), 1, "{finished:?}");
        finished.remove(0).1
    }

    pub(crate) async fn error(self) -> Error {
        self.end().await.unwrap_err()
    }

    /// Drops it.
    pub(crate) fn cancel(self) {
        self.running.abort();
    }
}

/// What an errand was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    placed: Vec<Placement>,
    tokens: Vec<(usize, u32, String)>,
    finished: Vec<(usize, Generation)>,
}

impl Heard {
    pub(crate) fn placed(&self) -> Vec<Placement> {
        self.0.lock().unwrap().placed.clone()
    }

    pub(crate) fn tokens(&self) -> Vec<(usize, u32, String)> {
        self.0.lock().unwrap().tokens.clone()
    }

    /// Waits until an executor has started it.
    pub(crate) async fn until_placed(&self) {
        until("the start of an errand", || !self.placed().is_empty()).await;
    }
}

impl Answers for Heard {
    fn placed(&self, placement: &Placement) {
        self.0.lock().unwrap().placed.push(placement.clone());
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        let mut all = self.0.lock().unwrap();
        all.tokens.push((choice, count, text.to_owned()));
    }

    fn finished(&self, choice: usize, generation: Generation) {
        self.0.lock().unwrap().finished.push((choice, generation));
    }
}

/// An errand of the n-th generation, to a model there.
pub(crate) fn errand(url: &str, model: &str, job: u32) -> Errand {
    let endpoint = Endpoint::parse(url).unwrap();
    let mut request = contract::request(&endpoint, &ModelName::new(model), 1);
    request.id.job = JobId(job);
    Errand {
        own: true,
        ..Errand::as_named(&request).unwrap()
    }
}

/// The same, begun again by a host that was started again.
pub(crate) fn resumed(url: &str, model: &str, job: u32) -> Errand {
    let mut errand = errand(url, model, job);
    errand.request.id.attempt = 2;
    errand
}

/// A queue of a cluster as the port that sessions see.
#[derive(Debug)]
pub(crate) struct Through(pub(crate) On);

#[async_trait]
impl Inference for Through {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        let errand = Errand {
            own: true,
            ..Errand::as_named(request)?
        };
        let answer = OnlyAnswer::new(progress);
        self.0.run(&errand, &answer).await?;
        Ok(answer.take().unwrap())
    }
}
