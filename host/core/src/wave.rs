//! The generations that a plugin asks for before it waits: one wave.
//!
//! A backend may run them together, if it knows which they are and that no more will come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::watch;

use crate::ids::{Actor, JobId};

/// One wave of one plugin call.
#[derive(Debug)]
pub struct Wave {
    actor: Actor,
    number: u32,
    /// Whether anything was asked for in it, what the journal answers included.
    asked: AtomicBool,
    size: AtomicU32,
    arrived: watch::Sender<BTreeSet<JobId>>,
    closed: watch::Sender<bool>,
}

impl Wave {
    /// The first wave of a plugin call, still open.
    pub(crate) fn first(actor: Actor) -> Arc<Self> {
        Self::open(actor, 0)
    }

    /// A wave of one generation, closed.
    #[must_use]
    pub fn of_one() -> Arc<Self> {
        let wave = Self::first(Actor::STRATEGY);
        wave.asked();
        wave.join();
        wave.close();
        wave
    }

    fn open(actor: Actor, number: u32) -> Arc<Self> {
        Arc::new(Self {
            actor,
            number,
            asked: AtomicBool::new(false),
            size: AtomicU32::new(0),
            arrived: watch::Sender::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// Notes that a generation was asked for, which may have ended in an earlier run of the host.
    pub(crate) fn asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Counts one more generation that is to be sent.
    pub(crate) fn join(&self) {
        self.size.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The wave after this one; the same while nothing was asked for in this one.
    pub(crate) fn next(self: &Arc<Self>) -> Arc<Self> {
        if !self.asked.load(Ordering::Relaxed) {
            return Arc::clone(self);
        }
        self.close();
        Self::open(self.actor, self.number + 1)
    }

    /// Its plugin call, and its number in that, from 0: a replay has the same.
    #[must_use]
    pub fn id(&self) -> (Actor, u32) {
        (self.actor, self.number)
    }

    /// How many generations of it are sent in this run of the host: all of them, once it is closed.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Notes that a generation of it has come to where it is sent from, alone or with others; one that is tried
    /// again comes again.
    pub fn arrive(&self, job: JobId) {
        self.arrived.send_if_modified(|arrived| arrived.insert(job));
    }

    /// Waits until all of it have come to where they are sent from.
    pub async fn complete(&self) {
        self.closed().await;
        let size = self.size() as usize;
        // The sender is a field of self.
        let mut arrived = self.arrived.subscribe();
        let _ = arrived.wait_for(|arrived| arrived.len() >= size).await;
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
        let empty = Wave::first(Actor::STRATEGY);
        let first = empty.next();
        assert!(Arc::ptr_eq(&empty, &first));
        first.asked();
        first.join();
        first.asked();
        first.join();
        assert!(first.closed().now_or_never().is_none());
        let second = first.next();
        assert!(first.closed().now_or_never().is_some());
        assert_eq!(first.size(), 2);
        assert_eq!((second.id(), second.size()), ((Actor::STRATEGY, 1), 0));
        assert!(second.closed().now_or_never().is_none());
        // In a replay, what has ended counts for the numbers only.
        second.asked();
        let third = second.next();
        assert_eq!((third.id().1, second.size()), (2, 0));
    }

    #[test]
    fn a_wave_is_complete_when_each_of_it_has_come_and_no_more_will() {
        let wave = Wave::first(Actor::STRATEGY);
        for job in 1..=2 {
            wave.asked();
            wave.join();
            wave.arrive(JobId(job));
        }
        let complete = || wave.complete().now_or_never().is_some();
        assert!(!complete(), "it is still open");
        wave.asked();
        wave.join();
        wave.close();
        wave.arrive(JobId(1));
        assert!(!complete(), "the third has not come");
        wave.arrive(JobId(3));
        assert!(complete());
    }
}
