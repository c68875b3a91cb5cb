//! A clock that moves only when it is told to: to the next time that anybody sleeps for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::live::lock;

/// Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Skipping {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    /// Who sleeps until when. The number keeps those apart who sleep until the same time, in the
    /// order in which they began.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
}

impl Skipping {
    /// The time that has passed.
    pub(super) fn passed(&self) -> Duration {
        lock(&self.state).passed
    }

    pub(super) fn skip(&self) {
        let mut state = lock(&self.state);
        let Some((&(until, _), _)) = state.sleepers.first_key_value() else {
            return;
        };
        state.passed = until;
        let later = state.sleepers.split_off(&(until, u64::MAX));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    pub(super) fn sleep_until(&self, until: Duration) -> Sleep {
        let mut state = lock(&self.state);
        state.slept += 1;
        Sleep {
            clock: self.clone(),
            place: (until, state.slept),
        }
    }
}

/// Is ready at its time. It counts as a sleeper from its first poll on.
#[derive(Debug)]
pub(super) struct Sleep {
    clock: Skipping,
    place: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.clock.state);
        if state.passed >= self.place.0 {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let before = state.sleepers.insert(self.place, waker);
        drop(state);
        // A waker may be the last to hold what sleeps here, too.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = lock(&self.clock.state).sleepers.remove(&self.place);
        drop(waker);
    }
}
