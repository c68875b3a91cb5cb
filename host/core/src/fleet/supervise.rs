//! The tasks that look at clusters and servers, and do what the fleet's state asks for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::chain::Chain;
use crate::cluster::{self, Cluster};
use crate::tasks::Tasks;

use super::breaker::Verdict;
use super::managed::{Action, Managed};
use super::probe::Probe;
use super::reconcile::Target;
use super::server::ServerId;
use super::shared::Shared;
use super::state::State;

/// What the tasks share.
#[derive(Clone)]
pub(super) struct Supervision {
    pub(super) shared: Arc<Shared>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) tasks: Tasks,
    pub(super) stop: CancellationToken,
}

impl Supervision {
    /// Waits; whether to go on.
    async fn rest(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.shared.clock.sleep(time) => true,
        }
    }

    /// Scales, places and serves at a steady pace.
    pub(super) async fn govern(self) {
        let pace = self
            .shared
            .with(|state, _, _| state.settings.poll_interval_starting);
        loop {
            self.govern_once();
            if !self.rest(pace).await {
                return;
            }
        }
    }

    pub(super) fn govern_once(&self) {
        let placed = self.shared.with(State::govern);
        if placed {
            self.shared.wake.notify_waiters();
        }
    }

    /// Looks at a cluster and does what is to be done there, again and again.
    pub(super) async fn watch_cluster(self, place: usize, cluster: Arc<dyn Cluster>) {
        loop {
            let woken = self.shared.wake.notified();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.look(place, cluster.as_ref()) => (),
            }
            let rest = self.shared.with(|state, now, _| state.rest_of(place, now));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = woken, if rest.may_be_woken => (),
                () = self.shared.clock.sleep(rest.time) => (),
            }
        }
    }

    async fn look(&self, place: usize, cluster: &dyn Cluster) {
        let passed = self.shared.with(|state, now, _| {
            let breaker = &mut state.clusters[place].breaker;
            let ticket = breaker.permits(now).then(|| breaker.pass());
            ticket.map(|ticket| (ticket, state.settings.poll_timeout))
        });
        let Some((ticket, within)) = passed else {
            return;
        };
        // One that hangs must be known as lost as soon as one that refuses.
        let jobs = match timeout(within, cluster.jobs()).await {
            Ok(jobs) => jobs.map_err(|error| Chain(&error).to_string()),
            Err(_) => Err(format!(
                "it did not tell its jobs within {} s",
                within.as_secs()
            )),
        };
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(cause) => {
                self.shared.with(|state, now, served| {
                    let seen = &mut state.clusters[place];
                    seen.breaker
                        .report(ticket, &Verdict::Failed(cause.clone()), now);
                    seen.last_error = Some(cause);
                    for model in 0..state.models.len() {
                        state.refuse(model, now, served);
                    }
                });
                return;
            }
        };
        let todo = self.shared.with(|state, now, _| {
            let breaker = &mut state.clusters[place].breaker;
            breaker.report(ticket, &Verdict::Succeeded, now);
            state.reconcile(place, jobs, now)
        });
        for server in todo.servers {
            self.watch_server(server);
        }
        let doings = todo.actions.into_iter();
        join_all(doings.map(|(target, action)| self.perform(place, cluster, target, action))).await;
        self.govern_once();
    }

    async fn perform(&self, place: usize, cluster: &dyn Cluster, target: Target, action: Action) {
        match action {
            Action::Submit(mut job, package) => {
                let submitted = async {
                    if let Some(package) = package {
                        let uri = cluster.upload(&package.name, package.zip.to_vec()).await?;
                        job.working_dir = Some(uri);
                    }
                    cluster.submit(&job).await
                };
                let submitted = submitted.await;
                self.managed(place, target, |managed, now| match submitted {
                    Ok(()) => managed.submitted(now),
                    Err(error) => {
                        let reason = Chain(&error).to_string();
                        managed.not_submitted(reason, !error.is_retryable(), now);
                    }
                });
            }
            Action::Stop(id) => {
                if let Err(error) = cluster.stop(&id).await {
                    warn_undone(&error, &id, "a job was not stopped");
                    self.shared.with(|state, _, _| {
                        state.clusters[place].strays.was_not_told(&id);
                    });
                }
            }
            Action::Delete(id) => {
                if let Err(error) = cluster.delete(&id).await {
                    warn_undone(&error, &id, "a job was not deleted");
                }
            }
            Action::Explain(id, reason) => {
                let bytes = self
                    .shared
                    .with(|state, _, _| state.settings.log_tail_bytes);
                let log = cluster.log_tail(&id, bytes).await.unwrap_or_default();
                tracing::warn!(submission_id = id, reason, log, "a job failed");
                self.managed(place, target, |managed, _| managed.explained(&reason, &log));
            }
        }
    }

    fn managed(&self, place: usize, target: Target, act: impl FnOnce(&mut Managed, Instant)) {
        self.shared.with(|state, now, _| {
            if let Some(managed) = state.job_of(place, target) {
                act(managed, now);
            }
        });
    }

    /// Probes a server for as long as there is one.
    pub(super) fn watch_server(&self, id: ServerId) {
        let this = self.clone();
        // It ends with its server, or with the wish to stop.
        let _probing = self.tasks.spawn("probe", async move {
            loop {
                tokio::select! {
                    biased;
                    () = this.stop.cancelled() => return,
                    () = this.probe_once(id) => (),
                }
                let rest = this.shared.with(|state, _, _| {
                    let server = state.servers.get(&id)?;
                    let settings = &state.settings;
                    Some(if server.ready {
                        settings.probe_interval
                    } else {
                        settings.poll_interval_starting
                    })
                });
                let Some(rest) = rest else {
                    return;
                };
                if !this.rest(rest).await {
                    return;
                }
            }
        });
    }

    async fn probe_once(&self, id: ServerId) {
        let asked = self.shared.with(|state, _, _| {
            let server = state.servers.get(&id)?;
            let plan = &state.models[server.model?].plan;
            let warms_up = plan.warm_up && !server.warmed_up && server.replica.is_some();
            Some((server.endpoint.clone(), plan.name.clone(), warms_up))
        });
        let Some((endpoint, model, warms_up)) = asked else {
            return;
        };
        let mut result = self.probe.healthy(&endpoint).await;
        if warms_up && result.is_ok() {
            result = self.probe.warm_up(&endpoint, &model).await;
            result = result.map_err(|error| format!("it does not answer: {error}"));
        }
        self.shared
            .with(|state, now, served| state.probed(id, result, now, served));
    }
}

fn warn_undone(error: &cluster::Error, submission_id: &str, what: &str) {
    let error = Chain(error).to_string();
    tracing::warn!(submission_id, error, "{what}");
}
