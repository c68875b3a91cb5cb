//! The fleet's state behind its lock, and how a lease is asked for.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::ids::ModelName;
use crate::live::lock;

use super::balance::hash_of;
use super::lease::{Lease, NoServer, Want};
use super::queue::{Given, Order, Served, Turn, Via};
use super::route::has_room;
use super::state::{ModelState, State};

pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Wakes those who look at clusters when there is something to do.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

/// How an attempt to get a lease stands.
enum Asked {
    Answered(Box<Given>),
    Queued {
        model: usize,
        turn: Turn,
        given: oneshot::Receiver<Given>,
    },
}

/// Where a generation may go.
enum Route {
    /// To any server of this model.
    Model(usize),
    /// To this endpoint and no other; the model, where the host serves it, too.
    ByHand(Endpoint, Option<usize>),
}

/// A retry delay lies between these.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What a generation is taken to last while none has been measured.
const SERVICE_GUESS_SECS: f64 = 5.0;

impl Shared {
    pub(super) fn new(clock: Clock, state: State) -> Arc<Self> {
        Arc::new(Self {
            clock,
            wake: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// Does something to the state, and tells those who need not wait any more when the lock is free
    /// again.
    pub(super) fn with<R>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut State, Instant, &mut Vec<Served>) -> R,
    ) -> R {
        let mut served = Vec::new();
        let result = act(&mut lock(&self.state), self.clock.now(), &mut served);
        for (give, given) in served {
            // Whoever went away meanwhile lets the lease drop here, and with it its room go on.
            drop(give.send(given.map(|grant| Lease::new(self, grant))));
        }
        result
    }

    pub(super) async fn lease(self: &Arc<Self>, want: &Want<'_>, via: Option<Via>) -> Given {
        let order = Order {
            affinity: hash_of(want.affinity.as_str()),
            tokens: want.tokens,
            via,
            except: want.except.to_vec(),
        };
        let asked = self.with(|state, now, served| self.ask(state, want, order, now, served));
        let (model, turn, given) = match asked {
            Asked::Answered(given) => return *given,
            Asked::Queued { model, turn, given } => (model, turn, given),
        };
        let _leave = Leave {
            shared: self,
            model,
            turn,
        };
        given
            .await
            .expect("a place in the queue is only left with an answer, or by whoever waits")
    }

    fn ask(
        self: &Arc<Self>,
        state: &mut State,
        want: &Want<'_>,
        order: Order,
        now: Instant,
        served: &mut Vec<Served>,
    ) -> Asked {
        let model = match state.route(want.model, want.endpoint) {
            Err(refusal) => return Asked::Answered(Box::new(Err(refusal))),
            Ok(Route::Model(model)) => model,
            Ok(Route::ByHand(endpoint, model)) => {
                let grant = state.take_by_hand(want, &endpoint, model, &order, now);
                return Asked::Answered(Box::new(grant.map(|grant| Lease::new(self, grant))));
            }
        };
        let refusal = state.refusal(model, &order, now);
        let (turn, given) = state.models[model].queue.join(want.rank, order, now);
        // Also where others wait: what is free may do for this one and for none of them.
        state.serve(model, now, served);
        let ModelState { plan, queue, .. } = &mut state.models[model];
        if let Some(refusal) = refusal
            && queue.leave(turn)
        {
            return Asked::Answered(Box::new(Err(refusal)));
        }
        if queue.len() > plan.queue_max && queue.leave(turn) {
            return Asked::Answered(Box::new(Err(NoServer::Full {
                model: want.model.clone(),
                queued: queue.len(),
                retry_after: state.retry_after(model),
            })));
        }
        Asked::Queued { model, turn, given }
    }

    /// How many answers one request may ask for, of the servers that it may go to.
    pub(super) fn choices_max(
        self: &Arc<Self>,
        model: &ModelName,
        endpoint: Option<&Endpoint>,
    ) -> usize {
        self.with(|state, _, _| match state.route(model, endpoint) {
            Ok(Route::Model(model)) => state.models[model].plan.choices_max,
            Ok(Route::ByHand(..)) => state.settings.by_hand_choices_max,
            Err(_) => 1,
        })
    }

    /// Whether none of the executors is at work that may send a generation, and one is expected soon.
    pub(super) fn awaits_executor(self: &Arc<Self>, excluding: &[String]) -> bool {
        self.with(|state, _, _| {
            let others = || {
                let clusters = state.clusters.iter();
                clusters.filter(|one| !excluding.contains(&one.plan.name))
            };
            !others().any(|one| one.has_working_executor())
                && others().any(|one| one.awaits_executor())
        })
    }

    /// How often it is looked after what changes.
    pub(super) fn pace(self: &Arc<Self>) -> Duration {
        self.with(|state, _, _| state.settings.poll_interval_starting)
    }

    /// Whether another server than those that were out of reach could take it now.
    pub(super) fn has_another(self: &Arc<Self>, want: &Want<'_>) -> bool {
        self.with(|state, now, _| {
            let Ok(Route::Model(model)) = state.route(want.model, want.endpoint) else {
                return false;
            };
            let mut servers = state.servers_of(model);
            servers.any(|(_, server)| {
                !want.except.contains(&server.endpoint)
                    && !state.is_drained(server.cluster)
                    && server.serves()
                    && has_room(server, now)
            })
        })
    }

    /// Why a generation would wait for what is not at work, and not expected to be soon.
    pub(super) fn out_of_service(
        self: &Arc<Self>,
        model: &ModelName,
        endpoint: Option<&Endpoint>,
        via: Option<Via>,
    ) -> Option<NoServer> {
        self.with(|state, now, _| {
            let Ok(Route::Model(model)) = state.route(model, endpoint) else {
                return None;
            };
            let order = Order {
                affinity: 0,
                tokens: 0,
                via,
                except: Vec::new(),
            };
            let refusal = state.refusal(model, &order, now);
            refusal.filter(|refusal| refusal.retry_after().is_some())
        })
    }

    /// When there may be room for another generation, if there is none now, not even to wait.
    pub(super) fn full(
        self: &Arc<Self>,
        model: &ModelName,
        endpoint: Option<&Endpoint>,
    ) -> Option<Duration> {
        self.with(|state, now, _| {
            let Ok(Route::Model(model)) = state.route(model, endpoint) else {
                return None;
            };
            let ModelState { plan, queue, .. } = &state.models[model];
            let is_full = queue.len() >= plan.queue_max && !state.has_room(model, now);
            is_full.then(|| state.retry_after(model))
        })
    }
}

impl State {
    fn route(&self, name: &ModelName, endpoint: Option<&Endpoint>) -> Result<Route, NoServer> {
        let model = self.model_named(name);
        match (model, endpoint) {
            (Some(model), None) => Ok(Route::Model(model)),
            (None, None) => Err(NoServer::UnknownModel {
                model: name.clone(),
            }),
            (Some(model), Some(endpoint)) if self.replaces(model, endpoint) => {
                Ok(Route::Model(model))
            }
            (model, Some(endpoint)) => Ok(Route::ByHand(endpoint.clone(), model)),
        }
    }

    fn replaces(&self, model: usize, endpoint: &Endpoint) -> bool {
        let replaced = &self.models[model].plan.replaces;
        replaced.iter().any(|one| one.origin() == endpoint.origin())
    }

    /// When a generation that comes then may find room: as long as all who wait take, each slot one
    /// after the other.
    fn retry_after(&self, model: usize) -> Duration {
        let servers = self.servers_of(model).filter(|(_, server)| server.serves());
        let slots: usize = servers.map(|(_, server)| server.slots).sum();
        let model = &self.models[model];
        #[expect(
            clippy::cast_precision_loss,
            reason = "a queue is far shorter than 2^53"
        )]
        let turns = (model.queue.len() + 1) as f64 / slots.max(1) as f64;
        let secs = turns * model.service_secs.unwrap_or(SERVICE_GUESS_SECS);
        Duration::from_secs_f64(secs.clamp(RETRY_MIN.as_secs_f64(), RETRY_MAX.as_secs_f64()))
    }
}

/// Leaves the queue, if it is not left already.
struct Leave<'a> {
    shared: &'a Arc<Shared>,
    model: usize,
    turn: Turn,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(&self.shared.state).models[self.model]
            .queue
            .leave(self.turn);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
