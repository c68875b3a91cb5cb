//! The Ray job of a wave: submitted, watched and removed.

use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::{self, Job, JobStatus};
use tokio::time::{sleep, timeout};

use super::driver::Driver;
use super::{OWNER, RUN, WaveCluster, this_run};
use crate::pool::{self, Executor, Package};

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

/// How often a cluster may not answer for a job of which nobody waits for anything any more.
const UNHEARD_MAX: u32 = 30;

/// How much of a failed job's log an error holds.
const LOG_BYTES_MAX: usize = 2_000;

/// How long those of a wave of a host that was killed may take to find the answers that it has left: no job
/// is started for a wave that has all.
const FIND: Duration = Duration::from_secs(1);

impl Driver {
    /// Submits the job, and stays with it until nobody waits for the wave any more; why it failed.
    pub(super) async fn run_job(&self, cluster: &WaveCluster) -> Result<(), String> {
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
        let Some(mut id) = self.start(cluster).await? else {
            return Ok(());
        };
        let mut lingering = Duration::ZERO;
        let mut unheard = 0;
        let mut jobs_left = JOBS_MAX;
        loop {
            sleep(LOOK).await;
            let wanted = self.run.is_wanted();
            let jobs = match ray.jobs().await {
                Ok(jobs) => jobs,
                // The dashboard may be down while the job runs, or is to be removed.
                Err(error) if error.is_retryable() && (wanted || unheard < UNHEARD_MAX) => {
                    unheard += u32::from(!wanted);
                    continue;
                }
                // What is left of the job, the next start of the host removes.
                Err(_) if self.leave() => return Ok(()),
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
                    let Some(next) = self.start(cluster).await? else {
                        return Ok(());
                    };
                    id = next;
                }
                Some(status) if status.is_terminal() && !wanted => {
                    // What is left of it is of no use; the next start of the host removes it otherwise.
                    let _ = ray.delete(&id).await;
                    if self.leave() {
                        return Ok(());
                    }
                    let Some(next) = self.start(cluster).await? else {
                        return Ok(());
                    };
                    id = next;
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

    /// Submits a job, with the executor's code sent there anew, since a cluster forgets it after some minutes;
    /// its submission id. `None` where nobody waits any more.
    async fn start(&self, cluster: &WaveCluster) -> Result<Option<String>, String> {
        match self.upload(cluster).await {
            None => Ok(None),
            Some(Err(error)) => Err(Chain(&error).to_string()),
            Some(Ok(uri)) => self.submit(cluster, &uri).await.map(Some),
        }
    }

    /// Sends the executor's code to the cluster; its address there. `None` where nobody waits any more.
    async fn upload(&self, cluster: &WaveCluster) -> Option<Result<String, cluster::Error>> {
        let Package { name, zip, .. } = &*cluster.package;
        let mut tries_left = UPLOADS_MAX;
        loop {
            let uploading = cluster.ray.upload(name, zip.clone());
            match self.while_wanted(uploading).await? {
                // The dashboard may be away for a moment.
                Err(error) if error.is_retryable() && tries_left > 1 => tries_left -= 1,
                uploaded => return Some(uploaded),
            }
            self.while_wanted(sleep(UPLOAD_EVERY)).await?;
        }
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
