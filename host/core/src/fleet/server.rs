//! The servers that generations are sent to, and the room that each gives and gets back.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Placement;
use crate::endpoint::Endpoint;
use crate::ids::ModelName;

use super::balance::hash_of;
use super::breaker::{Breaker, Ticket, Verdict};
use super::managed::Managed;
use super::state::{ModelState, State};

/// How long a server at which a generation failed is avoided where another one has room: as long as a
/// generation's retries take. A breaker opens after several failures; one generation must not make them all.
const AVOIDED: Duration = Duration::from_secs(5);

/// A server's number, never used again.
pub(super) type ServerId = u64;

/// An endpoint by scheme, host and port, and a model there: others that it serves may be well when this one
/// is not.
pub(super) type ByHand = (String, ModelName);

/// Something that generations can be sent to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    /// What deliberations prefer it by.
    pub(super) hash: u64,
    /// The model whose server it is, by place; `None` for an endpoint that only a request named.
    pub(super) model: Option<usize>,
    /// What it is known by, where only requests named it.
    pub(super) by_hand: Option<ByHand>,
    /// The replica that it is.
    pub(super) replica: Option<u32>,
    /// The cluster that runs it, by place.
    pub(super) cluster: Option<usize>,
    /// The job that it is.
    pub(super) placement: Option<Placement>,
    pub(super) slots: usize,
    pub(super) choices_max: usize,
    pub(super) takes_priority: bool,
    pub(super) outstanding: usize,
    pub(super) tokens: u64,
    pub(super) ready: bool,
    pub(super) draining: bool,
    pub(super) warmed_up: bool,
    pub(super) probes_failed: u32,
    /// Since when all probes have failed.
    pub(super) ill_since: Option<Instant>,
    pub(super) last_error: Option<String>,
    /// When a generation failed there last, unless one has succeeded since.
    pub(super) failed_at: Option<Instant>,
    pub(super) breaker: Breaker,
}

impl Server {
    /// Whether it serves, had it room.
    pub(super) fn serves(&self) -> bool {
        self.ready && !self.draining
    }

    /// Whether a generation has failed there so lately that its next try had better go elsewhere.
    pub(super) fn has_failed_lately(&self, now: Instant) -> bool {
        self.failed_at
            .is_some_and(|at| now.duration_since(at) < AVOIDED)
    }
}

/// A server for a generation, found and taken.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) server: ServerId,
    /// The cluster whose executor sends it, by place.
    pub(super) pool: Option<usize>,
    /// Whether it goes through an executor to a server that is not on its cluster.
    pub(super) is_away: bool,
    pub(super) ticket: Ticket,
    pub(super) tokens: u32,
    pub(super) began: Instant,
    pub(super) endpoint: Endpoint,
    pub(super) cluster: Option<String>,
    pub(super) placement: Option<Placement>,
    pub(super) choices_max: usize,
    pub(super) takes_priority: bool,
    pub(super) is_own: bool,
}

impl State {
    /// A server of a model that is not ready yet.
    pub(super) fn server_of(&self, model: usize, endpoint: Endpoint) -> Server {
        let plan = &self.models[model].plan;
        Server {
            model: Some(model),
            slots: plan.slots,
            choices_max: plan.choices_max,
            takes_priority: plan.takes_priority,
            ..self.bare_server(endpoint)
        }
    }

    fn bare_server(&self, endpoint: Endpoint) -> Server {
        let settings = &self.settings;
        let breaker = Breaker::new(endpoint.to_string(), &settings.breaker, settings.seed);
        Server {
            hash: hash_of(endpoint.to_string()),
            endpoint,
            model: None,
            by_hand: None,
            replica: None,
            cluster: None,
            placement: None,
            slots: usize::MAX,
            choices_max: settings.by_hand_choices_max,
            takes_priority: settings.by_hand_takes_priority,
            outstanding: 0,
            tokens: 0,
            ready: false,
            draining: false,
            warmed_up: false,
            probes_failed: 0,
            ill_since: None,
            last_error: None,
            failed_at: None,
            breaker,
        }
    }

    /// Generations on a cluster's servers or on their way through its executor, and their tokens.
    pub(super) fn outstanding_of(&self, place: usize) -> (usize, u64) {
        let here = |server: &&Server| server.cluster == Some(place);
        let servers = || self.servers.values().filter(here);
        let count: usize = servers().map(|server| server.outstanding).sum();
        let tokens: u64 = servers().map(|server| server.tokens).sum();
        let cluster = &self.clusters[place];
        (count + cluster.away, tokens + cluster.away_tokens)
    }

    pub(super) fn add_server(&mut self, server: Server) -> ServerId {
        self.servers_made += 1;
        self.servers.insert(self.servers_made, server);
        self.servers_made
    }

    /// The server at an endpoint that a request named: one of the model's own, or one made for it.
    pub(super) fn server_by_hand(
        &mut self,
        name: &ModelName,
        model: Option<usize>,
        endpoint: &Endpoint,
    ) -> ServerId {
        let own = self.servers.iter().find(|(_, server)| {
            server.model.is_some() && server.model == model && server.endpoint == *endpoint
        });
        if let Some((id, _)) = own {
            return *id;
        }
        let by_hand = (endpoint.origin().ascii_serialization(), name.clone());
        if let Some(id) = self.by_hand.get(&by_hand) {
            return *id;
        }
        let mut server = self.bare_server(endpoint.clone());
        server.ready = true;
        server.by_hand = Some(by_hand.clone());
        let id = self.add_server(server);
        self.by_hand.insert(by_hand, id);
        id
    }

    /// Takes a server, and room on it.
    pub(super) fn grant(
        &mut self,
        id: ServerId,
        pool: Option<usize>,
        tokens: u32,
        now: Instant,
    ) -> Grant {
        let server = self.servers.get_mut(&id).expect("it was just found");
        server.outstanding += 1;
        server.tokens += u64::from(tokens);
        let ticket = server.breaker.pass();
        let mut grant = Grant {
            server: id,
            pool,
            is_away: pool.is_some() && server.cluster.is_none(),
            ticket,
            tokens,
            began: now,
            endpoint: server.endpoint.clone(),
            cluster: server
                .cluster
                .map(|place| self.clusters[place].plan.name.clone()),
            placement: server.placement.clone(),
            choices_max: server.choices_max,
            takes_priority: server.takes_priority,
            is_own: true,
        };
        if let Some(place) = pool {
            let cluster = &mut self.clusters[place];
            cluster.pool += 1;
            cluster.pool_tokens += u64::from(tokens);
            if server.cluster.is_none() {
                cluster.away += 1;
                cluster.away_tokens += u64::from(tokens);
            }
            let name = cluster.plan.name.clone();
            let job = cluster.executor.as_ref().and_then(Managed::submission_id);
            grant.placement = job.map(|submission_id| Placement {
                cluster: name.clone(),
                submission_id: submission_id.to_owned(),
                ..Placement::default()
            });
            grant.cluster = Some(name);
        }
        grant
    }

    /// Takes back what a grant gave; the model whose queue may go on.
    pub(super) fn release(
        &mut self,
        grant: &Grant,
        verdict: &Verdict,
        now: Instant,
    ) -> Option<usize> {
        if let Some(place) = grant.pool {
            let cluster = &mut self.clusters[place];
            cluster.pool -= 1;
            cluster.pool_tokens -= u64::from(grant.tokens);
            if grant.is_away {
                cluster.away -= 1;
                cluster.away_tokens -= u64::from(grant.tokens);
            }
        }
        let server = self.servers.get_mut(&grant.server)?;
        server.outstanding -= 1;
        server.tokens -= u64::from(grant.tokens);
        server.breaker.report(grant.ticket, verdict, now);
        match verdict {
            Verdict::Succeeded => server.failed_at = None,
            Verdict::Failed(_) => server.failed_at = Some(now),
            Verdict::Nothing => (),
        }
        let model = server.model;
        if let Some(place) = model {
            if matches!(verdict, Verdict::Succeeded) {
                self.models[place].note_service(now.duration_since(grant.began));
            }
        } else if server.outstanding == 0 && server.breaker.is_spotless() {
            // Requests may name many endpoints: only those against which something is known are kept.
            if let Some(by_hand) = &server.by_hand {
                self.by_hand.remove(by_hand);
            }
            self.servers.remove(&grant.server);
        }
        model
    }
}

impl ModelState {
    /// An exponentially weighted mean in which the last ten or so count.
    fn note_service(&mut self, took: Duration) {
        const SHARE: f64 = 0.1;
        let took = took.as_secs_f64();
        let mean = self.service_secs.unwrap_or(took);
        self.service_secs = Some(mean + SHARE * (took - mean));
    }
}
