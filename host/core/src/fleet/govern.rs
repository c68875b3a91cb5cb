//! How many replicas a model has, and on which clusters.

use tokio::time::Instant;

use super::breaker::BreakerState;
use super::managed::JobState;
use super::queue::Served;
use super::state::{Replica, State};
use super::wishes::ClusterWish;

impl State {
    /// Does what time and load ask for; whether a cluster should be looked at sooner than planned.
    pub(super) fn govern(&mut self, now: Instant, served: &mut Vec<Served>) -> bool {
        for cluster in &mut self.clusters {
            if let Some(executor) = &mut cluster.executor {
                executor.wanted = cluster.wish != Some(ClusterWish::Down);
            }
        }
        let mut placed = false;
        for model in 0..self.models.len() {
            self.scale(model, now);
            self.leave_lost(model, now);
            self.replace_outdated(model, now);
            self.adjust_replicas(model, now);
            self.let_go(model);
            placed |= self.place_replicas(model, now);
            self.serve(model, now, served);
            self.refuse(model, now, served);
        }
        placed
    }

    /// One step up while somebody waits for too long, one down while there is too much.
    fn scale(&mut self, model: usize, now: Instant) {
        let servers = self.servers_of(model).map(|(_, server)| server);
        let (mut outstanding, mut others) = (0, 0);
        for server in servers {
            outstanding += server.outstanding;
            others += usize::from(server.replica.is_none());
        }
        let state = &mut self.models[model];
        if state.plan.job.is_none() || state.pinned.is_some() {
            return;
        }
        let (least, most) = (*state.plan.replicas.start(), *state.plan.replicas.end());
        let settled = state.replicas.iter().all(|one| one.job.is_healthy());
        let waited = state.queue.longest_wait(now);
        let is_spare = {
            let kept = state.wanted.saturating_sub(1);
            let without = kept as usize + others;
            // One that is to be replaced needs another one beside it.
            let stays = |one: &Replica| one.job.is_healthy() && !one.job.outdated;
            state.wanted > least
                && waited.is_none()
                && outstanding <= without.saturating_mul(state.plan.slots) / 2
                && state
                    .replicas
                    .iter()
                    .all(|one| one.number >= kept || stays(one))
        };
        if !is_spare {
            state.spare_since = None;
        }
        let name = state.plan.name.as_str();
        let rested = now.duration_since(state.scaled_at) >= state.plan.scale_up_after;
        let too_long = waited.is_some_and(|waited| waited >= state.plan.scale_up_after);
        let wakes = waited.is_some() && state.wanted == 0;
        if state.wanted < most && (wakes || (too_long && rested && settled)) {
            state.wanted += 1;
            state.scaled_at = now;
            tracing::info!(model = name, replicas = state.wanted, "scaling up");
        } else if is_spare {
            let since = *state.spare_since.get_or_insert(now);
            if now.duration_since(since) >= state.plan.scale_down_after {
                state.wanted -= 1;
                state.scaled_at = now;
                state.spare_since = None;
                tracing::info!(model = name, replicas = state.wanted, "scaling down");
            }
        }
    }

    /// Lets go of replicas that have stopped: those that are too many for good, the others to be placed
    /// anew.
    fn let_go(&mut self, model: usize) {
        let clusters = &self.clusters;
        let state = &mut self.models[model];
        let target = state.target();
        state.replicas.retain_mut(|replica| {
            let is_down = |home: usize| clusters[home].wish == Some(ClusterWish::Down);
            match replica.job.state {
                JobState::Stopped | JobState::Unplaced if replica.number >= target => false,
                JobState::Stopped if replica.home.is_some_and(is_down) => {
                    replica.home = None;
                    replica.job.state = JobState::Unplaced;
                    replica.job.wanted = true;
                    true
                }
                _ => true,
            }
        });
    }

    /// Chooses clusters for replicas that have none: where there are fewest of the model in proportion
    /// to the weight. It waits until every cluster that may run one already has told so, or is known
    /// not to answer.
    fn place_replicas(&mut self, model: usize, now: Instant) -> bool {
        let state = &self.models[model];
        let is_known = |place: &usize| {
            let cluster = &self.clusters[*place];
            cluster.polled_at.is_some() || cluster.breaker.state(now) != BreakerState::Closed
        };
        if !state.clusters.iter().all(is_known) {
            return false;
        }
        let mut placed = false;
        for at in 0..self.models[model].replicas.len() {
            let state = &self.models[model];
            let replica = &state.replicas[at];
            let is_free = replica.home.is_none() && replica.job.state == JobState::Unplaced;
            if !is_free || !replica.job.wanted {
                continue;
            }
            let load = |place: usize| {
                let homes = state.replicas.iter().filter_map(|one| one.home);
                let replicas = homes.filter(|home| *home == place).count() + 1;
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "replicas are far fewer than 2^53"
                )]
                let replicas = replicas as f64;
                replicas / self.clusters[place].weight()
            };
            let takes = |place: &usize| {
                let cluster = &self.clusters[*place];
                let answers = cluster.breaker.state(now) == BreakerState::Closed;
                answers && cluster.wish.is_none()
            };
            let places = state.clusters.iter().copied().filter(takes);
            let best = places.min_by(|left, right| load(*left).total_cmp(&load(*right)));
            if let Some(place) = best {
                let replica = &mut self.models[model].replicas[at];
                replica.home = Some(place);
                replica.job.place(now);
                placed = true;
            }
        }
        placed
    }
}
