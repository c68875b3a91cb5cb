//! The slots for generations that the host has in flight, and the order in which they are given.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::execution::Execution;
use crate::live::lock;
use crate::priority::Priority;

/// What a plugin's generation has that asks for no priority: as many stand before it as behind.
const OWN_DEFAULT: u8 = 128;

/// Bounds the generations in flight, over all deliberations. While more want a slot than there are,
/// each free slot goes to the highest [`Rank`], and among equals to the one that waits longest.
///
/// The order is strict: as long as deliberations of a higher priority fill every slot, those of a
/// lower one wait, until their deadlines if need be. Whoever gives priorities decides that.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: BTreeMap<Turn, oneshot::Sender<()>>,
    /// Counts those who came.
    came: u64,
}

/// How urgent a generation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rank {
    /// Its deliberation's priority, which counts first.
    pub deliberation: Priority,
    /// Its plugin's wish, 0 (first) to 255 (last).
    pub own: Option<u8>,
}

impl Rank {
    /// What ranks are compared by: the least is served first.
    #[must_use]
    pub fn order(&self) -> (Reverse<Priority>, u8) {
        (Reverse(self.deliberation), self.own.unwrap_or(OWN_DEFAULT))
    }
}

/// A place in the queue: the least is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    deliberation: Reverse<Priority>,
    own: u8,
    came: u64,
}

/// A slot; dropping it gives it to the next.
#[derive(Debug)]
#[must_use]
pub struct Slot(Arc<Slots>);

/// The slots of each way to an engine: what waits in a cluster's queue, or for a Ray job to start, keeps
/// nothing waiting that goes another way.
#[derive(Clone, Debug)]
pub struct InFlight {
    direct: Arc<Slots>,
    pool: Arc<Slots>,
    job: Arc<Slots>,
}

impl InFlight {
    /// So many slots for each.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            direct: Slots::new(count),
            pool: Slots::new(count),
            job: Slots::new(count),
        }
    }

    /// Those of one way.
    #[must_use]
    pub fn of(&self, execution: Execution) -> &Arc<Slots> {
        match execution {
            Execution::Direct => &self.direct,
            Execution::Pool => &self.pool,
            Execution::Job => &self.job,
        }
    }

    /// How many wait for a slot, of any.
    #[must_use]
    pub fn waiting(&self) -> usize {
        [&self.direct, &self.pool, &self.job]
            .map(|slots| slots.waiting())
            .iter()
            .sum()
    }
}

impl Slots {
    /// So many slots.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: count,
                waiting: BTreeMap::new(),
                came: 0,
            }),
        })
    }

    /// Waits for a slot. Dropping the future leaves the queue, and loses no slot.
    pub async fn acquire(self: &Arc<Self>, rank: Rank) -> Slot {
        let (mut wait, given) = {
            let state = &mut *lock(&self.state);
            if state.free > 0 {
                state.free -= 1;
                return Slot(Arc::clone(self));
            }
            let (deliberation, own) = rank.order();
            let turn = Turn {
                deliberation,
                own,
                came: state.came,
            };
            state.came += 1;
            let (give, given) = oneshot::channel();
            state.waiting.insert(turn, give);
            let wait = Wait {
                slots: Arc::clone(self),
                turn: Some(turn),
            };
            (wait, given)
        };
        given
            .await
            .expect("a place in the queue is only left with a slot, or by whoever waits");
        wait.turn = None;
        Slot(Arc::clone(self))
    }

    /// How many wait for a slot now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    fn give_back(&self) {
        let state = &mut *lock(&self.state);
        match state.waiting.pop_first() {
            // Whoever waits takes its place out under this lock before it stops listening.
            Some((_, give)) => drop(give.send(())),
            None => state.free += 1,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place in the queue, until its slot has come.
struct Wait {
    slots: Arc<Slots>,
    turn: Option<Turn>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(turn) = self.turn else {
            return;
        };
        let left = lock(&self.slots.state).waiting.remove(&turn);
        if left.is_none() {
            // The slot was given and will not be taken.
            self.slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{BoxFuture, FutureExt};

    use super::*;

    fn rank(deliberation: u32, own: Option<u8>) -> Rank {
        Rank {
            deliberation: Priority::new(deliberation).unwrap(),
            own,
        }
    }

    /// Somebody who has asked for a slot and waits.
    fn asking(slots: &Arc<Slots>, rank: Rank) -> BoxFuture<'static, Slot> {
        let slots = Arc::clone(slots);
        let mut asking = async move { slots.acquire(rank).await }.boxed();
        assert!((&mut asking).now_or_never().is_none(), "no slot is free");
        asking
    }

    #[test]
    fn slots_go_to_the_higher_deliberation_then_to_the_plugin_s_wish_then_to_the_older() {
        let slots = Slots::new(1);
        let mut held = slots.acquire(Rank::default()).now_or_never();
        let ranks = [
            rank(4, None),
            rank(4, Some(200)),
            rank(9, Some(255)),
            rank(4, Some(0)),
            rank(4, Some(128)),
            rank(0, Some(0)),
            rank(9, None),
        ];
        let mut waiting: Vec<_> = ranks.map(|rank| Some(asking(&slots, rank))).into();
        let mut order = Vec::new();
        while held.take().is_some() {
            for (at, one) in waiting.iter_mut().enumerate() {
                if let Some(slot) = one.as_mut().and_then(FutureExt::now_or_never) {
                    order.push(at);
                    *one = None;
                    held = Some(slot);
                    break;
                }
            }
        }
        assert_eq!(order, [6, 2, 3, 0, 4, 1, 5]);
        assert_eq!(slots.waiting(), 0);
    }

    #[test]
    fn who_goes_away_loses_no_slot_before_and_after_it_was_given() {
        let slots = Slots::new(1);
        let held = slots.acquire(Rank::default()).now_or_never().unwrap();
        let first = asking(&slots, rank(9, None));
        let second = asking(&slots, rank(8, None));
        let mut third = asking(&slots, rank(7, None));
        drop(first);
        assert_eq!(slots.waiting(), 2);
        drop(held);
        // The second has been given the slot and does not know.
        drop(second);
        let slot = (&mut third).now_or_never();
        assert!(slot.is_some());
        drop(slot);
        assert!(slots.acquire(Rank::default()).now_or_never().is_some());
    }

    #[test]
    fn no_more_slots_are_held_than_there_are() {
        let slots = Slots::new(2);
        let held = [0, 1].map(|_| slots.acquire(Rank::default()).now_or_never().unwrap());
        let waiting = asking(&slots, Rank::default());
        drop(waiting);
        drop(held);
        let again: Vec<_> = (0..3)
            .map_while(|_| slots.acquire(Rank::default()).now_or_never())
            .collect();
        assert_eq!(again.len(), 2);
    }
}
