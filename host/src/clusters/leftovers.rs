//! Jobs of waves that the last run of this host has left on a cluster.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::{Cluster, Job};
use conclave_core::ids::DeliberationId;
use tokio::time::sleep;

use crate::dispatch::{OWNER, RUN, this_run};
use crate::pool::{self, HostId};

/// How often the cluster is asked about them: a job that waits for resources is not stopped by one order.
const LOOK: Duration = Duration::from_secs(5);

/// Stops those that run, and removes those that have ended, until none is left but those of deliberations
/// that go on: who resumes these finds their jobs.
pub(super) async fn remove(
    cluster: Arc<dyn Cluster>,
    host: HostId,
    resumed: Arc<HashSet<DeliberationId>>,
) {
    loop {
        match cluster.jobs().await {
            Ok(jobs) => {
                let left = jobs.iter().filter(|job| is_left(job, &host, &resumed));
                let left: Vec<_> = left.collect();
                if left.is_empty() {
                    return;
                }
                for job in left {
                    end(&*cluster, job).await;
                }
            }
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "a cluster does not tell what the last run left");
            }
        }
        sleep(LOOK).await;
    }
}

fn is_left(job: &Job, host: &HostId, resumed: &HashSet<DeliberationId>) -> bool {
    let told = |key: &str| job.metadata.get(key).map_or("", String::as_str);
    let queue = told(pool::QUEUE);
    let is_of = |id: &DeliberationId| queue.starts_with(&format!("wave-{id}-"));
    let is_own = told("conclave.kind") == "wave" && told(OWNER) == host.as_str();
    is_own && told(RUN) != this_run() && !resumed.iter().any(is_of)
}

async fn end(cluster: &dyn Cluster, job: &Job) {
    let id = &job.submission_id;
    let ended = match job.status.is_terminal() {
        true => cluster.delete(id).await,
        false => cluster.stop(id).await,
    };
    if let Err(error) = ended {
        tracing::debug!(error = %Chain(&error), job = id, "the job of a wave is left for now");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use conclave_core::cluster::JobSpec;
    use conclave_core::testkit::cluster::{Life, ScriptedCluster};
    use tokio::time::timeout;

    use super::*;

    fn begun_since(owner: &HostId) -> JobSpec {
        let mut job = job("begun-since", "wave", owner);
        job.metadata.insert(RUN.to_owned(), this_run().to_owned());
        job
    }

    fn job(id: &str, kind: &str, owner: &HostId) -> JobSpec {
        let metadata = [
            ("conclave.kind", kind),
            ("conclave.queue", &format!("wave-{id}-0-0-0")),
            (OWNER, owner.as_str()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        JobSpec {
            submission_id: format!("{kind}-{id}-{owner}"),
            metadata: BTreeMap::from(metadata),
            ..JobSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waves_whose_deliberation_is_over_are_ended_and_forgotten_and_no_others() {
        let (host, other) = (HostId::generate().unwrap(), HostId::generate().unwrap());
        let cluster = Arc::new(ScriptedCluster::steady("127.0.0.1"));
        let short = Life::failing_after(Duration::ZERO, "");
        cluster.put(job("ended", "wave", &host), short);
        cluster.put(job("runs", "wave", &host), Life::steady());
        let kept = [
            job("resumed", "wave", &host),
            begun_since(&host),
            job("of-another", "wave", &other),
            job("no-wave", "executor", &host),
        ];
        let mut ids: Vec<_> = kept.iter().map(|job| job.submission_id.clone()).collect();
        ids.sort_unstable();
        for job in kept {
            cluster.put(job, Life::steady());
        }
        let resumed = HashSet::from([DeliberationId::new("resumed")]);
        let removing = remove(cluster.clone(), host, Arc::new(resumed));
        timeout(Duration::from_secs(60), removing).await.unwrap();
        let jobs = cluster.jobs().await.unwrap();
        let mut left: Vec<_> = jobs.into_iter().map(|job| job.submission_id).collect();
        left.sort_unstable();
        assert_eq!(left, ids);
    }
}
