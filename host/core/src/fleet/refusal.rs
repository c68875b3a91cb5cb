//! When waiting for a server is of no use, and why.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::NoServer;
use super::queue::{Order, Via};
use super::server::Server;
use super::state::{ClusterState, Replica, State};

/// What an operator has stopped, or what cannot be asked, is asked for again after so long.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Why a server or replica does not help, and when it may again; `None` where it fails again and again.
struct Reason {
    text: String,
    retry_after: Option<Duration>,
}

impl Reason {
    /// It helps once an operator, or what cannot be asked, is back.
    fn stopped(text: String) -> Self {
        Self {
            text,
            retry_after: Some(ASKED_AGAIN),
        }
    }
}

impl State {
    /// Why somebody who wants this need not wait for it; `None` where waiting may help.
    pub(super) fn refusal(&self, model: usize, order: &Order, now: Instant) -> Option<NoServer> {
        let mut reasons = Vec::new();
        if let Some(via) = &order.via {
            let places = &self.models[model].clusters;
            let awaited = |place: &usize| {
                let cluster = &self.clusters[*place];
                cluster.awaits_executor() && !via.excluding.contains(&cluster.plan.name)
            };
            if places.iter().any(awaited) && self.executor_of(places, via, now).is_none() {
                return None;
            }
        }
        for (_, server) in self.servers_of(model) {
            reasons.push(self.fault_of(model, server, order, now)?);
        }
        if self.starts_from_nothing(model) {
            return None;
        }
        for replica in &self.models[model].replicas {
            let serves = |id| self.servers[&id].serves();
            let has_server = replica.server.is_some_and(serves);
            if replica.job.wanted && !has_server {
                reasons.push(self.hindrance(model, replica, order, now)?);
            }
        }
        if reasons.is_empty() {
            reasons.push(Reason::stopped("none shall run".to_owned()));
        }
        let texts: Vec<_> = reasons.iter().map(|reason| reason.text.as_str()).collect();
        Some(NoServer::Unavailable {
            model: self.models[model].plan.name.clone(),
            reason: texts.join("; "),
            retry_after: reasons.iter().filter_map(|reason| reason.retry_after).min(),
        })
    }

    /// Why a server takes nothing, now and later; `None` where it is only full.
    fn fault_of(
        &self,
        model: usize,
        server: &Server,
        order: &Order,
        now: Instant,
    ) -> Option<Reason> {
        let endpoint = &server.endpoint;
        if self.is_drained(server.cluster) {
            let text = format!("{endpoint} is on a drained cluster");
            return Some(Reason::stopped(text));
        }
        if server.draining {
            return Some(Reason::stopped(format!("{endpoint} is being stopped")));
        }
        if !server.ready {
            let why = server.last_error.as_deref().unwrap_or("not probed yet");
            return Some(Reason {
                text: format!("{endpoint} is not healthy: {why}"),
                // Of a replica, its job tells more.
                retry_after: server
                    .replica
                    .is_none()
                    .then_some(self.settings.probe_interval),
            });
        }
        if let Some(via) = &order.via
            && self.executor_for(model, server, via, now).is_none()
        {
            let errors = self.models[model].clusters.iter().filter_map(|place| {
                let cluster = &self.clusters[*place];
                let error = cluster.executor.as_ref()?.last_error.as_ref()?;
                Some(format!("; of cluster `{}`: {error}", cluster.plan.name))
            });
            let errors: String = errors.collect();
            return Some(Reason {
                text: format!("no executor that may call {endpoint} is at work{errors}"),
                retry_after: self.executors_again(&self.models[model].clusters, via),
            });
        }
        let open = server.breaker.retry_in(now)?;
        let cause = server.breaker.cause().unwrap_or_default();
        Some(Reason {
            text: format!("{endpoint} is left alone after failures: {cause}"),
            retry_after: Some(open),
        })
    }

    /// When to ask again for an executor on one of these clusters; `None` where an operator has drained none
    /// of them.
    pub(super) fn executors_again(&self, places: &[usize], via: &Via) -> Option<Duration> {
        let is_drained = |place: &usize| {
            let ClusterState { plan, wish, .. } = &self.clusters[*place];
            plan.has_executor && wish.is_some() && !via.excluding.contains(&plan.name)
        };
        places.iter().any(is_drained).then_some(ASKED_AGAIN)
    }

    /// Whether the first replica starts when somebody has waited for long enough.
    fn starts_from_nothing(&self, model: usize) -> bool {
        let model = &self.models[model];
        model.plan.job.is_some()
            && model.pinned.is_none()
            && model.wanted == 0
            && *model.plan.replicas.end() > 0
    }

    /// Why a replica that does not serve will not soon; `None` where it is expected to.
    fn hindrance(
        &self,
        model: usize,
        replica: &Replica,
        order: &Order,
        now: Instant,
    ) -> Option<Reason> {
        let via = order.via.as_ref();
        let excluding = via.map_or(&[][..], |via| via.excluding.as_slice());
        let may = |place: &usize| {
            let cluster = &self.clusters[*place];
            let excluded = excluding.contains(&cluster.plan.name);
            !excluded && cluster.wish.is_none() && cluster.breaker.permits(now)
        };
        let can_start = match replica.home {
            Some(home) => may(&home),
            None => self.models[model].clusters.iter().any(may),
        };
        if can_start && replica.job.is_hopeful() {
            return None;
        }
        let error = replica
            .job
            .last_error
            .as_deref()
            .and_then(|error| error.lines().next());
        let error = error.unwrap_or("no cluster can start it");
        Some(Reason {
            text: format!("replica {} does not start: {error}", replica.number),
            retry_after: (!can_start).then_some(ASKED_AGAIN),
        })
    }
}
