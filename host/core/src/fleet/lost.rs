//! Replicas on clusters that are lost: others take their places.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::BreakerState;
use super::state::{Replica, State};
use super::wishes::ClusterWish;

/// A cluster that has not answered for so long is lost, with each replica whose server has not either. One
/// whose server answers serves on.
const LOST_AFTER: Duration = Duration::from_secs(60);

impl State {
    /// Lets go of replicas that are lost with their clusters, where another cluster can run them. Should
    /// such a cluster answer again, their jobs are strays there.
    pub(super) fn leave_lost(&mut self, model: usize, now: Instant) {
        for at in 0..self.models[model].replicas.len() {
            let state = &self.models[model];
            let replica = &state.replicas[at];
            let Some(home) = replica.home.filter(|home| self.is_lost(*home, now)) else {
                continue;
            };
            let is_needed = replica.number < state.target();
            if !self.is_silent(replica, home, now) || is_needed && !self.has_refuge(model, now) {
                continue;
            }
            let name = self.clusters[home].plan.name.clone();
            let replica = &mut self.models[model].replicas[at];
            tracing::warn!(
                cluster = name,
                submission_id = replica.job.submission_id(),
                "a replica is lost with its cluster"
            );
            replica.home = None;
            let server = replica.server.take();
            let reason = format!("lost with cluster `{name}`, which does not answer");
            replica.job.abandon(reason, now);
            if let Some(id) = server {
                self.servers.remove(&id);
            }
        }
    }

    fn is_lost(&self, place: usize, now: Instant) -> bool {
        let cluster = &self.clusters[place];
        let answered = cluster.polled_at;
        cluster.breaker.state(now) != BreakerState::Closed
            && answered.is_none_or(|at| now.duration_since(at) >= LOST_AFTER)
    }

    /// Whether nothing is heard of a replica; for one on a cluster that an operator wants free, also whether
    /// it has nothing to do.
    fn is_silent(&self, replica: &Replica, home: usize, now: Instant) -> bool {
        let Some(server) = replica.server.and_then(|id| self.servers.get(&id)) else {
            return true;
        };
        let is_ill = server
            .ill_since
            .is_some_and(|since| now.duration_since(since) >= LOST_AFTER);
        let is_unwanted = self.clusters[home].wish == Some(ClusterWish::Down);
        is_ill || is_unwanted && server.outstanding == 0
    }

    /// Whether a cluster answers that may run the model.
    fn has_refuge(&self, model: usize, now: Instant) -> bool {
        self.models[model].clusters.iter().any(|place| {
            let cluster = &self.clusters[*place];
            cluster.breaker.state(now) == BreakerState::Closed && cluster.wish.is_none()
        })
    }
}
