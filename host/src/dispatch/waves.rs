//! Each wave of generations as a Ray job of its own.
//!
//! The job is an executor with a queue that holds nothing but the wave: it runs as in pool mode, and
//! ends with it. Its submission id follows from the deliberation and the wave, so that a host that was
//! killed finds the job of its last run again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_core::chain::Chain;
use conclave_core::cluster::{self, Cluster, Job, JobStatus};
use conclave_core::fleet::Lease;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Progress, Request};
use conclave_core::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::again::again;
use super::courier::{Courier, errand, unanswered};
use crate::errand::OnlyAnswer;
use crate::pool::{self, Executor, Package, Pool, Queue};

/// How long a wave is waited for to be complete. Its job takes seconds to start anyway.
const COMPLETE: Duration = Duration::from_secs(1);

/// How often a wave's job is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long a job may go on after all of its wave has ended, to end by itself.
const LINGER: Duration = Duration::from_secs(5);

/// Jobs that a wave may have, when those before ended too early.
const JOBS_MAX: u32 = 4;

/// How often the executor's code is sent to a cluster that does not answer, and how long after the last try:
/// as long as what a cluster has begun is waited for.
const UPLOADS_MAX: u32 = 30;
const UPLOAD_EVERY: Duration = Duration::from_secs(2);

/// How much of a failed job's log an error holds.
const LOG_BYTES_MAX: usize = 2_000;

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

/// How long those of a wave of a host that was killed may take to find the answers that it has left: no job
/// is started for a wave that has all.
const FIND: Duration = Duration::from_secs(1);

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
        retry_after: Some(LOOK),
    }
}

/// What carries a wave from its first generation to the end of its job.
struct Driver {
    request: Request,
    run: Arc<Run>,
    courier: Arc<Courier>,
    clusters: WaveClusters,
    pool: Arc<Pool>,
    running: Running,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        let own = running.get(&self.run.queue);
        if own.is_some_and(|run| Arc::ptr_eq(run, &self.run)) {
            running.remove(&self.run.queue);
        }
        drop(running);
        self.run.lease.send_if_modified(|lease| match lease {
            None => {
                *lease = Some(Err(Arc::new(over(&self.request))));
                true
            }
            Some(_) => false,
        });
    }
}

impl Driver {
    async fn drive(self) {
        // An error is a plugin that computes for long: the job is told of those that there are.
        let _ = timeout(COMPLETE, self.request.wave.closed()).await;
        let lease = match self
            .while_wanted(self.courier.lease_for_wave(&self.request))
            .await
        {
            None => return,
            Some(Ok(lease)) => Arc::new(lease),
            Some(Err(error)) => {
                self.run.lease.send_replace(Some(Err(Arc::new(error))));
                return;
            }
        };
        self.run.lease.send_replace(Some(Ok(Arc::clone(&lease))));
        let name = lease.cluster.clone().unwrap_or_default();
        let Some(cluster) = self.clusters.get(&name) else {
            return;
        };
        let ended = self.run_job(cluster).await;
        if let Err(reason) = ended {
            tracing::warn!(queue = %self.run.queue, reason, "the job of a wave failed");
            self.pool.fail_queue(&name, &self.run.queue, &reason);
        }
        let ended = Err(Arc::new(over(&self.request)));
        self.run.lease.send_replace(Some(ended));
        let verdict = lock(&self.run.verdict).take();
        // Nobody else has it once all have gone.
        match (Arc::into_inner(lease), verdict) {
            (Some(lease), Some(Ok(()))) => lease.succeeded(),
            (Some(lease), Some(Err(error))) => lease.failed(&error),
            _ => (),
        }
    }

    /// Submits the job, and stays with it until nobody waits for the wave any more; why it failed.
    async fn run_job(&self, cluster: &WaveCluster) -> Result<(), String> {
        let told = |error: cluster::Error| Chain(&error).to_string();
        let ray = &cluster.ray;
        let is_resumed = pool::is_resumed(&self.request);
        if is_resumed {
            // An error is a wave that has not found all of its answers: its job runs, or is started.
            let _ = timeout(FIND, self.run.abandoned()).await;
            if !self.run.is_wanted() && self.leave() {
                self.remove_left(cluster).await;
                return Ok(());
            }
        }
        let Package { name, zip, .. } = &*cluster.package;
        let mut tries_left = UPLOADS_MAX;
        let uri = loop {
            let Some(uploaded) = self.while_wanted(ray.upload(name, zip.clone())).await else {
                return Ok(());
            };
            match uploaded {
                // The dashboard may be away for a moment.
                Err(error) if error.is_retryable() && tries_left > 1 => tries_left -= 1,
                uploaded => break uploaded.map_err(told)?,
            }
            if self.while_wanted(sleep(UPLOAD_EVERY)).await.is_none() {
                return Ok(());
            }
        };
        let mut id = self.submit(cluster, &uri).await?;
        let mut lingering = Duration::ZERO;
        let mut jobs_left = JOBS_MAX;
        loop {
            sleep(LOOK).await;
            let wanted = self.run.is_wanted();
            let jobs = match ray.jobs().await {
                Ok(jobs) => jobs,
                // The dashboard may be down while the job runs.
                Err(error) if error.is_retryable() && wanted => continue,
                Err(error) => return Err(told(error)),
            };
            let job = jobs.into_iter().find(|job| job.submission_id == id);
            match job.as_ref().map(|job| job.status) {
                Some(JobStatus::Failed | JobStatus::Stopped) if wanted => {
                    let reason = self.told_by(cluster, job.as_ref()).await;
                    // Another try is another job.
                    let _ = ray.delete(&id).await;
                    return Err(reason);
                }
                // Its executor saw the queue empty while some of the wave had not come there yet.
                Some(JobStatus::Succeeded) if wanted => {
                    jobs_left -= 1;
                    if jobs_left == 0 {
                        return Err(format!(
                            "{JOBS_MAX} jobs ended before the wave was complete"
                        ));
                    }
                    id = self.submit(cluster, &uri).await?;
                }
                Some(status) if status.is_terminal() && !wanted => {
                    // What is left of it is of no use; the next start of the host removes it otherwise.
                    let _ = ray.delete(&id).await;
                    if self.leave() {
                        return Ok(());
                    }
                    id = self.submit(cluster, &uri).await?;
                }
                Some(_) if wanted => {}
                None if wanted => return Err(format!("the cluster forgot its job `{id}`")),
                None if self.leave() => return Ok(()),
                None => {}
                Some(_) if lingering < LINGER => lingering += LOOK,
                Some(_) => {
                    // Its wave was cancelled before the executor had seen it.
                    let _ = ray.stop(&id).await;
                }
            }
        }
    }

    /// Does this as long as anybody waits for the wave.
    async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.run.abandoned() => if self.leave() {
                    return None;
                },
            }
        }
    }

    /// Ends the wave if nobody waits for it; who comes later begins another one.
    fn leave(&self) -> bool {
        let mut running = lock(&self.running);
        if self.run.is_wanted() {
            return false;
        }
        running.remove(&self.run.queue);
        true
    }

    /// Removes the jobs that a host before has started for the wave, whose answers were all there. What
    /// cannot be removed now, the next start of the host removes.
    async fn remove_left(&self, cluster: &WaveCluster) {
        let mut lingering = Duration::ZERO;
        while lingering < 2 * LINGER
            && let Ok(jobs) = cluster.ray.jobs().await
        {
            let name = self.run.queue.as_str();
            let of_wave = |job: &&Job| job.metadata.get(pool::QUEUE).is_some_and(|of| of == name);
            let left: Vec<_> = jobs.iter().filter(of_wave).collect();
            if left.is_empty() {
                return;
            }
            for job in left {
                if job.status.is_terminal() {
                    let _ = cluster.ray.delete(&job.submission_id).await;
                } else if lingering >= LINGER {
                    let _ = cluster.ray.stop(&job.submission_id).await;
                }
            }
            sleep(LOOK).await;
            lingering += LOOK;
        }
    }

    /// Submits the job unless the last run of the host has; its submission id.
    async fn submit(&self, cluster: &WaveCluster, uri: &str) -> Result<String, String> {
        let told = |error: cluster::Error| Chain(&error).to_string();
        let jobs = cluster.ray.jobs().await.map_err(told)?;
        // An id is used once: a job that has ended keeps its own.
        let is_used = |id: &str| {
            let mut of_id = jobs.iter().filter(|job| job.submission_id == id);
            of_id.any(|job| job.status.is_terminal())
        };
        let base = format!("conclave-{}", self.run.queue);
        let ids = std::iter::once(base.clone()).chain((1..).map(|n| format!("{base}-{n}")));
        let mut ids = ids.skip_while(|id| is_used(id));
        let id = ids.next().unwrap_or(base);
        let count = (*self.run.members.borrow()).max(1);
        let Executor { actors, slots, .. } = cluster.executor;
        // One actor runs what fits into its slots: more would only take room of other waves.
        let enough = u32::try_from(count)
            .unwrap_or(u32::MAX)
            .div_ceil(slots.max(1));
        let executor = Executor {
            actors: actors.min(enough),
            ..cluster.executor.clone()
        };
        let package = &cluster.package;
        let job = executor.job(&id, &self.run.queue, Some(count), package, uri.to_owned());
        let mut job = job.map_err(|error| error.to_string())?;
        let owner = self.pool.host().to_string();
        job.metadata.insert(OWNER.to_owned(), owner);
        job.metadata.insert(RUN.to_owned(), this_run().to_owned());
        cluster.ray.submit(&job).await.map_err(told)?;
        Ok(id)
    }

    /// Why the job failed, with the end of its log.
    async fn told_by(&self, cluster: &WaveCluster, job: Option<&Job>) -> String {
        let Some(job) = job else {
            return String::new();
        };
        let log = cluster.ray.log_tail(&job.submission_id, LOG_BYTES_MAX);
        let log = log.await.unwrap_or_default();
        let message = job.message.trim();
        let id = &job.submission_id;
        match log.trim() {
            "" => format!("Ray job `{id}` failed: {message}"),
            log => format!("Ray job `{id}` failed: {message}; the end of its log:\n{log}"),
        }
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
