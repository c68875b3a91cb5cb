//! What probes say of servers, and how often clusters are looked at.

use std::time::Duration;

use tokio::time::Instant;

use super::managed::JobState;
use super::queue::Served;
use super::server::ServerId;
use super::state::State;

/// How long a cluster is left alone.
pub(super) struct Rest {
    pub(super) time: Duration,
    /// Whether it may be looked at sooner where there is something to do.
    pub(super) may_be_woken: bool,
}

impl State {
    pub(super) fn rest_of(&self, place: usize, now: Instant) -> Rest {
        let cluster = &self.clusters[place];
        if let Some(open) = cluster.breaker.retry_in(now) {
            return Rest {
                time: open,
                may_be_woken: false,
            };
        }
        let executor = cluster.executor.as_ref();
        let replicas = self.models.iter().flat_map(|model| &model.replicas);
        let here = replicas.filter(|replica| replica.home == Some(place));
        let rests = here
            .map(|replica| &replica.job)
            .chain(executor)
            .map(|job| job.rest(&self.settings, now));
        Rest {
            time: rests.min().unwrap_or(self.settings.poll_interval),
            may_be_woken: true,
        }
    }

    /// The servers that are probed from the start on.
    pub(super) fn probed_servers(&self) -> Vec<ServerId> {
        let servers = self.servers.iter();
        let of_models = servers.filter(|(_, server)| server.model.is_some());
        of_models.map(|(id, _)| *id).collect()
    }

    /// Takes what a probe found.
    pub(super) fn probed(
        &mut self,
        id: ServerId,
        result: Result<(), String>,
        now: Instant,
        served: &mut Vec<Served>,
    ) {
        let probe_failures_max = self.settings.probe_failures_max;
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        let Some(model) = server.model else {
            return;
        };
        let number = server.replica;
        let mut replicas = self.models[model].replicas.iter_mut();
        let replica = replicas.find(|one| Some(one.number) == number && one.server == Some(id));
        let job = replica.map(|replica| &mut replica.job);
        match result {
            Ok(()) => {
                server.probes_failed = 0;
                server.ill_since = None;
                server.warmed_up = true;
                if !server.ready {
                    tracing::info!(endpoint = %server.endpoint, "a model server is healthy");
                }
                server.ready = true;
                server.last_error = None;
                if let Some(job) = job {
                    job.became_healthy(now);
                    // Its cluster could not be asked to stop it meanwhile.
                    if job.is_healthy() {
                        job.fault = None;
                    }
                }
                self.serve(model, now, served);
            }
            Err(reason) => {
                server.probes_failed = server.probes_failed.saturating_add(1);
                server.ill_since.get_or_insert(now);
                server.last_error = Some(reason.clone());
                let is_lost = server.ready && server.probes_failed >= probe_failures_max;
                if is_lost {
                    server.ready = false;
                    tracing::warn!(endpoint = %server.endpoint, reason, "a model server is not healthy");
                }
                match job {
                    Some(job) if job.state == JobState::Running => job.probed = Some(reason),
                    Some(job) if is_lost && job.is_healthy() => {
                        job.fault = Some(format!("not healthy: {reason}"));
                    }
                    _ => (),
                }
                if is_lost {
                    self.refuse(model, now, served);
                }
            }
        }
    }
}
