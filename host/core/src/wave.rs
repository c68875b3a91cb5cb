//! The generations that a plugin asks for before it waits: one wave.
//!
//! A backend may run them together, if it knows which they are and that no more will come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

/// One wave of one plugin call.
#[derive(Debug)]
pub struct Wave {
    number: u32,
    size: AtomicU32,
    closed: watch::Sender<bool>,
}

impl Wave {
    /// The first wave of a plugin call, still open.
    pub(crate) fn first() -> Arc<Self> {
        Self::open(0)
    }

    /// A wave of one generation, closed.
    #[must_use]
    pub fn of_one() -> Arc<Self> {
        let wave = Self::open(0);
        wave.join();
        wave.close();
        wave
    }

    fn open(number: u32) -> Arc<Self> {
        Arc::new(Self {
            number,
            size: AtomicU32::new(0),
            closed: watch::Sender::new(false),
        })
    }

    /// Counts one more generation.
    pub(crate) fn join(&self) {
        self.size.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The wave after this one; the same while nothing was asked for in this one.
    pub(crate) fn next(self: &Arc<Self>) -> Arc<Self> {
        if self.size() == 0 {
            return Arc::clone(self);
        }
        self.close();
        Self::open(self.number + 1)
    }

    /// Its number in its plugin call, from 0: a replay has the same.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many generations it has: all of them, once it is closed.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Waits until the plugin waits, so that no more will come.
    pub async fn closed(&self) {
        // The sender is a field of self.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;

    use super::*;

    #[test]
    fn a_wave_is_closed_by_the_next_one_and_an_empty_one_stays_open() {
        let empty = Wave::first();
        let first = empty.next();
        assert!(Arc::ptr_eq(&empty, &first));
        first.join();
        first.join();
        assert!(first.closed().now_or_never().is_none());
        let second = first.next();
        assert!(first.closed().now_or_never().is_some());
        assert_eq!((first.size(), second.number(), second.size()), (2, 1, 0));
        assert!(second.closed().now_or_never().is_none());
    }
}
