//! Each wave of generations as a Ray job of its own.
//!
//! The job is an executor with a queue that holds nothing but the wave: it runs as in pool mode, and
//! ends with it. Its submission id follows from the deliberation and the wave, so that a host that was
//! killed finds the job of its last run again.

mod driver;
mod job;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_core::cluster::Cluster;
use conclave_core::fleet::Lease;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Progress, Request};
use conclave_core::tasks::Tasks;
use tokio::sync::watch;

use self::driver::Driver;
use super::again::again;
use super::courier::{Courier, errand, unanswered};
use crate::errand::OnlyAnswer;
use crate::pool::{self, Executor, Package, Pool, Queue};

/// When those who came to a wave that has ended may ask again.
const ANEW: Duration = Duration::from_millis(500);

/// What a wave's job has in its metadata beside its queue: the id of the host whose it is, and which of its
/// runs, between a start and an end, has submitted it.
pub const OWNER: &str = "conclave.owner";
pub const RUN: &str = "conclave.run";

/// Tells the runs of one host apart.
static THIS_RUN: LazyLock<String> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    format!("{}-{millis}", std::process::id())
});

/// The run that this is.
#[must_use]
pub fn this_run() -> &'static str {
    &THIS_RUN
}

/// Where waves may run, by the clusters' names.
pub type WaveClusters = BTreeMap<String, WaveCluster>;

/// A cluster that waves may run on.
#[derive(Clone)]
pub struct WaveCluster {
    /// The cluster.
    pub ray: Arc<dyn Cluster>,
    /// The executor's code.
    pub package: Arc<Package>,
    /// How it is started there.
    pub executor: Executor,
}

impl std::fmt::Debug for WaveCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaveCluster").finish_non_exhaustive()
    }
}

/// Runs waves.
#[derive(Debug)]
pub(super) struct Waves {
    courier: Arc<Courier>,
    clusters: WaveClusters,
    tasks: Tasks,
    running: Running,
}

type Running = Arc<Mutex<HashMap<Queue, Arc<Run>>>>;

/// A wave on its way.
struct Run {
    queue: Queue,
    /// How many wait for it; changed under the lock of those that run.
    members: watch::Sender<usize>,
    /// What its generations say of the server.
    verdict: Mutex<Option<Result<(), Error>>>,
    /// The cluster that it runs on, once one was chosen.
    lease: watch::Sender<Option<Result<Arc<Lease>, Arc<Error>>>>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl Run {
    fn is_wanted(&self) -> bool {
        *self.members.borrow() > 0
    }

    /// Notes what an end says of the server: it is well if it has answered any of them.
    fn note(&self, ended: &Result<(), Error>) {
        let mut verdict = lock(&self.verdict);
        match ended {
            Ok(()) => *verdict = Some(Ok(())),
            Err(error) if !pool::is_between(error) && !matches!(*verdict, Some(Ok(()))) => {
                *verdict = Some(Err(again(error)));
            }
            Err(_) => (),
        }
    }

    /// Waits until nobody waits for it.
    async fn abandoned(&self) {
        // The sender is a field of self.
        let _ = self.members.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One who waits for the wave.
struct Member(Arc<Run>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.send_modify(|count| *count -= 1);
    }
}

impl Waves {
    pub(super) fn new(courier: Arc<Courier>, clusters: WaveClusters, tasks: Tasks) -> Self {
        Self {
            courier,
            clusters,
            tasks,
            running: Arc::default(),
        }
    }

    pub(super) async fn generate(
        &self,
        request: &Request,
        progress: &Progress,
    ) -> Result<Generation, Error> {
        let pool = self.courier.pool(request)?;
        let member = self.join(request, pool)?;
        let lease = member.lease(request).await?;
        let cluster = lease.cluster.clone().unwrap_or_default();
        let answer = OnlyAnswer::new(progress);
        let errand = errand(request, 1, &lease);
        let run = &member.0;
        let ended = pool.run(&cluster, &run.queue, &errand, &answer).await;
        run.note(&ended);
        ended?;
        answer.take().ok_or_else(|| unanswered(request))
    }

    fn join(&self, request: &Request, pool: &Arc<Pool>) -> Result<Member, Error> {
        let queue = queue_of(request).ok_or_else(|| unanswered(request))?;
        let mut running = lock(&self.running);
        if let Some(run) = running.get(&queue) {
            run.members.send_modify(|count| *count += 1);
            return Ok(Member(Arc::clone(run)));
        }
        let run = Arc::new(Run {
            queue: queue.clone(),
            members: watch::Sender::new(1),
            verdict: Mutex::default(),
            lease: watch::Sender::new(None),
        });
        running.insert(queue, Arc::clone(&run));
        let driver = Driver {
            request: request.clone(),
            run: Arc::clone(&run),
            courier: Arc::clone(&self.courier),
            clusters: self.clusters.clone(),
            pool: Arc::clone(pool),
            running: Arc::clone(&self.running),
        };
        self.tasks.spawn("wave", driver.drive());
        Ok(Member(run))
    }
}

impl Member {
    /// The cluster that the wave runs on.
    async fn lease(&self, request: &Request) -> Result<Arc<Lease>, Error> {
        let mut lease = self.0.lease.subscribe();
        let chosen = lease.wait_for(Option::is_some).await;
        let chosen = chosen.ok().and_then(|chosen| chosen.clone());
        match chosen {
            Some(Ok(lease)) => Ok(lease),
            Some(Err(error)) => Err(again(&error)),
            None => Err(over(request)),
        }
    }
}

/// For those who came when the wave had ended: they are another wave.
fn over(request: &Request) -> Error {
    Error::NoServer {
        model: request.model.clone(),
        reason: "the wave that it came with has ended".to_owned(),
        retry_after: Some(ANEW),
    }
}

/// The wave's queue, the same over restarts of the host.
fn queue_of(request: &Request) -> Option<Queue> {
    let deliberation = &request.id.deliberation;
    let (actor, number) = request.wave.id();
    Queue::wave(&format!(
        "{deliberation}-{actor}-{number}-{}",
        request.retries
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
