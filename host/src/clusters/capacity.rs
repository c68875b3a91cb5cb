//! Whether a request would wait in vain.

use std::time::Duration;

use conclave_core::execution::Execution;
use conclave_core::request::DeliberationRequest;
use conclave_core::submit::{Capacity, NoCapacity};

use super::Clusters;
use crate::pool;

impl Capacity for Clusters {
    fn check(&self, request: &DeliberationRequest) -> Result<(), NoCapacity> {
        let endpoint = request.endpoint.as_ref();
        // Each agent has a model; that of the task is for what few plugins ask for beside them.
        for model in request.task.agents.iter().map(|agent| &agent.model) {
            if let Some(retry_after) = self.fleet.full(model, endpoint) {
                return Err(NoCapacity::Full { retry_after });
            }
        }
        for agent in &request.task.agents {
            let execution = request.execution;
            let down = self.fleet.out_of_service(&agent.model, endpoint, execution);
            if let Some((retry_after, error)) = down.and_then(|e| e.retry_after().zip(Some(e))) {
                return Err(NoCapacity::Down {
                    reason: error.to_string(),
                    retry_after,
                });
            }
        }
        if request.execution == Execution::Direct {
            return Ok(());
        }
        let full = self.pool.iter().flat_map(|pool| pool.view());
        let queues: Vec<_> = full.filter(|view| view.ready).collect();
        let all_full = !queues.is_empty()
            && queues
                .iter()
                .all(|view| view.depth >= u64::from(view.depth_max));
        if !all_full {
            return Ok(());
        }
        let drained = queues.iter().filter_map(pool::ClusterView::time_to_drain);
        Err(NoCapacity::Full {
            retry_after: drained.min().unwrap_or(Duration::from_secs(5)),
        })
    }
}
