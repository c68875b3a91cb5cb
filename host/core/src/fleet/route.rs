//! Which servers of a model would do for a generation.

use tokio::time::Instant;

use crate::endpoint::Endpoint;

use super::balance::{self, Candidate};
use super::lease::{NoServer, Want};
use super::queue::{Order, Via};
use super::server::{Grant, Server, ServerId};
use super::state::State;

impl State {
    /// The servers of a model.
    pub(super) fn servers_of(&self, model: usize) -> impl Iterator<Item = (ServerId, &Server)> {
        let servers = self.servers.iter();
        let of = servers.filter(move |(_, server)| server.model == Some(model));
        of.map(|(id, server)| (*id, server))
    }

    /// Whether any server of a model has room.
    pub(super) fn has_room(&self, model: usize, now: Instant) -> bool {
        let mut servers = self.servers_of(model);
        servers.any(|(_, server)| {
            server.serves() && !self.is_drained(server.cluster) && has_room(server, now)
        })
    }

    pub(super) fn is_drained(&self, cluster: Option<usize>) -> bool {
        cluster.is_some_and(|place| self.clusters[place].wish.is_some())
    }

    /// Takes the best server with room.
    pub(super) fn take(&mut self, model: usize, order: &Order, now: Instant) -> Option<Grant> {
        let factor = self.settings.affinity_load_factor;
        let candidates = self.candidates(model, order, now);
        let (server, pool) = balance::choose(&candidates, order.affinity, order.tokens, factor)?;
        Some(self.grant(server, pool, order.tokens, now))
    }

    /// Takes an endpoint that a request named, whatever else it has to do.
    pub(super) fn take_by_hand(
        &mut self,
        want: &Want<'_>,
        endpoint: &Endpoint,
        model: Option<usize>,
        order: &Order,
        now: Instant,
    ) -> Result<Grant, NoServer> {
        let pool = match &order.via {
            None => None,
            Some(via) => {
                let all = || (0..self.clusters.len()).collect();
                let places = model.map_or_else(all, |model| self.models[model].clusters.clone());
                let pool = self.executor_of(&places, via, now);
                if pool.is_none() {
                    return Err(NoServer::Unavailable {
                        model: want.model.clone(),
                        reason: format!("no executor that may call {endpoint} is at work"),
                        retry_after: self.executors_again(&places, via),
                    });
                }
                pool
            }
        };
        let id = self.server_by_hand(want.model, model, endpoint);
        let breaker = &self.servers[&id].breaker;
        if !breaker.permits(now) {
            let open = breaker.retry_in(now);
            return Err(NoServer::LeftAlone {
                endpoint: endpoint.clone(),
                cause: breaker.cause().unwrap_or_default().to_owned(),
                retry_after: open.unwrap_or(self.settings.poll_interval),
            });
        }
        let mut grant = self.grant(id, pool, order.tokens, now);
        grant.endpoint = endpoint.clone();
        grant.is_own = false;
        Ok(grant)
    }

    /// The servers that would do, each with the cluster whose executor sends the generation.
    fn candidates(
        &self,
        model: usize,
        order: &Order,
        now: Instant,
    ) -> Vec<Candidate<(ServerId, Option<usize>)>> {
        let mut candidates = Vec::new();
        for (id, server) in self.servers_of(model) {
            if !server.serves() || self.is_drained(server.cluster) {
                continue;
            }
            let pool = match &order.via {
                None => None,
                Some(via) => match self.executor_for(model, server, via, now) {
                    None => continue,
                    pool => pool,
                },
            };
            let cluster = server.cluster.or(pool);
            candidates.push(Candidate {
                key: (id, pool),
                hash: server.hash,
                weight: cluster.map_or(1.0, |place| self.clusters[place].weight()),
                tokens: server.tokens,
                has_room: has_room(server, now),
            });
        }
        let excepted = |id: ServerId| order.except.contains(&self.servers[&id].endpoint);
        if candidates.iter().any(|one| !excepted(one.key.0)) {
            candidates.retain(|one| !excepted(one.key.0));
        }
        let does = |one: &Candidate<(ServerId, Option<usize>)>| {
            !self.servers[&one.key.0].has_failed_lately(now)
        };
        if candidates.iter().any(|one| one.has_room && does(one)) {
            candidates.retain(does);
        }
        let lost = |pool: Option<usize>| {
            pool.is_some_and(|place| !self.clusters[place].breaker.permits(now))
        };
        // What is sent to an executor whose cluster cannot be asked may be lost with it: that is done
        // only where there is no other.
        if candidates.iter().any(|one| !lost(one.key.1)) {
            candidates.retain(|one| !lost(one.key.1));
        }
        candidates
    }

    /// The cluster whose executor may send to a server: its own, or for one that is on none, any that
    /// may serve the model.
    pub(super) fn executor_for(
        &self,
        model: usize,
        server: &Server,
        via: &Via,
        now: Instant,
    ) -> Option<usize> {
        match server.cluster {
            Some(place) => self.executor_of(&[place], via, now),
            None => self.executor_of(&self.models[model].clusters, via, now),
        }
    }

    /// The one of these clusters whose executor has least to do, among those that can be asked for
    /// their jobs if there are such.
    pub(super) fn executor_of(&self, places: &[usize], via: &Via, now: Instant) -> Option<usize> {
        let fits = |place: &&usize| self.clusters[**place].may_send(via);
        #[expect(
            clippy::cast_precision_loss,
            reason = "loads are compared, and far below 2^53 tokens"
        )]
        let load = |place: usize| {
            let cluster = &self.clusters[place];
            cluster.pool_tokens as f64 / cluster.weight()
        };
        let lost = |place: usize| !self.clusters[place].breaker.permits(now);
        places.iter().filter(fits).copied().min_by(|left, right| {
            let by_loss = lost(*left).cmp(&lost(*right));
            by_loss.then_with(|| load(*left).total_cmp(&load(*right)))
        })
    }
}

pub(super) fn has_room(server: &Server, now: Instant) -> bool {
    server.outstanding < server.slots && server.breaker.permits(now)
}
