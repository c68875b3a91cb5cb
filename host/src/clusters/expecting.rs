//! What the pool is told of the executors that the fleet starts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::fleet::{Fleet, JobState};

use crate::pool::Pool;

/// How often it is looked whether an executor was started.
const EXECUTORS_LOOK: Duration = Duration::from_millis(500);

/// Tells the pool of every executor that was started: its actors are heard some seconds after its job runs;
/// and of those that do not come up, for whom nothing needs to wait.
pub(super) async fn expect_executors(fleet: Arc<Fleet>, pool: Arc<Pool>) {
    let mut known = BTreeMap::new();
    loop {
        for cluster in fleet.status().clusters {
            let Some(executor) = cluster.executor else {
                continue;
            };
            if !executor.is_hopeful {
                let error = executor.last_error.unwrap_or_default();
                let reason = format!("its executor does not start: {error}");
                pool.despair(&cluster.name, &reason);
                continue;
            }
            let job = executor.submission_id.filter(|_| cluster.executes);
            let is_new = job.is_some_and(|job| {
                let before = known.insert(cluster.name.clone(), job.clone());
                before.is_none_or(|before| before != job)
            });
            // Before its job runs nobody can be heard.
            let starts = matches!(executor.state, JobState::Waiting | JobState::Pending);
            if is_new || starts {
                pool.expect(&cluster.name);
            }
        }
        tokio::time::sleep(EXECUTORS_LOOK).await;
    }
}
