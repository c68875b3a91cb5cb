//! Who waits for a server of a model, and who is served next.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::priority::Priority;
use crate::slots::Rank;

use super::lease::{Lease, NoServer};
use super::server::Grant;
use super::state::State;

/// What a generation has that asks for no priority: as many stand before it as behind.
const OWN_DEFAULT: u8 = 128;

/// A place in the queue: the least is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    deliberation: Reverse<Priority>,
    own: u8,
    came: u64,
}

/// What somebody waits for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The hash of the deliberation.
    pub(super) affinity: u64,
    pub(super) tokens: u32,
    /// Which executors may send it; `None` where the host sends it itself.
    pub(super) via: Option<Via>,
    /// Servers that do only where there is no other.
    pub(super) except: Vec<Endpoint>,
}

/// Which executors may send something.
#[derive(Clone, Debug)]
pub(super) struct Via {
    /// The clusters that will not do.
    pub(super) excluding: Vec<String>,
    /// Whether it brings an executor with it, and needs none that is at work.
    pub(super) own_job: bool,
}

/// What somebody who waits gets.
pub(super) type Given = Result<Lease, NoServer>;

/// Somebody who need not wait any more: told outside of the lock, since whoever does not listen any
/// more gives back at once what was given.
pub(super) type Served = (oneshot::Sender<Given>, Result<Grant, NoServer>);

#[derive(Debug)]
struct Waiter {
    order: Order,
    since: Instant,
    give: oneshot::Sender<Given>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Turn, Waiter>,
    /// Counts those who came.
    came: u64,
}

impl Queue {
    pub(super) fn join(
        &mut self,
        rank: Rank,
        order: Order,
        now: Instant,
    ) -> (Turn, oneshot::Receiver<Given>) {
        let turn = Turn {
            deliberation: Reverse(rank.deliberation),
            own: rank.own.unwrap_or(OWN_DEFAULT),
            came: self.came,
        };
        self.came += 1;
        let (give, given) = oneshot::channel();
        let waiter = Waiter {
            order,
            since: now,
            give,
        };
        self.waiting.insert(turn, waiter);
        (turn, given)
    }

    /// Whether it was still there.
    pub(super) fn leave(&mut self, turn: Turn) -> bool {
        self.waiting.remove(&turn).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How long the one waits who has waited for longest.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        let since = self.waiting.values().map(|waiter| waiter.since).min()?;
        Some(now.duration_since(since))
    }

    /// The first one behind a place.
    fn behind(&self, last: Option<Turn>) -> Option<(Turn, Order)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.waiting.range((from, Bound::Unbounded));
        let (turn, waiter) = behind.next()?;
        Some((*turn, waiter.order.clone()))
    }
}

impl State {
    /// Serves those who wait for a model, in their order, as far as there is room. One that no free
    /// server will do for does not hold up those behind it.
    pub(super) fn serve(&mut self, model: usize, now: Instant, served: &mut Vec<Served>) {
        let mut last = None;
        while self.has_room(model, now) {
            let Some((turn, order)) = self.models[model].queue.behind(last) else {
                return;
            };
            last = Some(turn);
            let Some(grant) = self.take(model, &order, now) else {
                continue;
            };
            if let Some(waiter) = self.models[model].queue.waiting.remove(&turn) {
                served.push((waiter.give, Ok(grant)));
            }
        }
    }

    /// Tells those who wait for what will not come.
    pub(super) fn refuse(&mut self, model: usize, now: Instant, served: &mut Vec<Served>) {
        let mut last = None;
        while let Some((turn, order)) = self.models[model].queue.behind(last) {
            last = Some(turn);
            let Some(refusal) = self.refusal(model, &order, now) else {
                continue;
            };
            if let Some(waiter) = self.models[model].queue.waiting.remove(&turn) {
                served.push((waiter.give, Err(refusal)));
            }
        }
    }
}
