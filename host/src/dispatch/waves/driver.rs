//! A wave from its first generation to the end of its job: the cluster that it gets, and who still waits.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::inference::Request;
use tokio::time::timeout;

use super::super::courier::Courier;
use super::{Run, Running, WaveClusters, lock, over};
use crate::pool::Pool;

/// How long a wave is waited for to be complete. Its job takes seconds to start anyway.
const COMPLETE: Duration = Duration::from_secs(1);

/// What carries a wave from its first generation to the end of its job.
pub(super) struct Driver {
    pub(super) request: Request,
    pub(super) run: Arc<Run>,
    pub(super) courier: Arc<Courier>,
    pub(super) clusters: WaveClusters,
    pub(super) pool: Arc<Pool>,
    pub(super) running: Running,
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
    pub(super) async fn drive(self) {
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

    /// Does this as long as anybody waits for the wave.
    pub(super) async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
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
    pub(super) fn leave(&self) -> bool {
        let mut running = lock(&self.running);
        if self.run.is_wanted() {
            return false;
        }
        running.remove(&self.run.queue);
        true
    }
}
