//! Replicas that run with older settings: one at a time is replaced, while another one serves.

use std::time::Duration;

use tokio::time::Instant;

use super::managed::{JobState, Managed};
use super::server::ServerId;
use super::state::{Replica, State};

/// A replica is replaced when it has served for so long: what an earlier life of the host left running on it
/// has ended then, which is not counted. The one that is replaced has to serve for as long before the next.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// A replica beside the only one has got no resources after so long: they are not there.
const ROOM_WITHIN: Duration = Duration::from_secs(300);

/// What was done so that a model's only replica can be replaced without an interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Beside {
    #[default]
    Nothing,
    /// A replica was added.
    Added,
    /// One was added, and found no resources.
    NoRoom,
}

impl State {
    /// Has the next replica with older settings replaced, if it is time.
    pub(super) fn replace_outdated(&mut self, model: usize, now: Instant) {
        let state = &mut self.models[model];
        if state.replicas.iter().all(|one| !one.job.outdated) {
            state.beside = Beside::Nothing;
        }
        let under_way = state.replacing.and_then(|number| {
            let mut replicas = state.replicas.iter();
            replicas.find(|one| one.number == number)
        });
        if under_way.is_some_and(|one| one.job.wanted && !is_settled(&one.job, now)) {
            return;
        }
        state.replacing = None;
        let state = &self.models[model];
        let due = state.replicas.iter().filter(|one| self.is_due(one, now));
        let Some(next) = due.min_by_key(|one| one.number) else {
            return;
        };
        let (number, serves) = (next.number, next.job.is_healthy());
        let is_only = serves && !self.has_other_server(model, next.server, now);
        if is_only && self.waits_beside(model, now) {
            return;
        }
        let state = &mut self.models[model];
        let name = state.plan.name.as_str();
        if is_only {
            tracing::warn!(
                model = name,
                replica = number,
                "no other replica serves: the model is away until this one has its new settings"
            );
        } else {
            tracing::info!(model = name, replica = number, "replacing a replica");
        }
        state.replacing = Some(number);
        let mut replicas = state.replicas.iter_mut();
        if let Some(replica) = replicas.find(|one| one.number == number) {
            replica.job.replaced = true;
        }
    }

    /// Whether a replica may be replaced now: one that serves when it has done so for a while, one that
    /// does not when its probes have failed for long enough.
    fn is_due(&self, replica: &Replica, now: Instant) -> bool {
        let job = &replica.job;
        let server = replica.server.and_then(|id| self.servers.get(&id));
        let is_ready = match job.state {
            JobState::Healthy => is_settled(job, now),
            JobState::Running => {
                server.is_some_and(|one| one.probes_failed >= self.settings.probe_failures_max)
            }
            _ => false,
        };
        job.outdated && job.wanted && !job.replaced && is_ready
    }

    fn has_other_server(&self, model: usize, own: Option<ServerId>, now: Instant) -> bool {
        self.servers_of(model).any(|(id, server)| {
            Some(id) != own
                && server.serves()
                && server.breaker.permits(now)
                && !self.is_drained(server.cluster)
        })
    }

    /// Whether the only replica that serves stays until one beside it does, which is added where the
    /// bounds allow that.
    fn waits_beside(&mut self, model: usize, now: Instant) -> bool {
        let state = &mut self.models[model];
        let mut replicas = state.replicas.iter();
        let fresh = replicas.find(|one| one.job.wanted && !one.job.outdated);
        let Some(fresh) = fresh else {
            let may_add = state.pinned.is_none() && state.wanted < *state.plan.replicas.end();
            if !may_add || state.beside != Beside::Nothing {
                return false;
            }
            state.wanted += 1;
            state.scaled_at = now;
            state.beside = Beside::Added;
            let name = state.plan.name.as_str();
            tracing::info!(model = name, "adding a replica so that another can go");
            return true;
        };
        let job = &fresh.job;
        let waited = now.duration_since(job.since);
        let has_no_room = job.state == JobState::Pending && (job.stuck || waited >= ROOM_WITHIN);
        if !has_no_room {
            // One that fails again and again holds up the others: the older settings work.
            return true;
        }
        if state.beside == Beside::Added {
            state.beside = Beside::NoRoom;
            state.wanted -= 1;
        }
        false
    }
}

fn is_settled(job: &Managed, now: Instant) -> bool {
    job.is_healthy() && !job.replaced && now.duration_since(job.since) >= SETTLED_AFTER
}
