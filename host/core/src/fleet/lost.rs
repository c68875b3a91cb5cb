//! Replicas on clusters that are lost: others take their places, until they serve or the lost are back.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Job, JobStatus};

use super::breaker::BreakerState;
use super::managed::JobState;
use super::state::{Replica, State};
use super::wishes::ClusterWish;

/// A cluster that has not answered for so long is lost, with each replica whose server has not either. One
/// whose server answers serves on.
const LOST_AFTER: Duration = Duration::from_secs(60);

impl State {
    /// Lets go of replicas that are lost with their clusters, where another cluster can run them. Should
    /// such a cluster answer again, their jobs are strays there, if those elsewhere serve by then.
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
            tracing::warn!(
                cluster = name,
                submission_id = replica.job.submission_id(),
                "a replica is lost with its cluster"
            );
            let reason = format!("lost with cluster `{name}`, which does not answer");
            self.leave_home(model, at, reason, now);
        }
    }

    /// Lets go of a replica that does not serve yet, where the cluster that had it before answers again and
    /// runs it still: its job elsewhere is a stray there, and it has no home.
    pub(super) fn leave_substitute(
        &mut self,
        place: usize,
        model: usize,
        number: u32,
        jobs: &[&Job],
        now: Instant,
    ) {
        let state = &self.models[model];
        let mut replicas = state.replicas.iter();
        let Some(at) = replicas.position(|one| one.number == number) else {
            return;
        };
        let replica = &state.replicas[at];
        let Some(home) = replica.home.filter(|home| *home != place) else {
            return;
        };
        let job = &replica.job;
        let serves = matches!(job.state, JobState::Healthy | JobState::Draining);
        // One that ran before the host looked may serve already: the first probe says.
        let may_serve = job.adopted && job.probed.is_none();
        let is_usable = state.clusters.contains(&place) && self.clusters[place].wish.is_none();
        let runs = jobs.iter().any(|job| job.status == JobStatus::Running);
        if serves || may_serve || !is_usable || !runs || number >= state.target() {
            return;
        }
        let name = self.clusters[place].plan.name.clone();
        tracing::info!(
            cluster = name,
            "a cluster is back before what stands in for a replica of its own serves"
        );
        if let Some(id) = job.submission_id() {
            // It is not taken back in turn, should the first probes here fail.
            self.clusters[home].strays.add(id, now);
        }
        let reason = format!("cluster `{name}`, which runs it still, answers again");
        self.leave_home(model, at, reason, now);
    }

    fn leave_home(&mut self, model: usize, at: usize, reason: String, now: Instant) {
        let replica = &mut self.models[model].replicas[at];
        replica.home = None;
        replica.job.abandon(reason, now);
        if let Some(id) = replica.server.take() {
            self.servers.remove(&id);
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
