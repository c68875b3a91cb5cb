//! Generations that executors on a cluster run: work for them waits in a queue of NATS JetStream, as
//! `deploy/ray/PROTOCOL.md` has it.
//!
//! Work outlives the host. It has the same name after a restart, so that an attempt that was under way is
//! found again, queued, running or ended, and not run twice. Whoever waits hears of its end by a plain
//! message; messages may be missed, and are then found in their stream.

mod actors;
mod cancel;
mod cluster;
mod counts;
mod host_id;
mod job;
mod keep;
mod listen;
mod names;
mod orphans;
mod outcome;
mod package;
mod run;
mod settings;
mod store;
mod streams;
mod telling;
mod waiters;
mod wire;
mod zip;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, jetstream};
use async_trait::async_trait;
use conclave_core::endpoint::AllowedOrigins;
use conclave_core::inference::{Error, Request};
use conclave_core::tasks::Tasks;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use self::actors::ActorView;
pub use self::cluster::ClusterView;
pub use self::counts::Counts;
pub use self::host_id::HostId;
pub use self::job::{Executor, QUEUE, UnusableCredentials};
pub use self::outcome::{is_between, is_unheard};
pub use self::package::Package;
pub use self::run::is_resumed;
pub use self::settings::{Bounds, ClusterSettings, InvalidSettings, Queue, Settings};

use self::cancel::Orders;
use self::cluster::Cluster;
use self::keep::Keeper;
use self::listen::Listener;
use self::run::Run;
use crate::errand::{self, Answers, Backend, Errand};
use crate::telemetry::gen_ai::Attempt;

/// Hands errands to the executors of clusters.
///
/// It bounds every wait but that for the answer, which is the session's.
#[derive(Debug)]
pub struct Pool {
    host: HostId,
    clusters: BTreeMap<String, Arc<Cluster>>,
    orders: Orders,
    allowed: AllowedOrigins,
    bounds: Bounds,
    ready_timeout: Duration,
}

impl Pool {
    /// Begins to listen to the clusters, and makes their streams as soon as NATS is there.
    ///
    /// `stop` is for when no errand is left: what was given up until then is still cancelled.
    ///
    /// # Errors
    /// When a cluster's name cannot be used, or the client is closed.
    pub async fn start(
        client: Client,
        host: &HostId,
        settings: Settings,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, InvalidSettings> {
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(settings.ack_timeout)
            .build(client.clone());
        let mut clusters = BTreeMap::new();
        for one in settings.clusters {
            let name = one.name.clone();
            if !settings::is_cluster_name(&name) {
                return Err(InvalidSettings::Name(name));
            }
            let cluster = Cluster::new(one, host, &client, &jetstream);
            if clusters.insert(name.clone(), cluster).is_some() {
                return Err(InvalidSettings::Twice(name));
            }
        }
        for cluster in clusters.values() {
            let listener = Listener::new(cluster).await;
            let listener = listener.map_err(InvalidSettings::Subscribe)?;
            let listening = stop.clone().run_until_cancelled_owned(listener.run());
            tasks.spawn("pool listener", listening);
            let keeping = Keeper::new(cluster).run();
            let keeping = stop.clone().run_until_cancelled_owned(keeping);
            tasks.spawn("pool keeper", keeping);
        }
        let (orders, canceller) = Orders::new();
        tasks.spawn("pool canceller", canceller.run(stop.clone()));
        Ok(Arc::new(Self {
            host: host.clone(),
            clusters,
            orders,
            allowed: settings.allowed,
            bounds: settings.bounds,
            ready_timeout: settings.ready_timeout,
        }))
    }

    /// Whose work it is.
    #[must_use]
    pub fn host(&self) -> &HostId {
        &self.host
    }

    /// Runs an errand on a cluster, by whoever takes work of this queue. Dropping the future cancels it
    /// there, queued or running, and aborts its generations in the engine.
    ///
    /// An attempt that a host before has begun is found again and not run twice.
    ///
    /// # Errors
    /// Those of the model server, as the executor tells them. [`Error::NotAllowed`] for a server that the host
    /// did not choose and clients may not name. [`Error::NoServer`] with a delay when the queue is full, or NATS
    /// is not there; [`Error::Unavailable`] when the executors are silent for too long;
    /// [`Error::Rejected`] when the request is too large for NATS (413), or the executors gave it up because
    /// it never came to an end (422).
    pub async fn run(
        &self,
        cluster: &str,
        queue: &Queue,
        errand: &Errand,
        answers: &dyn Answers,
    ) -> Result<(), Error> {
        let Some(cluster) = self.clusters.get(cluster) else {
            return Err(Error::NoServer {
                model: errand.request.model.clone(),
                reason: format!("no cluster `{cluster}` is configured"),
                retry_after: None,
            });
        };
        let attempt = Attempt::begin(errand);
        let trace = attempt.headers(&errand.request);
        let answers = attempt.listening(answers);
        let run = Run {
            cluster,
            queue,
            errand,
            orders: &self.orders,
            allowed: &self.allowed,
            bounds: self.bounds,
            ready_timeout: self.ready_timeout,
        };
        let running = Box::pin(run.run(trace, &answers));
        let result = running.instrument(attempt.span().clone()).await;
        attempt.end(&result);
        result
    }

    /// The cluster where a host before has left an attempt, queued, running or ended. `None` where there is
    /// none, and for an attempt that none has begun; also when NATS does not tell in time.
    pub async fn holder(&self, request: &Request, choices: usize) -> Option<&str> {
        if !is_resumed(request) {
            return None;
        }
        let id = errand::work_id(request, choices);
        let looks = self.clusters.iter().map(|(name, cluster)| {
            let held = timeout(self.ready_timeout, cluster.holds(&id));
            held.map(move |held| matches!(held, Ok(true)).then_some(name.as_str()))
        });
        let mut found = join_all(looks).await.into_iter().flatten();
        found.next()
    }

    /// The backend that runs errands there.
    #[must_use]
    pub fn on(self: &Arc<Self>, cluster: impl Into<String>, queue: Queue) -> On {
        On {
            pool: Arc::clone(self),
            cluster: cluster.into(),
            queue,
        }
    }

    /// Fails whatever is waited for in a queue, because nobody will run it: a wave whose job has failed, for
    /// this reason. What was queued is removed. How many waited.
    pub fn fail_queue(&self, cluster: &str, queue: &Queue, reason: &str) -> usize {
        let Some(cluster) = self.clusters.get(cluster) else {
            return 0;
        };
        let lost = cluster
            .waiters
            .lose(|of, _| (of == queue).then(|| reason.to_owned()));
        cluster.lost(lost);
        lost
    }

    /// Fails what waits for the long-lived executors of a cluster, for this reason, unless any of them is
    /// heard: those of another host may be.
    pub fn despair(&self, cluster: &str, reason: &str) {
        let is_heard = |view: &ClusterView| {
            let mut actors = view.actors.iter();
            actors.any(|actor| actor.queue == Queue::pool().as_str())
        };
        let known = self.clusters.get(cluster);
        if known.is_some_and(|cluster| !is_heard(&cluster.view())) {
            self.fail_queue(cluster, &Queue::pool(), reason);
        }
    }

    /// An executor of a cluster has just been started: its silence up to now says nothing.
    pub fn expect(&self, cluster: &str) {
        if let Some(cluster) = self.clusters.get(cluster) {
            cluster.actors.listen();
        }
    }

    /// Cancels, as soon as NATS is there, the work that a host before has left and that nobody asks for: all
    /// but what has these names, and what is waited for.
    pub fn cancel_orphans(
        &self,
        claimed: HashSet<String>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) {
        let claimed = Arc::new(claimed);
        for (name, cluster) in &self.clusters {
            let cancelling = orphans::cancel(
                Arc::clone(cluster),
                Arc::clone(&claimed),
                self.orders.clone(),
            );
            let (name, stop) = (name.clone(), stop.clone());
            tasks.spawn("pool orphans", async move {
                let cancelled = stop.run_until_cancelled_owned(cancelling).await;
                if let Some(count @ 1..) = cancelled {
                    tracing::info!(
                        cluster = name,
                        count,
                        "work that nobody wants any more is cancelled"
                    );
                }
            });
        }
    }

    /// The clusters as they were heard last, by their names.
    #[must_use]
    pub fn view(&self) -> Vec<ClusterView> {
        self.clusters
            .values()
            .map(|cluster| cluster.view())
            .collect()
    }

    /// What is counted for each cluster, by its name.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        let clusters = self.clusters.iter();
        clusters.map(|(name, cluster)| (name.as_str(), &cluster.counts))
    }
}

/// A queue of a cluster, as a [`Backend`].
#[derive(Clone, Debug)]
pub struct On {
    pool: Arc<Pool>,
    cluster: String,
    queue: Queue,
}

#[async_trait]
impl Backend for On {
    async fn run(&self, errand: &Errand, answers: &dyn Answers) -> Result<(), Error> {
        self.pool
            .run(&self.cluster, &self.queue, errand, answers)
            .await
    }
}
